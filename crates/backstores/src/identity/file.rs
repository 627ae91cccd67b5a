//! The identity of a regular file.

use std::fmt;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxFlags, XattrFlags};
use rustix::io::Errno;

use super::{IDENTITY_ATTRIBUTE, Identity, IdentityHints, IdentityOrigin, MachineId, SerialNeeded};
use crate::mounts;

/// Finds or makes the identity of an open, locked file, and keeps it with the file where that can be done.
///
/// A file that cannot be written may still keep one: the attribute asks for the right to write the inode, not for a
/// descriptor opened for writing.
pub(crate) fn of_file(
    file: impl AsFd,
    hints: &IdentityHints,
) -> Result<(Identity, IdentityOrigin), SerialNeeded> {
    let place = Place::of(&file);
    if let Some(serial) = &hints.serial {
        let identity = Identity::from_serial(serial).map_err(|_| SerialNeeded)?;
        if let Some(place) = place {
            // A serial given by hand holds also where it cannot be kept; it has to be given again then.
            let _ = store(&file, &identity, place);
        }
        return Ok((identity, IdentityOrigin::Given));
    }
    let kept = load(&file);
    let mut origin = IdentityOrigin::New;
    if let (Some(kept), Some(place)) = (kept, place) {
        if kept.place == place {
            return Ok((kept.identity, IdentityOrigin::Stored));
        }
        origin = IdentityOrigin::Copy {
            of: kept.identity.serial,
        };
    }
    let fresh = Identity::random(hints.entropy);
    if place.is_some_and(|place| store(&file, &fresh, place).is_ok()) {
        return Ok((fresh, origin));
    }
    let machine_id = hints.machine_id.as_ref().ok_or(SerialNeeded)?;
    let identity = derive(&file, machine_id).ok_or(SerialNeeded)?;
    match origin {
        IdentityOrigin::Copy { .. } => Ok((identity, origin)),
        _ => Ok((identity, IdentityOrigin::Derived)),
    }
}

/// What makes a file this file and not a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    inode: u64,
    /// Seconds and nanoseconds; `None` where the file system records no birth time.
    birth: Option<(i64, u32)>,
}

impl Place {
    fn of(file: impl AsFd) -> Option<Self> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = statx(file, wanted)?;
        let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        Some(Self {
            inode: stat.stx_ino,
            birth: has_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        })
    }
}

fn statx(file: impl AsFd, wanted: StatxFlags) -> Option<Statx> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted).ok()
}

/// The attribute's value: a version, where it was written, and the serial (last, because it may contain spaces).
struct Kept {
    place: Place,
    identity: Identity,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 inode={} birth=", self.place.inode)?;
        match self.place.birth {
            Some((seconds, nanoseconds)) => write!(f, "{seconds}.{nanoseconds:09}")?,
            None => f.write_str("-")?,
        }
        write!(f, " serial={}", self.identity.serial)
    }
}

impl Kept {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("1 inode=")?;
        let (inode, rest) = rest.split_once(" birth=")?;
        let (birth, serial) = rest.split_once(" serial=")?;
        let birth = match birth {
            "-" => None,
            birth => {
                let (seconds, nanoseconds) = birth.split_once('.')?;
                Some((seconds.parse().ok()?, nanoseconds.parse().ok()?))
            }
        };
        Some(Self {
            place: Place {
                inode: inode.parse().ok()?,
                birth,
            },
            identity: Identity::from_serial(serial).ok()?,
        })
    }
}

/// The longest attribute that is looked at, in bytes: what we write is shorter.
const ATTRIBUTE_MAX_BYTES: usize = 256;

/// What is kept with the file; an attribute that is not ours to read counts as none.
fn load(file: impl AsFd) -> Option<Kept> {
    let mut value = [0_u8; ATTRIBUTE_MAX_BYTES];
    let length = rustix::fs::fgetxattr(file, IDENTITY_ATTRIBUTE, &mut value[..]).ok()?;
    Kept::parse(std::str::from_utf8(value.get(..length)?).ok()?)
}

fn store(file: impl AsFd, identity: &Identity, place: Place) -> Result<(), Errno> {
    let kept = Kept {
        place,
        identity: identity.clone(),
    };
    let value = kept.to_string();
    rustix::fs::fsetxattr(
        &file,
        IDENTITY_ATTRIBUTE,
        value.as_bytes(),
        XattrFlags::empty(),
    )?;
    // An identity that an initiator has seen must outlive a power cut, or the disk comes back as another one.
    match rustix::fs::fsync(&file) {
        // A descriptor that cannot be synced (EINVAL on a special file system) still holds the attribute.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// File systems that make up inode numbers at each mount.
const UNSTABLE_INODES: [u64; 2] = [0x4d44 /* FAT */, 0x2011_bab0 /* exFAT */];

/// The identity from the machine, the file system and the inode.
fn derive(file: impl AsFd, machine_id: &MachineId) -> Option<Identity> {
    let stat = statx(&file, StatxFlags::INO | StatxFlags::MNT_ID)?;
    let kind = rustix::fs::fstatfs(&file).ok()?.f_type;
    if UNSTABLE_INODES
        .iter()
        .any(|unstable| u64::try_from(kind) == Ok(*unstable))
    {
        return None;
    }
    let file_system = match rustix::fs::fstatvfs(&file).ok()?.f_fsid {
        // Network and FUSE file systems have no id: what is mounted has to do.
        0 => mounts::current()
            .into_iter()
            .find(|mount| mount.id == stat.stx_mnt_id)
            .map(|mount| format!("{} {} {}", mount.fs_type, mount.source, mount.root))?,
        id => format!("{id:016x}"),
    };
    Some(Identity::derived(&[
        machine_id.as_bytes(),
        b"file",
        file_system.as_bytes(),
        &stat.stx_ino.to_be_bytes(),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(birth: Option<(i64, u32)>) -> Kept {
        Kept {
            place: Place { inode: 77, birth },
            identity: Identity::from_serial("a serial with = and spaces").unwrap(),
        }
    }

    #[test]
    fn kept_value_round_trips_with_and_without_birth_time() {
        for birth in [None, Some((1_700_000_000, 5)), Some((-3, 999_999_999))] {
            let text = kept(birth).to_string();
            let back = Kept::parse(&text).unwrap();
            assert_eq!(back.place, kept(birth).place, "{text}");
            assert_eq!(back.identity, kept(birth).identity, "{text}");
        }
        assert_eq!(
            kept(Some((1, 5))).to_string(),
            "1 inode=77 birth=1.000000005 serial=a serial with = and spaces"
        );
    }

    #[test]
    fn kept_value_of_another_shape_is_none() {
        for text in [
            "",
            "2 inode=1 birth=- serial=x",
            "1 inode= birth=- serial=x",
            "1 inode=1 birth=5 serial=x",
            "1 inode=1 birth=- serial=",
            "1 inode=99999999999999999999999 birth=- serial=x",
            "1 inode=1 serial=x",
        ] {
            assert!(Kept::parse(text).is_none(), "{text}");
        }
    }
}
