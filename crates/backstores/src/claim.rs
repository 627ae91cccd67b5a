//! One disk, one store: what this process has open, so that one inode or device never becomes two LUNs.
//!
//! The kernel's locks do not help within a process: a second open file description of our own could share a read lock,
//! and a block device opened twice for the same holder is let through.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What makes two paths the same disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DiskKey {
    /// Device and inode of a regular file.
    File { device: (u32, u32), inode: u64 },
    /// Number of a block device.
    Block { device: (u32, u32) },
}

/// Holds a disk for one store; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Claim(DiskKey);

static CLAIMED: Mutex<Option<HashMap<DiskKey, String>>> = Mutex::new(None);

fn claimed() -> MutexGuard<'static, Option<HashMap<DiskKey, String>>> {
    // A panic elsewhere leaves the map as whole as it was: each use is one map operation.
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// Claims a disk for the store `name`, or says which store has it.
    pub(crate) fn of(key: DiskKey, name: &str) -> Result<Self, String> {
        let mut claimed = claimed();
        let map = claimed.get_or_insert_default();
        if let Some(by) = map.get(&key) {
            return Err(by.clone());
        }
        map.insert(key, name.to_owned());
        Ok(Self(key))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(map) = claimed().as_mut() {
            map.remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_of_a_claimed_disk_names_the_holder_until_dropped() {
        let key = DiskKey::File {
            device: (9999, 1),
            inode: 1,
        };
        let other = DiskKey::Block { device: (9999, 1) };
        let first = Claim::of(key, "a.img").unwrap();
        let _other = Claim::of(other, "sdx").unwrap();
        assert_eq!(Claim::of(key, "b.img").unwrap_err(), "a.img");
        drop(first);
        assert!(Claim::of(key, "b.img").is_ok());
    }
}
