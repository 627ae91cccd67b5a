//! The identity of a block device: attributes cannot be kept on a device node, but most devices name themselves.

use std::path::Path;

use super::{Identity, IdentityHints, IdentityOrigin, SerialNeeded};
use crate::sysfs::{self, BlockDevice};

/// Finds the identity of a block device that was opened as `path`.
///
/// It comes from the machine id and what the device says about itself (a world wide name, a device mapper or RAID UUID, a
/// serial, a loop device's file), and only where it says nothing from its path.
pub(crate) fn of_block_device(
    device: &BlockDevice,
    path: &Path,
    hints: &IdentityHints,
) -> Result<(Identity, IdentityOrigin), SerialNeeded> {
    if let Some(serial) = &hints.serial {
        let identity = Identity::from_serial(serial).map_err(|_| SerialNeeded)?;
        return Ok((identity, IdentityOrigin::Given));
    }
    let machine_id = hints.machine_id.as_ref().ok_or(SerialNeeded)?;
    let name = own_name(device);
    let name = match &name {
        Some(name) => name.as_bytes(),
        None => path.as_os_str().as_encoded_bytes(),
    };
    let identity = Identity::derived(&[machine_id.as_bytes(), b"block", name]);
    Ok((identity, IdentityOrigin::Derived))
}

/// Attributes that name a device for good, best first.
const NAMES: [&str; 6] = [
    "wwid",
    "device/wwid",
    "dm/uuid",
    "md/uuid",
    "serial",
    "device/serial",
];

fn own_name(device: &BlockDevice) -> Option<String> {
    let whole = device.whole_disk();
    let named = |attribute: &&str| {
        let value = sysfs::small_text(&whole.join(attribute))?;
        let value = value.trim();
        (!value.is_empty()).then(|| format!("{attribute} {value}"))
    };
    let disk = NAMES.iter().find_map(named).or_else(|| {
        let file = sysfs::small_text(&whole.join("loop/backing_file"))?;
        let offset = sysfs::small_text(&whole.join("loop/offset"))?;
        Some(format!("loop {} {}", file.trim(), offset.trim()))
    })?;
    Some(match device.partition() {
        Some(number) => format!("{disk} partition {number}"),
        None => disk,
    })
}
