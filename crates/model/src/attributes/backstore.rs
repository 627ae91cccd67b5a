//! Rows of backstores.

use super::Default::{Bool, Integer, Text, Unset};
use super::{Attribute, Kind, Takes, row};

const MAX_BYTES: i64 = i64::MAX;
const U32: Kind = Kind::Integer {
    min: 0,
    max: 4_294_967_295,
};

/// A yes or no that LIO's tools keep.
pub(super) const fn stored_bool(
    name: &'static str,
    default: bool,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    row(name, Kind::Bool, Bool(default), Takes::Stored, help, origin)
}

/// A number that LIO's tools keep, whose default depends on the device.
const fn stored_number(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    origin: &'static str,
) -> Attribute {
    row(name, kind, Unset, Takes::Stored, help, origin)
}

pub(super) static BACKSTORE: &[Attribute] = &[
    stored_bool(
        "aio",
        false,
        "LIO's fileio submits asynchronously; here every driver does",
        "LIO fileio fd_async_io",
    ),
    row(
        "attrib.alua_support",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "the ALUA groups of the store take effect",
        "LIO attrib/alua_support",
    ),
    row(
        "attrib.emulate_3pc",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "third-party copies (EXTENDED COPY, POPULATE TOKEN) are offered",
        "SPC-5 Third-party copies; LIO attrib/emulate_3pc",
    ),
    stored_bool(
        "attrib.emulate_caw",
        true,
        "COMPARE AND WRITE is offered",
        "LIO attrib/emulate_caw",
    ),
    stored_bool(
        "attrib.emulate_dpo",
        true,
        "the DPO bit is taken; LIO ignores it too",
        "LIO attrib/emulate_dpo",
    ),
    stored_bool(
        "attrib.emulate_fua_read",
        true,
        "the FUA bit of reads is taken; LIO ignores it too",
        "LIO attrib/emulate_fua_read",
    ),
    stored_bool(
        "attrib.emulate_fua_write",
        true,
        "the FUA bit of writes is taken",
        "LIO attrib/emulate_fua_write",
    ),
    row(
        "attrib.emulate_model_alias",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "INQUIRY tells the backstore's name as the product, unless that is set",
        "LIO attrib/emulate_model_alias",
    ),
    stored_bool(
        "attrib.emulate_pr",
        true,
        "persistent reservations are offered",
        "LIO attrib/emulate_pr",
    ),
    stored_bool(
        "attrib.emulate_rest_reord",
        false,
        "restricted reordering of commands",
        "LIO attrib/emulate_rest_reord",
    ),
    stored_bool(
        "attrib.emulate_rsoc",
        true,
        "REPORT SUPPORTED OPERATION CODES is offered",
        "LIO attrib/emulate_rsoc",
    ),
    row(
        "attrib.emulate_tas",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "commands that another initiator aborts end with TASK ABORTED; else silently, with a unit attention",
        "SPC-5 Control mode page (TAS); LIO attrib/emulate_tas",
    ),
    stored_bool(
        "attrib.emulate_tpws",
        false,
        "WRITE SAME with UNMAP is offered; here as thin says",
        "LIO attrib/emulate_tpws",
    ),
    row(
        "attrib.emulate_ua_intlck_ctrl",
        Kind::Integer { min: 0, max: 2 },
        Integer(0),
        Takes::Live,
        "unit attentions: 0 cleared when reported, 1 kept until REQUEST SENSE, 2 kept, and BUSY, TASK SET FULL and RESERVATION CONFLICT establish one",
        "SPC-5 Control mode page (UA_INTLCK_CTRL); LIO attrib/emulate_ua_intlck_ctrl",
    ),
    stored_bool(
        "attrib.enforce_pr_isids",
        true,
        "a reservation holds for one ISID of its initiator",
        "LIO attrib/enforce_pr_isids",
    ),
    stored_bool(
        "attrib.force_pr_aptpl",
        false,
        "every registration outlives a loss of power",
        "LIO attrib/force_pr_aptpl",
    ),
    stored_bool(
        "attrib.is_nonrot",
        false,
        "the medium does not rotate",
        "SBC-4 Block Device Characteristics VPD page; LIO attrib/is_nonrot",
    ),
    stored_number(
        "attrib.max_unmap_block_desc_count",
        U32,
        "descriptors of one UNMAP",
        "SBC-4 Block Limits VPD page; LIO attrib/max_unmap_block_desc_count",
    ),
    stored_number(
        "attrib.max_unmap_lba_count",
        U32,
        "blocks of one UNMAP",
        "SBC-4 Block Limits VPD page; LIO attrib/max_unmap_lba_count",
    ),
    stored_number(
        "attrib.max_write_same_len",
        U32,
        "blocks of one WRITE SAME",
        "SBC-4 Block Limits VPD page; LIO attrib/max_write_same_len",
    ),
    stored_number(
        "attrib.optimal_sectors",
        U32,
        "the optimal transfer length, in blocks",
        "SBC-4 Block Limits VPD page; LIO attrib/optimal_sectors",
    ),
    stored_bool(
        "attrib.pgr_support",
        true,
        "the store takes part in persistent reservations",
        "LIO attrib/pgr_support",
    ),
    row(
        "attrib.pi_prot_format",
        Kind::Integer { min: 0, max: 0 },
        Integer(0),
        Takes::Stored,
        "writes new protection information; here it is new with the file, and with FORMAT UNIT",
        "LIO attrib/pi_prot_format",
    ),
    row(
        "attrib.pi_prot_type",
        Kind::Integer { min: 0, max: 3 },
        Integer(0),
        Takes::Creation,
        "the type of protection information that is kept beside the blocks; 0: none",
        "SBC-4 Protection information model; LIO attrib/pi_prot_type",
    ),
    stored_bool(
        "attrib.pi_prot_verify",
        false,
        "checks protection information of what is read; here that is always so",
        "LIO attrib/pi_prot_verify",
    ),
    stored_number(
        "attrib.queue_depth",
        U32,
        "commands that LIO sends to the device at a time",
        "LIO attrib/queue_depth",
    ),
    row(
        "attrib.submit_type",
        Kind::Integer { min: 0, max: 2 },
        Integer(0),
        Takes::Stored,
        "where LIO submits commands: 0 as the fabric says, 1 directly, 2 queued",
        "LIO attrib/submit_type",
    ),
    stored_number(
        "attrib.unmap_granularity",
        U32,
        "the optimal granularity of UNMAP, in blocks",
        "SBC-4 Block Limits VPD page; LIO attrib/unmap_granularity",
    ),
    stored_number(
        "attrib.unmap_granularity_alignment",
        U32,
        "the first block of that granularity",
        "SBC-4 Block Limits VPD page; LIO attrib/unmap_granularity_alignment",
    ),
    stored_bool(
        "attrib.unmap_zeroes_data",
        false,
        "unmapped blocks read as zeroes",
        "SBC-4 Logical Block Provisioning VPD page (LBPRZ); LIO attrib/unmap_zeroes_data",
    ),
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
    )
    .file("attrib/block_size"),
    row(
        "company_id",
        Kind::Integer {
            min: 0,
            max: 0xff_ffff,
        },
        Integer(0x1405),
        Takes::Stored,
        "the IEEE company that LIO's NAA identifiers name",
        "LIO wwn/company_id",
    )
    .file("wwn/company_id"),
    row(
        "defaults",
        Kind::Choice(&["quintain", "lio"]),
        Text("quintain"),
        Takes::Creation,
        "which column of defaults holds for the backstore: lio for those made by LIO's tools",
        "Quintain",
    ),
    row(
        "device_type",
        Kind::Choice(&["disk", "cdrom"]),
        Text("disk"),
        Takes::Creation,
        "what initiators take it for; a cdrom shows a file or device, read-only, in blocks of 2048 bytes, as the disc of a CD or DVD drive",
        "SPC-5 Standard INQUIRY data (PERIPHERAL DEVICE TYPE)",
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
        "ejected",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "the disc of a cdrom is out of its drive; false, or another path, puts one in, and initiators are told that it is another",
        "MMC-6 Removable Medium feature",
    ),
    stored_bool(
        "exclusive",
        true,
        "LIO opens the device for itself alone; here that is always so",
        "LIO iblock exclusive",
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
        "the file or device; that of a cdrom, its disc, may be changed at any time",
        "Quintain; LIO fd_dev_name, udev_path",
    )
    .file("udev_path"),
    row(
        "product",
        Kind::Text { max_bytes: 16 },
        Text("VIRTUAL-DISK"),
        Takes::Live,
        "the product identification that INQUIRY tells; LIO's default names its plugin",
        "SPC-5 Standard INQUIRY data; LIO wwn/product_id",
    )
    .file("wwn/product_id")
    .lio(Unset),
    row(
        "read_only",
        Kind::Bool,
        Bool(false),
        Takes::Live,
        "nothing may be written, through any LUN",
        "Quintain; LIO iblock readonly",
    ),
    row(
        "revision",
        Kind::Text { max_bytes: 4 },
        Text("0001"),
        Takes::Live,
        "the product revision level that INQUIRY tells",
        "SPC-5 Standard INQUIRY data; LIO wwn/revision",
    )
    .file("wwn/revision")
    .lio(Text("4.0")),
    row(
        "serial",
        Kind::Text { max_bytes: 200 },
        Unset,
        Takes::Creation,
        "the unit serial number; found when the store is opened, and kept, unless given",
        "SPC-5 Unit Serial Number VPD page; LIO wwn/vpd_unit_serial",
    )
    .file("wwn/vpd_unit_serial"),
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
    )
    .file("attrib/emulate_tpu")
    .lio(Bool(false)),
    row(
        "vendor",
        Kind::Text { max_bytes: 8 },
        Text("QUINTAIN"),
        Takes::Live,
        "the T10 vendor identification that INQUIRY tells",
        "SPC-5 Standard INQUIRY data; LIO wwn/vendor_id",
    )
    .file("wwn/vendor_id")
    .lio(Text("LIO-ORG")),
    row(
        "write_cache",
        Kind::Bool,
        Bool(true),
        Takes::Live,
        "an acknowledged write may be volatile until it is flushed; false: every write is durable before its status",
        "SBC-4 Caching mode page (WCE); LIO attrib/emulate_write_cache",
    )
    .file("attrib/emulate_write_cache")
    .lio(Bool(false)),
];
