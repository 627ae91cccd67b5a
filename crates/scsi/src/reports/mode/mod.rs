//! MODE SENSE and the parameter list of MODE SELECT. SPC-5 r22 "MODE SENSE (6) command", "MODE SELECT (6) command",
//! "Mode parameters"; SBC-4 r22 "Mode parameters for direct access block devices".
//!
//! Where there is a place for it, the values that can change can be saved.

mod pages;
mod select;

pub(crate) use pages::{PAGES, PageRow, plain_page, restored_fields, saved_fields};
pub(crate) use select::ModeSelectList;

use block::Geometry;

use super::{Asked, Reported};
use crate::opcodes::ListSize;
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;

use pages::{ALL_PAGES, ALL_SUBPAGES, Page};

use crate::device::DeviceType;
use crate::multimedia::locked_bits;

/// MODE SENSE, 6 and 10.
pub(crate) fn mode_sense(size: ListSize, asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let code = cdb.byte::<2>() & 0x3f;
    let subpage = cdb.byte::<3>();
    let (allocation, long_lba) = match size {
        ListSize::Six => (u32::from(cdb.byte::<4>()), false),
        ListSize::Ten => (u32::from(cdb.be16::<7>()), cdb.bit::<1>(4)),
    };
    let pages = sense_pages(cdb.byte::<2>() >> 6, code, subpage, asked.lu)?;
    let mut body = Vec::with_capacity(256);
    // MMC-6 "Mode parameter header": no block descriptor, and no device-specific parameter.
    let is_disk = asked.lu.device == DeviceType::Disk;
    if !cdb.bit::<1>(3) && is_disk {
        put_block_descriptor(asked.lu.geometry(), long_lba, &mut body);
    }
    let descriptor_bytes = u16::try_from(body.len()).unwrap_or(u16::MAX);
    for page in pages {
        body.extend_from_slice(page.as_slice());
    }

    let mut reply = asked.reply(allocation, out);
    // DEVICE-SPECIFIC PARAMETER: WP, DPOFUA.
    let protected = asked.lu.write_protected() || asked.view.write_protected;
    let device = match is_disk {
        true => u8::from(protected) << 7 | 0x10,
        false => 0,
    };
    match size {
        ListSize::Six => {
            let length = u8::try_from(body.len() + 3).unwrap_or(u8::MAX);
            let descriptors = u8::try_from(descriptor_bytes).unwrap_or(u8::MAX);
            reply.put(&[length, 0, device, descriptors]);
        }
        ListSize::Ten => {
            let [high, low] = u16::try_from(body.len() + 6)
                .unwrap_or(u16::MAX)
                .to_be_bytes();
            let [more, less] = descriptor_bytes.to_be_bytes();
            reply.put(&[high, low, 0, device, u8::from(long_lba), 0, more, less]);
        }
    }
    reply.put(&body);
    Ok(reply.done())
}

/// The pages that PAGE CODE and SUBPAGE CODE ask for, with the values that PC asks for.
fn sense_pages(control: u8, code: u8, subpage: u8, lu: &LuSnapshot) -> Result<Vec<Page>, Refusal> {
    // SPC-5 "Saved values": refused where none can be kept.
    if control == 0b11 && !lu.can_save() {
        return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED
            .pointing(true, 2, Some(7))
            .into());
    }
    let of_code = |row: &&PageRow| code == ALL_PAGES || code == row.code;
    let rows = lu.device.tables().mode_pages;
    if !rows.iter().any(|row| of_code(&row) && row.is_there(lu)) {
        return Err(Sense::cdb_bit(2, 5).into());
    }
    let wanted = |row: &&PageRow| {
        let named = subpage == ALL_SUBPAGES || subpage == row.subpage;
        of_code(row) && named && row.is_there(lu)
    };
    let make = |row: &PageRow| {
        let page = match control {
            0b01 => row.changeable(),
            0b10 => row.page(&lu.mode_defaults, lu),
            0b11 => row.page(&lu.mode_saved.unwrap_or(lu.mode_defaults), lu),
            _ => {
                let mut page = row.page(&lu.mode, lu);
                if let Some((byte, bits)) = locked_bits(row.code, lu) {
                    page.set_bits(byte, bits);
                }
                page
            }
        };
        page.saveable(lu.can_save() && !row.fields.is_empty())
    };
    // SPC-5 "Mode page and subpage codes": of all pages, there is one subpage or there are all.
    let names_one = code == ALL_PAGES && subpage != 0 && subpage != ALL_SUBPAGES;
    let pages: Vec<Page> = rows.iter().filter(wanted).map(make).collect();
    if pages.is_empty() || names_one {
        return Err(Sense::cdb_byte(3).into());
    }
    Ok(pages)
}

/// SBC-4 "Short LBA mode parameter block descriptor", "Long LBA mode parameter block descriptor".
fn put_block_descriptor(geometry: Geometry, long_lba: bool, body: &mut Vec<u8>) {
    if long_lba {
        body.extend_from_slice(&geometry.capacity_blocks.to_be_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&geometry.block_size_bytes.to_be_bytes());
    } else {
        let blocks = u32::try_from(geometry.capacity_blocks).unwrap_or(u32::MAX);
        body.extend_from_slice(&blocks.to_be_bytes());
        // LOGICAL BLOCK LENGTH has three bytes.
        body.extend_from_slice(&geometry.block_size_bytes.to_be_bytes());
    }
}
