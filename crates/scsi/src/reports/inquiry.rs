//! INQUIRY: the standard data. SPC-5 r22 "INQUIRY command", "Standard INQUIRY data".

use super::{Asked, Reported, vpd};
use crate::access::tpgs;
use crate::device::DeviceType;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::snapshot::LuIdentity;

/// SPC-5 "Peripheral qualifier", with the peripheral device type that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeripheralQualifier {
    /// 000b, with the type of the device.
    Connected(DeviceType),
    /// 011b with type 1Fh: no logical unit can be there.
    NotSupported,
}

impl PeripheralQualifier {
    /// The type whose versions are claimed.
    fn device(self) -> DeviceType {
        match self {
            Self::Connected(device) => device,
            Self::NotSupported => DeviceType::Disk,
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Connected(device) => device.code(),
            Self::NotSupported => 0x7f,
        }
    }
}

const STANDARD_BYTES: usize = 96;

/// INQUIRY, both forms.
pub(crate) fn inquiry(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let page = cdb.byte::<2>();
    let mut reply = asked.reply(u32::from(cdb.be16::<3>()), out);
    if cdb.bit::<1>(0) {
        vpd::page(page, asked, &mut reply)?;
    } else if page != 0 {
        // SPC-5 "INQUIRY command": PAGE CODE belongs to EVPD.
        return Err(Sense::cdb_byte(2).into());
    } else {
        let identity = &asked.lu.identity;
        let features = Features {
            transport_version: asked.view.transport_version,
            several_ports: asked.lu.target_ports.len() > 1,
            third_party_copy: asked.lu.copies_for_others(),
            protect: asked.lu.caps.protection.is_some(),
            // SPC-5 "TPGS field": 0 where REPORT TARGET PORT GROUPS is not there.
            tpgs: match asked.lu.device {
                DeviceType::Disk => tpgs(&asked.lu.access_groups),
                DeviceType::Multimedia => 0,
            },
        };
        standard_inquiry(
            PeripheralQualifier::Connected(asked.lu.device),
            identity,
            features,
            &mut reply,
        );
    }
    Ok(reply.done())
}

/// What the standard INQUIRY data tell that not every logical unit has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    /// The transport's version descriptor; 0: none.
    pub(crate) transport_version: u16,
    /// It can be reached through more than one port.
    pub(crate) several_ports: bool,
    /// TPGS, in its place.
    pub(crate) tpgs: u8,
    /// It makes third-party copies.
    pub(crate) third_party_copy: bool,
    /// It has protection information.
    pub(crate) protect: bool,
}

/// The standard INQUIRY data.
pub(crate) fn standard_inquiry(
    qualifier: PeripheralQualifier,
    identity: &LuIdentity,
    features: Features,
    reply: &mut Reply<'_>,
) {
    let mut data = [0; STANDARD_BYTES];
    data[0] = qualifier.byte();
    // VERSION: SPC-4, which all initiators know.
    data[2] = 0x06;
    // RESPONSE DATA FORMAT 2; HISUP is 0.
    data[3] = 0x02;
    // ADDITIONAL LENGTH.
    data[4] = 91;
    if let PeripheralQualifier::Connected(device) = qualifier {
        // RMB.
        data[1] = u8::from(device.tables().is_removable) << 7;
        // NORMACA.
        data[3] |= 0x20;
        // TPGS, 3PC, PROTECT.
        let copies = u8::from(features.third_party_copy) << 3;
        data[5] = features.tpgs | copies | u8::from(features.protect);
        // MULTIP.
        data[6] = u8::from(features.several_ports) << 4;
    }
    // CMDQUE.
    data[7] = 0x02;
    data[8..16].copy_from_slice(&identity.vendor);
    data[16..32].copy_from_slice(&identity.product);
    data[32..36].copy_from_slice(&identity.revision);
    // SPC-5 "Version descriptor": the transport's follows those of the type.
    let [architecture, commands, blocks] = qualifier.device().tables().versions;
    let versions = [architecture, commands, blocks, features.transport_version];
    for (field, code) in data[58..].chunks_exact_mut(2).zip(versions) {
        field.copy_from_slice(&code.to_be_bytes());
    }
    reply.put(&data);
}
