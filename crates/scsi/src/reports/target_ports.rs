//! REPORT TARGET PORT GROUPS. SPC-5 r22 "REPORT TARGET PORT GROUPS command".

use std::time::Duration;

use super::{Asked, Reported};
use crate::access::{AccessChangedBy, AccessGroup, AccessState};
use crate::sense::Sense;
use crate::snapshot::TargetPort;

/// What a group is that nothing is said of.
const PLAIN: AccessGroup = AccessGroup {
    id: 0,
    state: AccessState::ActiveOptimized,
    changed_by: AccessChangedBy::Nothing,
    preferred: false,
    // AO_SUP: no other state is ever entered.
    supported: 0x01,
    implicit: true,
    explicit: false,
    implicit_transition_seconds: 0,
    transition: Duration::ZERO,
};

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
        // FORMAT TYPE 001b; IMPLICIT TRANSITION TIME.
        let times = asked.lu.access_groups.iter();
        let seconds = times.map(|group| group.implicit_transition_seconds).max();
        reply.put(&[0x10, seconds.unwrap_or(0), 0, 0]);
    }
    for (group, ports) in groups {
        let [high, low] = group.to_be_bytes();
        let count = u8::try_from(ports.len()).unwrap_or(u8::MAX);
        let said = asked.lu.access_groups.iter().find(|one| one.id == group);
        let said = said.unwrap_or(&PLAIN);
        reply.put(&[
            // PREF, ASYMMETRIC ACCESS STATE.
            u8::from(said.preferred) << 7 | said.state as u8,
            said.supported,
            high,
            low,
            0,
            said.changed_by as u8,
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
