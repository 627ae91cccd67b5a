//! Rows of backstores and of their ALUA groups.

use super::Default::{Bool, Integer, Text, Unset};
use super::{Attribute, Kind, Takes, row};

const MAX_BYTES: i64 = i64::MAX;

pub(super) static BACKSTORE: &[Attribute] = &[
    row(
        "block_size",
        Kind::Integer {
            min: 512,
            max: 4096,
        },
        Integer(512),
        Takes::Creation,
        "bytes in a logical block: 512 or 4096",
        "SBC-4 READ CAPACITY; LIO attrib/block_size",
    ),
    row(
        "direct",
        Kind::Bool,
        Bool(false),
        Takes::Creation,
        "go past the page cache (O_DIRECT)",
        "Quintain",
    ),
    row(
        "naa",
        Kind::Text { max_bytes: 34 },
        Unset,
        Takes::Creation,
        "the NAA identifier, 16 hexadecimal digits; found when the store is opened unless given",
        "SPC-5 Device Identification VPD page",
    ),
    row(
        "path",
        Kind::Text { max_bytes: 4095 },
        Unset,
        Takes::Creation,
        "the file or device",
        "Quintain; LIO fd_dev_name, udev_path",
    ),
    row(
        "product",
        Kind::Text { max_bytes: 16 },
        Text("VIRTUAL-DISK"),
        Takes::Live,
        "the product identification that INQUIRY tells",
        "SPC-5 Standard INQUIRY data; LIO wwn/product_id",
    ),
    row(
        "read_only",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "nothing may be written, through any LUN",
        "Quintain",
    ),
    row(
        "revision",
        Kind::Text { max_bytes: 4 },
        Text("0001"),
        Takes::Live,
        "the product revision level that INQUIRY tells",
        "SPC-5 Standard INQUIRY data; LIO wwn/revision",
    ),
    row(
        "serial",
        Kind::Text { max_bytes: 200 },
        Unset,
        Takes::Creation,
        "the unit serial number; found when the store is opened, and kept, unless given",
        "SPC-5 Unit Serial Number VPD page; LIO wwn/vpd_unit_serial",
    ),
    row(
        "size",
        Kind::Size {
            min: 512,
            max: MAX_BYTES,
        },
        Unset,
        Takes::Live,
        "bytes; a missing file is made with it, sparse, and a larger value grows the store",
        "Quintain; LIO fd_dev_size",
    ),
    row(
        "thin",
        Kind::Bool,
        Bool(true),
        Takes::Creation,
        "UNMAP and WRITE SAME give space back where the store can",
        "SBC-4 Logical block provisioning; LIO attrib/emulate_tpu",
    ),
    row(
        "vendor",
        Kind::Text { max_bytes: 8 },
        Text("QUINTAIN"),
        Takes::Live,
        "the T10 vendor identification that INQUIRY tells",
        "SPC-5 Standard INQUIRY data; LIO wwn/vendor_id",
    ),
    row(
        "write_cache",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "an acknowledged write may be volatile until it is flushed; false: every write is durable before its status",
        "SBC-4 Caching mode page (WCE); LIO attrib/emulate_write_cache",
    ),
];

pub(super) static ALUA_GROUP: &[Attribute] = &[
    row(
        "alua_access_state",
        Kind::Integer { min: 0, max: 14 },
        Integer(0),
        Takes::Stored,
        "0 active/optimized, 1 active/non-optimized, 2 standby, 3 unavailable, 4 LBA dependent, 14 offline",
        "SPC-5 Target port group access state; LIO alua_access_state",
    ),
    row(
        "tg_pt_gp_id",
        Kind::Integer {
            min: 0,
            max: 65_535,
        },
        Integer(0),
        Takes::Stored,
        "the target port group, unique in the backstore",
        "SPC-5 Target port groups; LIO tg_pt_gp_id",
    ),
];
