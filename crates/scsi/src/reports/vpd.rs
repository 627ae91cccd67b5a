//! INQUIRY: the vital product data. SPC-5 r22 "Vital product data parameters", SBC-4 r22 "Vital product data (VPD)
//! parameters for direct access block devices".

use block::ProtectionType;

use super::third_party_copy::third_party_copy;
use super::{Asked, PeripheralQualifier};
use crate::limits;
use crate::reply::Reply;
use crate::sense::{Refusal, Sense};
use crate::snapshot::{LuIdentity, LuSnapshot, MAX_SERIAL_BYTES, TargetPort};

/// A page of vital product data.
#[derive(Debug)]
pub(crate) struct VpdRow {
    pub(crate) code: u8,
    pub(crate) name: &'static str,
    /// Makes what stands behind PAGE LENGTH. Offsets in it are those of the page less its four bytes of header.
    body: fn(&Asked<'_>) -> Vec<u8>,
    /// Whether the logical unit has it.
    is_there: fn(&LuSnapshot) -> bool,
}

const fn row(code: u8, name: &'static str, body: fn(&Asked<'_>) -> Vec<u8>) -> VpdRow {
    VpdRow {
        code,
        name,
        body,
        is_there: |_| true,
    }
}

/// The pages of a direct access block device, ascending (SPC-5 "Supported VPD Pages VPD page" wants them so).
#[rustfmt::skip]
pub(crate) static PAGES: &[VpdRow] = &[
    row(0x00, "Supported VPD Pages", |asked| supported(asked.lu)),
    row(0x80, "Unit Serial Number", |asked| serial(&asked.lu.identity).to_vec()),
    row(0x83, "Device Identification", |asked| device_identification(asked.lu, asked.view.target_port)),
    row(0x86, "Extended INQUIRY Data", |asked| extended_inquiry(asked.lu).to_vec()),
    row(0x87, "Mode Page Policy", |_| mode_page_policy().to_vec()),
    row(0x88, "SCSI Ports", |asked| scsi_ports(asked.lu)),
    VpdRow { is_there: LuSnapshot::copies_for_others, ..row(0x8f, "Third-party Copy", third_party_copy) },
    row(0xb0, "Block Limits", |asked| block_limits(asked.lu).to_vec()),
    row(0xb1, "Block Device Characteristics", |asked| block_device_characteristics(asked.lu).to_vec()),
    row(0xb2, "Logical Block Provisioning", |asked| logical_block_provisioning(asked.lu).to_vec()),
];

/// Those that a device of every type has.
pub(crate) static PAGES_OF_ALL: &[VpdRow] = &[
    row(0x00, "Supported VPD Pages", |asked| supported(asked.lu)),
    row(0x80, "Unit Serial Number", |asked| {
        serial(&asked.lu.identity).to_vec()
    }),
    row(0x83, "Device Identification", |asked| {
        device_identification(asked.lu, asked.view.target_port)
    }),
    row(0x86, "Extended INQUIRY Data", |asked| {
        extended_inquiry(asked.lu).to_vec()
    }),
    row(0x88, "SCSI Ports", |asked| scsi_ports(asked.lu)),
];

/// Appends the VPD page `code`.
pub(crate) fn page(code: u8, asked: &Asked<'_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let pages = asked.lu.device.tables().vpd_pages;
    let row = pages
        .iter()
        .find(|row| row.code == code && (row.is_there)(asked.lu))
        .ok_or(Sense::cdb_byte(2))?;
    let body = (row.body)(asked);
    // The longest body, device identification, is bounded by its designators, of less than 256 bytes each.
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    reply.put(&[PeripheralQualifier::Connected(asked.lu.device).byte(), code]);
    reply.put(&length.to_be_bytes());
    reply.put(&body);
    Ok(())
}

/// SPC-5 "Supported VPD Pages VPD page".
fn supported(lu: &LuSnapshot) -> Vec<u8> {
    let there = lu
        .device
        .tables()
        .vpd_pages
        .iter()
        .filter(|row| (row.is_there)(lu));
    there.map(|row| row.code).collect()
}

fn serial(identity: &LuIdentity) -> &[u8] {
    let serial = identity.serial.as_bytes();
    &serial[..serial.len().min(MAX_SERIAL_BYTES)]
}

/// SPC-5 "Designation descriptor": what a designator names.
#[derive(Clone, Copy)]
enum Association {
    LogicalUnit = 0x00,
    TargetPort = 0x10,
    TargetDevice = 0x20,
}

/// SPC-5 "DESIGNATOR TYPE field".
#[derive(Clone, Copy)]
enum DesignatorType {
    T10VendorId = 1,
    Naa = 3,
    RelativeTargetPort = 4,
    TargetPortGroup = 5,
    ScsiNameString = 8,
}

/// SPC-5 "CODE SET field".
#[derive(Clone, Copy)]
enum CodeSet {
    Binary = 1,
    Ascii = 2,
    Utf8 = 3,
}

/// SPC-5 "PROTOCOL IDENTIFIER field": iSCSI.
const PROTOCOL_ISCSI: u8 = 0x50;
const PIV: u8 = 0x80;

/// SPC-5 "Device Identification VPD page".
fn device_identification(lu: &LuSnapshot, port: u16) -> Vec<u8> {
    use Association::{LogicalUnit, TargetDevice, TargetPort};
    use DesignatorType as Type;

    let identity = &lu.identity;
    let mut body = Vec::with_capacity(512);
    let naa = identity.naa_designator();
    designator(LogicalUnit, Type::Naa, CodeSet::Binary, naa, &mut body);
    let vendor_id = [&identity.vendor[..], &identity.product, serial(identity)].concat();
    designator(
        LogicalUnit,
        Type::T10VendorId,
        CodeSet::Ascii,
        &vendor_id,
        &mut body,
    );
    if let Some(port) = lu
        .target_ports
        .iter()
        .find(|known| known.relative_id == port)
    {
        let TargetPortFields {
            relative,
            group,
            name,
            device,
        } = fields(port);
        designator(
            TargetPort,
            Type::RelativeTargetPort,
            CodeSet::Binary,
            &relative,
            &mut body,
        );
        designator(
            TargetPort,
            Type::TargetPortGroup,
            CodeSet::Binary,
            &group,
            &mut body,
        );
        designator(
            TargetPort,
            Type::ScsiNameString,
            CodeSet::Utf8,
            &name,
            &mut body,
        );
        designator(
            TargetDevice,
            Type::ScsiNameString,
            CodeSet::Utf8,
            &device,
            &mut body,
        );
    }
    body
}

struct TargetPortFields {
    relative: [u8; 4],
    group: [u8; 4],
    name: Vec<u8>,
    device: Vec<u8>,
}

fn fields(port: &TargetPort) -> TargetPortFields {
    TargetPortFields {
        relative: u32::from(port.relative_id).to_be_bytes(),
        group: u32::from(port.group_id).to_be_bytes(),
        name: name_string(&port.name),
        device: name_string(&port.device_name),
    }
}

/// SPC-5 "SCSI name string designator format": ends with a NUL, padded with NULs to a multiple of four, at most 256
/// bytes. An iSCSI name has 223 at most.
fn name_string(name: &str) -> Vec<u8> {
    let name = name.as_bytes();
    let mut padded = name[..name.len().min(251)].to_vec();
    padded.resize((padded.len() / 4 + 1) * 4, 0);
    padded
}

fn designator(
    association: Association,
    designator_type: DesignatorType,
    code_set: CodeSet,
    value: &[u8],
    body: &mut Vec<u8>,
) {
    let value = &value[..value.len().min(usize::from(u8::MAX))];
    let of_port = !matches!(association, Association::LogicalUnit);
    let protocol = if of_port { PROTOCOL_ISCSI } else { 0 };
    let piv = if of_port { PIV } else { 0 };
    body.extend_from_slice(&[
        protocol | code_set as u8,
        piv | association as u8 | designator_type as u8,
        0,
        u8::try_from(value.len()).unwrap_or(u8::MAX),
    ]);
    body.extend_from_slice(value);
}

/// SPC-5 "Mode Page Policy VPD page": all pages and subpages are shared by all nexuses.
fn mode_page_policy() -> [u8; 4] {
    [0x3f, 0xff, 0x00, 0]
}

/// More of the SCSI Ports page is not told: PAGE LENGTH has two bytes, and a port takes less than 300.
const MAX_PORTS_BYTES: usize = 65_000;

/// SPC-5 "SCSI Ports VPD page": the target ports, each with its name.
fn scsi_ports(lu: &LuSnapshot) -> Vec<u8> {
    let mut body = Vec::new();
    for port in lu.target_ports.iter() {
        if body.len() > MAX_PORTS_BYTES {
            break;
        }
        let mut descriptors = Vec::new();
        designator(
            Association::TargetPort,
            DesignatorType::ScsiNameString,
            CodeSet::Utf8,
            &fields(port).name,
            &mut descriptors,
        );
        let [high, low] = port.relative_id.to_be_bytes();
        // INITIATOR PORT TRANSPORTID LENGTH 0: it is no initiator port.
        body.extend_from_slice(&[0, 0, high, low, 0, 0, 0, 0, 0, 0]);
        let length = u16::try_from(descriptors.len()).unwrap_or(u16::MAX);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&descriptors);
    }
    body
}

/// SPC-5 "Extended INQUIRY Data VPD page": HEADSUP, ORDSUP, SIMPSUP, and what there is of protection information.
fn extended_inquiry(lu: &LuSnapshot) -> [u8; 60] {
    let mut body = [0; 60];
    if let Some(kind) = lu.caps.protection {
        // SPT: the one type that it can be formatted to.
        let supported = match kind {
            ProtectionType::Type1 => 0b000,
            ProtectionType::Type2 => 0b010,
            ProtectionType::Type3 => 0b100,
        };
        // GRD_CHK, APP_CHK, REF_CHK.
        body[0] = supported << 3 | 0x07;
    }
    body[1] = 0x07;
    body
}

/// SBC-4 "Block Limits VPD page". Offsets are those of the page less its four bytes of header.
fn block_limits(lu: &LuSnapshot) -> [u8; 60] {
    let caps = &lu.caps;
    let geometry = lu.geometry();
    let max_transfer = limits::max_transfer_blocks(geometry);
    let optimal = match caps.optimal_blocks {
        0 => limits::OPTIMAL_TRANSFER_BYTES / geometry.block_size_bytes.max(1),
        blocks => blocks.min(max_transfer),
    };
    let mut body = [0; 60];
    // WSNZ: WRITE SAME of no blocks is refused, as it would mean all of them.
    body[0] = 0x01;
    body[1] = limits::max_compare_and_write_blocks(caps);
    body[2..4].copy_from_slice(&caps.optimal_granularity_blocks.to_be_bytes());
    body[4..8].copy_from_slice(&max_transfer.to_be_bytes());
    body[8..12].copy_from_slice(&optimal.to_be_bytes());
    if caps.unmap {
        let descriptors = u32::from(limits::MAX_UNMAP_DESCRIPTORS);
        body[16..20].copy_from_slice(&limits::MAX_UNMAP_BLOCKS.to_be_bytes());
        body[20..24].copy_from_slice(&descriptors.to_be_bytes());
        body[24..28].copy_from_slice(&caps.unmap_granularity_blocks.to_be_bytes());
        // UGAVALID, with an alignment of 0.
        body[28] = 0x80;
    }
    let max_same = u64::from(limits::max_write_same_blocks(geometry));
    body[32..40].copy_from_slice(&max_same.to_be_bytes());
    body
}

/// SBC-4 "Block Device Characteristics VPD page".
fn block_device_characteristics(lu: &LuSnapshot) -> [u8; 60] {
    let mut body = [0; 60];
    // MEDIUM ROTATION RATE: 0000h not reported, 0001h does not rotate.
    body[1] = u8::from(!lu.caps.rotational);
    // WABEREQ 01b: erased blocks can be read before they are written again.
    if lu.may_sanitize() && lu.caps.unmap {
        body[3] = 0x40;
    }
    body
}

/// SBC-4 "Logical Block Provisioning VPD page".
fn logical_block_provisioning(lu: &LuSnapshot) -> [u8; 4] {
    let mut body = [0; 4];
    if lu.caps.unmap {
        // THRESHOLD EXPONENT.
        body[0] = limits::threshold_exponent(lu.geometry());
        // LBPU, LBPWS, LBPWS10, and LBPRZ where blocks given back read as zeros.
        body[1] = 0xe0 | u8::from(lu.caps.unmap_zeroes) << 2;
        // PROVISIONING TYPE: thin.
        body[2] = 0x02;
    }
    body
}
