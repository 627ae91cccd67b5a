//! What initiators have written on a logical unit, to know it again. SPC-5 r22 "Identifying information".

/// SPC-5 "INFORMATION TYPE field".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InformationType {
    /// Peripheral device identifying information: any bytes.
    Device,
    /// Peripheral device text identifying information: UTF-8.
    Text,
}

impl InformationType {
    /// Those there are.
    pub(crate) const ALL: [Self; 2] = [Self::Device, Self::Text];

    /// The type of this code, if it is one of them.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Device => 0x00,
            Self::Text => 0x02,
        }
    }

    /// The longest there can be, in bytes.
    #[must_use]
    pub fn max_bytes(self) -> u16 {
        match self {
            Self::Device => 512,
            Self::Text => 256,
        }
    }
}

/// What is written on a logical unit; nothing, where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifying {
    device: Vec<u8>,
    text: Vec<u8>,
}

impl Identifying {
    /// What there is of a type.
    #[must_use]
    pub fn of(&self, of_type: InformationType) -> &[u8] {
        match of_type {
            InformationType::Device => &self.device,
            InformationType::Text => &self.text,
        }
    }

    /// The same, with this in place of what there is of a type.
    #[must_use]
    pub fn with(&self, of_type: InformationType, information: &[u8]) -> Self {
        let mut next = self.clone();
        *match of_type {
            InformationType::Device => &mut next.device,
            InformationType::Text => &mut next.text,
        } = information.to_vec();
        next
    }
}
