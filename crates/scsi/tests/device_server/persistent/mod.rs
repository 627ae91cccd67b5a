//! Persistent reservations, command by command: SPC-5 r22 "PERSISTENT RESERVE OUT command", "PERSISTENT RESERVE IN command".

mod cluster;
mod conflicts;
mod legacy;
mod lost;
mod moving;
mod preempting;
mod registering;
mod reporting;
mod reserving;
mod saving;

use scsi::Status;
use scsi::lu::NexusId;

use crate::rig::{Data, ONE, Rig, Run, TWO, name_of};

pub(crate) const THREE: NexusId = NexusId(3);
/// Looks on, and has nothing to be told.
pub(crate) const OBSERVER: NexusId = NexusId(4);

/// Service actions of PERSISTENT RESERVE OUT.
pub(crate) const REGISTER: u8 = 0;
pub(crate) const RESERVE: u8 = 1;
pub(crate) const RELEASE: u8 = 2;
pub(crate) const CLEAR: u8 = 3;
pub(crate) const PREEMPT: u8 = 4;
pub(crate) const PREEMPT_AND_ABORT: u8 = 5;
pub(crate) const REGISTER_AND_IGNORE: u8 = 6;
pub(crate) const REGISTER_AND_MOVE: u8 = 7;
pub(crate) const REPLACE_LOST: u8 = 8;

/// Types.
pub(crate) const WE: u8 = 1;
pub(crate) const EA: u8 = 3;
pub(crate) const WE_RO: u8 = 5;
pub(crate) const EA_RO: u8 = 6;
pub(crate) const WE_AR: u8 = 7;
pub(crate) const EA_AR: u8 = 8;

/// Bits of the basic parameter list.
pub(crate) const APTPL: u8 = 0x01;
pub(crate) const ALL_TG_PT: u8 = 0x04;
pub(crate) const SPEC_I_PT: u8 = 0x08;

/// Unit attentions.
pub(crate) const RESERVATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x03);
pub(crate) const RESERVATIONS_RELEASED: (u8, u8) = (0x2a, 0x04);
pub(crate) const REGISTRATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x05);

/// Two nexuses and a third, nobody registered.
pub(crate) fn three() -> Rig {
    let mut rig = Rig::new();
    for nexus in [THREE, OBSERVER] {
        rig.shard.attach_nexus(nexus, &name_of(nexus), &[]);
    }
    rig
}

/// As [`three`], with keys 11h, 22h and 33h registered.
pub(crate) fn registered() -> Rig {
    let mut rig = three();
    for (nexus, key) in [(ONE, 0x11), (TWO, 0x22), (THREE, 0x33)] {
        rig.reserve_out(nexus, REGISTER, 0, 0, key).gone_well();
    }
    rig
}

/// As [`registered`], with a reservation of this type that nexus one holds.
pub(crate) fn held(kind: u8) -> Rig {
    let mut rig = registered();
    rig.reserve_out(ONE, RESERVE, kind, 0x11, 0).gone_well();
    rig
}

pub(crate) fn cdb_out(action: u8, scope_and_type: u8, length: u32) -> [u8; 10] {
    let [a, b, c, d] = length.to_be_bytes();
    [0x5f, action, scope_and_type, 0, 0, a, b, c, d, 0]
}

pub(crate) fn cdb_in(action: u8, length: u16) -> [u8; 10] {
    let [a, b] = length.to_be_bytes();
    [0x5e, action, 0, 0, 0, 0, 0, a, b, 0]
}

/// A basic parameter list.
pub(crate) fn list(key: u64, action_key: u64, flags: u8) -> Vec<u8> {
    let mut list = vec![0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&action_key.to_be_bytes());
    list[20] = flags;
    list
}

impl Rig {
    /// PERSISTENT RESERVE OUT with a list of one's own.
    pub(crate) fn reserve_out_list(
        &mut self,
        nexus: NexusId,
        action: u8,
        kind: u8,
        list: &[u8],
    ) -> Run {
        let cdb = cdb_out(action, kind, list.len() as u32);
        self.run_as(nexus, &cdb, Data::Out(list))
    }

    pub(crate) fn reserve_out(
        &mut self,
        nexus: NexusId,
        action: u8,
        kind: u8,
        key: u64,
        action_key: u64,
    ) -> Run {
        self.reserve_out_list(nexus, action, kind, &list(key, action_key, 0))
    }

    pub(crate) fn reserve_in(&mut self, action: u8) -> Vec<u8> {
        let run = self.run_as(OBSERVER, &cdb_in(action, u16::MAX), Data::In(1 << 20));
        run.gone_well();
        run.data_in
    }

    /// PRgeneration and the keys, sorted.
    pub(crate) fn keys(&mut self) -> (u32, Vec<u64>) {
        let data = self.reserve_in(0);
        let mut keys: Vec<u64> = data[8..].chunks_exact(8).map(be64).collect();
        assert_eq!(be32(&data[4..]) as usize, 8 * keys.len());
        keys.sort_unstable();
        (be32(&data), keys)
    }

    /// Key and type of the reservation.
    pub(crate) fn reservation(&mut self) -> Option<(u64, u8)> {
        let data = self.reserve_in(1);
        match be32(&data[4..]) {
            0 => None,
            length => {
                assert_eq!((length, data.len()), (16, 24));
                Some((be64(&data[8..]), data[21]))
            }
        }
    }

    /// The unit attentions that a nexus has pending, which are told.
    pub(crate) fn told(&mut self, nexus: NexusId) -> Vec<(u8, u8)> {
        let mut told = Vec::new();
        while let Some(attention) =
            (self.shard.nexus_mut(nexus)).and_then(|n| n.take_unit_attention())
        {
            told.push(attention.additional_sense());
        }
        told
    }

    /// What the three nexuses are told.
    pub(crate) fn all_told(&mut self) -> [Vec<(u8, u8)>; 3] {
        [ONE, TWO, THREE].map(|nexus| self.told(nexus))
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn gone_well(&self) -> &Self {
        assert_eq!(self.done.status, Status::Good, "{self:?}");
        self
    }

    /// RESERVATION CONFLICT.
    #[track_caller]
    pub(crate) fn conflict(&self) -> &Self {
        assert_eq!(self.done.status, Status::ReservationConflict, "{self:?}");
        self
    }
}

pub(crate) fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

pub(crate) fn be64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}
