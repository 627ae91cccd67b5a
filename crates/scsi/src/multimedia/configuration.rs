//! GET CONFIGURATION. MMC-6 r02g "GET CONFIGURATION command", "Features and profiles".

use super::{Disc, MULTIMEDIA_BLOCK_BYTES};
use crate::reports::{Asked, Reported};
use crate::sense::Sense;
use crate::snapshot::LuSnapshot;

/// A feature.
struct Feature {
    code: u16,
    version: u8,
    /// It is always current.
    is_persistent: bool,
    /// With which disc it is current otherwise.
    with: &'static [Disc],
    data: &'static [u8],
}

const ANY: &[Disc] = &[Disc::Cd, Disc::Dvd];

const fn always(code: u16, version: u8, data: &'static [u8]) -> Feature {
    Feature {
        code,
        version,
        is_persistent: true,
        with: ANY,
        data,
    }
}

const fn with(with: &'static [Disc], code: u16, version: u8, data: &'static [u8]) -> Feature {
    Feature {
        code,
        version,
        is_persistent: false,
        with,
        data,
    }
}

/// The block size, in its two low bytes.
const BLOCK: [u8; 4] = MULTIMEDIA_BLOCK_BYTES.to_be_bytes();

/// The features, ascending by code; the first, Profile List, has its data made.
static FEATURES: &[Feature] = &[
    always(PROFILE_LIST, 0, &[]),
    // Core: PHYSICAL INTERFACE STANDARD 1, the SCSI family; DBE, device busy events are told.
    always(0x0001, 2, &[0, 0, 0, 1, 0x01, 0, 0, 0]),
    // Morphing: OCEVENT, operational change events are told; events are polled for only.
    always(0x0002, 1, &[0x02, 0, 0, 0]),
    // Removable Medium: a tray that can be loaded, ejected and locked.
    always(0x0003, 2, &[0x39, 0, 0, 0]),
    // Random Readable: block size, BLOCKING 1, PP: the error recovery page is there.
    with(ANY, 0x0010, 0, &[0, 0, BLOCK[2], BLOCK[3], 0, 1, 0x01, 0]),
    // Multi-Read.
    with(&[Disc::Cd], 0x001d, 0, &[]),
    // CD Read: no CD-Text, no C2 flags.
    with(&[Disc::Cd], 0x001e, 2, &[0, 0, 0, 0]),
    // DVD Read.
    with(&[Disc::Dvd], 0x001f, 1, &[0, 0, 0, 0]),
    // Power Management.
    always(0x0100, 0, &[]),
    // Timeout.
    always(0x0105, 1, &[0, 0, 0, 0]),
];

const PROFILE_LIST: u16 = 0x0000;

impl Disc {
    /// MMC-6 "Profile List feature": DVD-ROM, CD-ROM.
    fn profile(self) -> u16 {
        match self {
            Self::Dvd => 0x0010,
            Self::Cd => 0x0008,
        }
    }
}

impl Feature {
    fn is_current(&self, disc: Option<Disc>) -> bool {
        self.is_persistent || disc.is_some_and(|disc| self.with.contains(&disc))
    }

    /// The feature descriptor.
    fn emit(&self, disc: Option<Disc>, out: &mut Vec<u8>) {
        let profiles = profiles(disc);
        let data = match self.code {
            PROFILE_LIST => &profiles[..],
            _ => self.data,
        };
        let flags = u8::from(self.is_persistent) << 1 | u8::from(self.is_current(disc));
        out.extend_from_slice(&self.code.to_be_bytes());
        // At most eight bytes.
        let length = u8::try_from(data.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[self.version << 2 | flags, length]);
        out.extend_from_slice(data);
    }
}

/// The profiles, in order of preference, each with whether it is current.
fn profiles(disc: Option<Disc>) -> [u8; 8] {
    let one = |profile: Disc| {
        let [high, low] = profile.profile().to_be_bytes();
        [high, low, u8::from(disc == Some(profile)), 0]
    };
    let mut list = [0; 8];
    list[..4].copy_from_slice(&one(Disc::Dvd));
    list[4..].copy_from_slice(&one(Disc::Cd));
    list
}

/// GET CONFIGURATION.
pub(crate) fn configuration_data(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let start = cdb.be16::<2>();
    let disc = Disc::of(asked.lu);
    let is_wanted = |feature: &&Feature| match cdb.byte::<1>() & 0x03 {
        0b00 => feature.code >= start,
        0b01 => feature.code >= start && feature.is_current(disc),
        _ => feature.code == start,
    };
    if cdb.byte::<1>() & 0x03 == 0b11 {
        return Err(Sense::cdb_bit(1, 1).into());
    }
    let mut body = Vec::with_capacity(128);
    for feature in FEATURES.iter().filter(is_wanted) {
        feature.emit(disc, &mut body);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut reply = asked.reply(u32::from(cdb.be16::<7>()), out);
    reply.put(&length.to_be_bytes());
    reply.put(&[0, 0]);
    reply.put(&current_profile(asked.lu).to_be_bytes());
    reply.put(&body);
    Ok(reply.done())
}

/// 0: no medium, no profile.
fn current_profile(lu: &LuSnapshot) -> u16 {
    Disc::of(lu).map_or(0, Disc::profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_sorted_and_their_data_are_whole_words() {
        for pair in FEATURES.windows(2) {
            assert!(pair[0].code < pair[1].code);
        }
        // MMC-6 "Feature descriptor": ADDITIONAL LENGTH is a multiple of four.
        assert!(FEATURES.iter().all(|one| one.data.len() % 4 == 0));
    }
}
