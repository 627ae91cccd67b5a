//! REPORT TARGET PORT GROUPS. SPC-5 r22 "REPORT TARGET PORT GROUPS command".

use super::{Asked, Reported};
use crate::sense::Sense;
use crate::snapshot::TargetPort;

/// ASYMMETRIC ACCESS STATE: active/optimized.
const ACTIVE_OPTIMIZED: u8 = 0x0;
/// AO_SUP: no other state is ever entered.
const SUPPORTED_STATES: u8 = 0x01;

/// REPORT TARGET PORT GROUPS, with either header.
pub(crate) fn report_target_port_groups(asked: &Asked<'_>, out: &mut Vec<u8>) -> Reported {
    let cdb = &asked.command.cdb;
    let extended = match cdb.byte::<1>() >> 5 {
        0b000 => false,
        0b001 => true,
        // PARAMETER DATA FORMAT.
        _ => return Err(Sense::cdb_bit(1, 7).into()),
    };
    let groups = groups(&asked.lu.target_ports);
    let descriptors: usize = groups.iter().map(|(_, ports)| 8 + 4 * ports.len()).sum();
    let length = descriptors + if extended { 4 } else { 0 };
    let mut reply = asked.reply(cdb.be32::<6>(), out);
    reply.put(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    if extended {
        // FORMAT TYPE 001b; IMPLICIT TRANSITION TIME 0: not told.
        reply.put(&[0x10, 0, 0, 0]);
    }
    for (group, ports) in groups {
        let [high, low] = group.to_be_bytes();
        let count = u8::try_from(ports.len()).unwrap_or(u8::MAX);
        reply.put(&[
            ACTIVE_OPTIMIZED,
            SUPPORTED_STATES,
            high,
            low,
            0,
            0,
            0,
            count,
        ]);
        for port in ports {
            let [high, low] = port.to_be_bytes();
            reply.put(&[0, 0, high, low]);
        }
    }
    Ok(reply.done())
}

/// The target port groups, ascending, with their ports (TARGET PORT COUNT has eight bits).
fn groups(ports: &[TargetPort]) -> Vec<(u16, Vec<u16>)> {
    let mut pairs: Vec<(u16, u16)> = ports
        .iter()
        .map(|port| (port.group_id, port.relative_id))
        .collect();
    pairs.sort_unstable();
    let same_group = |one: &(u16, u16), other: &(u16, u16)| one.0 == other.0;
    let members = pairs.chunk_by(same_group);
    members
        .filter_map(|members| {
            let group = members.first()?.0;
            let ports = members
                .iter()
                .take(usize::from(u8::MAX))
                .map(|(_, port)| *port);
            Some((group, ports.collect()))
        })
        .collect()
}
