//! Unit attention conditions, and the queue of them that each nexus has for each logical unit.
//!
//! Standards: SAM-5 r21 "Unit attention conditions" and "Unit attention condition precedence level"; SPC-5 r22 "ASC and
//! ASCQ assignments" for the codes.

/// A unit attention condition, in the order of precedence: an earlier one is reported before a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum UnitAttention {
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED: the first session of a nexus after the daemon's start.
    PowerOn,
    /// BUS DEVICE RESET FUNCTION OCCURRED: a logical unit reset.
    BusDeviceReset,
    /// I_T NEXUS LOSS OCCURRED.
    NexusLoss,
    /// COMMANDS CLEARED BY ANOTHER INITIATOR: CLEAR TASK SET of another nexus.
    CommandsCleared,
    /// SOME COMMANDS CLEARED BY ISCSI PROTOCOL EVENT: a connection of the nexus ended with commands (RFC 7143 §11.14.5).
    CommandsClearedByProtocol,
    /// NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED: the store was away and is there again.
    MediumMayHaveChanged,
    /// LOG PARAMETERS CHANGED by another nexus.
    LogParametersChanged,
    /// MODE PARAMETERS CHANGED by another nexus, or by the operator.
    ModeParametersChanged,
    /// RESERVATIONS PREEMPTED.
    ReservationsPreempted,
    /// RESERVATIONS RELEASED.
    ReservationsReleased,
    /// REGISTRATIONS PREEMPTED.
    RegistrationsPreempted,
    /// ASYMMETRIC ACCESS STATE CHANGED.
    AsymmetricAccessStateChanged,
    /// TIMESTAMP CHANGED by another nexus.
    TimestampChanged,
    /// DEVICE IDENTIFIER CHANGED by another nexus.
    DeviceIdentifierChanged,
    /// CAPACITY DATA HAS CHANGED.
    CapacityDataChanged,
    /// INQUIRY DATA HAS CHANGED.
    InquiryDataChanged,
    /// REPORTED LUNS DATA HAS CHANGED.
    ReportedLunsDataChanged,
    /// THIN PROVISIONING SOFT THRESHOLD REACHED.
    SoftThresholdReached,
    /// PREVIOUS BUSY STATUS, where UA_INTLCK_CTRL asks for it.
    PreviousBusy,
    /// PREVIOUS TASK SET FULL STATUS.
    PreviousTaskSetFull,
    /// PREVIOUS RESERVATION CONFLICT STATUS.
    PreviousReservationConflict,
}

/// How many kinds there are; a queue holds each once at most.
const KINDS: usize = UnitAttention::PreviousReservationConflict as usize + 1;

impl UnitAttention {
    /// ASC and ASCQ.
    #[must_use]
    pub fn additional_sense(self) -> (u8, u8) {
        match self {
            Self::PowerOn => (0x29, 0x00),
            Self::BusDeviceReset => (0x29, 0x03),
            Self::NexusLoss => (0x29, 0x07),
            Self::CommandsCleared => (0x2f, 0x00),
            Self::CommandsClearedByProtocol => (0x47, 0x7f),
            Self::MediumMayHaveChanged => (0x28, 0x00),
            Self::LogParametersChanged => (0x2a, 0x02),
            Self::ModeParametersChanged => (0x2a, 0x01),
            Self::ReservationsPreempted => (0x2a, 0x03),
            Self::ReservationsReleased => (0x2a, 0x04),
            Self::RegistrationsPreempted => (0x2a, 0x05),
            Self::AsymmetricAccessStateChanged => (0x2a, 0x06),
            Self::TimestampChanged => (0x2a, 0x10),
            Self::DeviceIdentifierChanged => (0x3f, 0x05),
            Self::CapacityDataChanged => (0x2a, 0x09),
            Self::InquiryDataChanged => (0x3f, 0x03),
            Self::ReportedLunsDataChanged => (0x3f, 0x0e),
            Self::SoftThresholdReached => (0x38, 0x07),
            Self::PreviousBusy => (0x2c, 0x07),
            Self::PreviousTaskSetFull => (0x2c, 0x08),
            Self::PreviousReservationConflict => (0x2c, 0x09),
        }
    }

    /// SAM-5 "Unit attention condition precedence level": the three that say that everything was reset have one each,
    /// the rest share the lowest. Lower is reported first.
    fn level(self) -> u8 {
        match self {
            Self::PowerOn => 0,
            Self::BusDeviceReset => 1,
            Self::NexusLoss => 2,
            _ => 3,
        }
    }

    fn is_reset(self) -> bool {
        self.level() < 3
    }
}

/// The unit attentions of one nexus for one logical unit: by precedence, then in the order they were established, each
/// once. A fixed few bytes.
#[derive(Clone, Copy, Debug)]
pub struct UnitAttentions {
    queue: [UnitAttention; KINDS],
    len: u8,
}

impl Default for UnitAttentions {
    fn default() -> Self {
        Self {
            queue: [UnitAttention::PowerOn; KINDS],
            len: 0,
        }
    }
}

impl UnitAttentions {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those pending, the next to be reported first.
    #[must_use]
    pub fn as_slice(&self) -> &[UnitAttention] {
        &self.queue[..usize::from(self.len)]
    }

    /// The one to report next.
    #[must_use]
    pub fn first(&self) -> Option<UnitAttention> {
        self.as_slice().first().copied()
    }

    /// Takes the one to report next: reporting it clears it.
    pub fn take(&mut self) -> Option<UnitAttention> {
        let first = self.first()?;
        self.clear(first);
        Some(first)
    }

    /// Establishes one. One that is pending already stays where it is.
    ///
    /// SAM-5 "Unit attention condition precedence level": a reset covers what a lesser reset says, so that only the
    /// greatest of them is kept.
    pub fn establish(&mut self, attention: UnitAttention) {
        if self.as_slice().contains(&attention) {
            return;
        }
        if attention.is_reset() {
            match self.first() {
                Some(first) if first.level() < attention.level() => return,
                Some(first) if first.is_reset() => self.clear(first),
                _ => {}
            }
        }
        let at = self
            .as_slice()
            .partition_point(|pending| pending.level() <= attention.level());
        let len = usize::from(self.len);
        self.queue.copy_within(at..len, at + 1);
        self.queue[at] = attention;
        self.len += 1;
    }

    /// Clears one, wherever it stands: it was told in another way.
    pub fn clear(&mut self, attention: UnitAttention) {
        let Some(at) = self.as_slice().iter().position(|one| *one == attention) else {
            return;
        };
        let len = usize::from(self.len);
        self.queue.copy_within(at + 1..len, at);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::UnitAttention::*;
    use super::*;

    fn after(established: &[UnitAttention]) -> UnitAttentions {
        let mut attentions = UnitAttentions::default();
        for attention in established {
            attentions.establish(*attention);
        }
        attentions
    }

    #[test]
    fn establish_orders_by_precedence_then_by_time_and_keeps_each_once() {
        for (established, pending) in [
            (&[][..], &[][..]),
            (
                &[CapacityDataChanged, ModeParametersChanged],
                &[CapacityDataChanged, ModeParametersChanged],
            ),
            (
                &[ModeParametersChanged, NexusLoss],
                &[NexusLoss, ModeParametersChanged],
            ),
            (
                &[
                    ModeParametersChanged,
                    CapacityDataChanged,
                    ModeParametersChanged,
                ],
                &[ModeParametersChanged, CapacityDataChanged],
            ),
            (&[NexusLoss, BusDeviceReset], &[BusDeviceReset]),
            (&[BusDeviceReset, NexusLoss], &[BusDeviceReset]),
            (
                &[CommandsCleared, BusDeviceReset, PowerOn],
                &[PowerOn, CommandsCleared],
            ),
            (&[PowerOn, BusDeviceReset, PowerOn], &[PowerOn]),
        ] {
            assert_eq!(after(established).as_slice(), pending, "{established:?}");
        }
    }

    #[test]
    fn establish_of_every_kind_in_every_rotation_stays_within_bounds() {
        let kinds = [
            PowerOn,
            BusDeviceReset,
            NexusLoss,
            CommandsCleared,
            CommandsClearedByProtocol,
            MediumMayHaveChanged,
            LogParametersChanged,
            ModeParametersChanged,
            ReservationsPreempted,
            ReservationsReleased,
            RegistrationsPreempted,
            AsymmetricAccessStateChanged,
            TimestampChanged,
            DeviceIdentifierChanged,
            CapacityDataChanged,
            InquiryDataChanged,
            ReportedLunsDataChanged,
            SoftThresholdReached,
            PreviousBusy,
            PreviousTaskSetFull,
            PreviousReservationConflict,
        ];
        assert_eq!(kinds.len(), KINDS);
        for start in 0..KINDS {
            let mut rotated = kinds;
            rotated.rotate_left(start);
            let attentions = after(&[rotated, rotated].concat());
            assert_eq!(attentions.first(), Some(PowerOn));
            // The two lesser resets are covered by POWER ON.
            assert_eq!(attentions.as_slice().len(), KINDS - 2);
        }
    }

    #[test]
    fn take_gives_each_once_and_clear_removes_from_the_middle() {
        let mut attentions = after(&[
            CapacityDataChanged,
            ReportedLunsDataChanged,
            InquiryDataChanged,
        ]);
        attentions.clear(ReportedLunsDataChanged);
        attentions.clear(PowerOn);
        assert_eq!(attentions.take(), Some(CapacityDataChanged));
        assert_eq!(attentions.take(), Some(InquiryDataChanged));
        assert_eq!(attentions.take(), None);
        assert!(attentions.is_empty());
    }

    #[test]
    fn additional_sense_of_each_kind_is_its_own() {
        assert_eq!(PowerOn.additional_sense(), (0x29, 0x00));
        assert_eq!(BusDeviceReset.additional_sense(), (0x29, 0x03));
        assert_eq!(NexusLoss.additional_sense(), (0x29, 0x07));
        assert_eq!(CommandsCleared.additional_sense(), (0x2f, 0x00));
        assert_eq!(CommandsClearedByProtocol.additional_sense(), (0x47, 0x7f));
        assert_eq!(MediumMayHaveChanged.additional_sense(), (0x28, 0x00));
        assert_eq!(ModeParametersChanged.additional_sense(), (0x2a, 0x01));
        assert_eq!(ReservationsReleased.additional_sense(), (0x2a, 0x04));
        assert_eq!(LogParametersChanged.additional_sense(), (0x2a, 0x02));
        assert_eq!(TimestampChanged.additional_sense(), (0x2a, 0x10));
        assert_eq!(DeviceIdentifierChanged.additional_sense(), (0x3f, 0x05));
        assert_eq!(CapacityDataChanged.additional_sense(), (0x2a, 0x09));
        assert_eq!(InquiryDataChanged.additional_sense(), (0x3f, 0x03));
        assert_eq!(ReportedLunsDataChanged.additional_sense(), (0x3f, 0x0e));
    }
}
