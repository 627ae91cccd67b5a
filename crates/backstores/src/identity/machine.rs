//! The machine's id.

use std::fmt;
use std::path::Path;

/// The id that the operating system gave this machine at its installation. Never shown: whoever knows it can compute what
/// other programs derive from it.
#[derive(Clone, PartialEq, Eq)]
pub struct MachineId([u8; 32]);

/// Where a machine id is kept, first match counts.
const PLACES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

impl MachineId {
    /// This machine's id, where it has one.
    #[must_use]
    pub fn read() -> Option<Self> {
        PLACES
            .iter()
            .find_map(|place| Self::parse(&crate::sysfs::small_text(Path::new(place))?))
    }

    /// Parses the 32 hexadecimal digits of a machine-id file. `None` for anything else ("uninitialized", an empty file).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.trim().as_bytes().try_into().ok()?;
        let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
        hexadecimal.then(|| Self(digits.map(|digit| digit.to_ascii_lowercase())))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineId(..)")
    }
}
