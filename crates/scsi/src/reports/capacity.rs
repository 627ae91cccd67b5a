//! READ CAPACITY. SBC-4 r22 "READ CAPACITY (10) command", "READ CAPACITY (16) command".

use super::{Asked, Reported};

/// READ CAPACITY(10).
pub(crate) fn read_capacity_10(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let geometry = asked.lu.geometry();
    // SBC-4 "READ CAPACITY (10) parameter data": FFFFFFFFh tells to ask by READ CAPACITY(16).
    let last = u32::try_from(geometry.last_lba().0).unwrap_or(u32::MAX);
    let mut reply = asked.reply(8, out);
    reply.put(&last.to_be_bytes());
    reply.put(&geometry.block_size_bytes.to_be_bytes());
    Ok(reply.done())
}

/// READ CAPACITY(16).
pub(crate) fn read_capacity_16(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let caps = &asked.lu.caps;
    let mut data = [0; 32];
    data[0..8].copy_from_slice(&caps.geometry.last_lba().0.to_be_bytes());
    data[8..12].copy_from_slice(&caps.geometry.block_size_bytes.to_be_bytes());
    // P_TYPE, PROT_EN; P_I_EXPONENT is 0: there is one of it to a block.
    if let Some(kind) = caps.protection {
        data[12] = (kind.number() - 1) << 1 | 1;
    }
    data[13] = caps.physical_block_exponent.min(15);
    // LBPME, LBPRZ; LOWEST ALIGNED LOGICAL BLOCK ADDRESS is 0.
    data[14] = u8::from(caps.unmap) << 7 | u8::from(caps.unmap && caps.unmap_zeroes) << 6;
    let mut reply = asked.reply(asked.command.cdb.be32::<10>(), out);
    reply.put(&data);
    Ok(reply.done())
}
