//! Reservations that were saved and cannot be read: SPC-5 r22 "Recoverable loss of persistent reservation information",
//! "Replacing lost reservations".

use std::sync::Arc;

use scsi::{PersistentReservations, Sense};

use super::*;
use crate::rig::{caps, cdb10, snapshot};

const LOST: Sense = Sense::PERSISTENT_RESERVATION_INFORMATION_LOST;

fn lost() -> Rig {
    let mut lu = snapshot(caps(512, 64));
    lu.ptpl_capable = true;
    let persistent = Arc::new(PersistentReservations::lost());
    let mut rig = Rig::with_snapshot(lu.with_persistent(persistent));
    rig.shard.attach_nexus(OBSERVER, &name_of(OBSERVER), &[]);
    rig
}

#[test]
fn nobody_gets_at_the_medium_while_reservations_are_lost() {
    let mut rig = lost();
    let refused: &[&[u8]] = &[
        &[0x00, 0, 0, 0, 0, 0],
        &[0x16, 0, 0, 0, 0, 0],
        &[0x17, 0, 0, 0, 0, 0],
        &[0x1a, 0, 0x3f, 0, 4, 0],
        &[0x1b, 0, 0, 0, 0, 0],
        &cdb10(0x28, 0, 0, 1),
        &cdb10(0x25, 0, 0, 0),
        &cdb10(0x35, 0, 0, 0),
        &cdb_in(0, 64),
        &cdb_in(1, 64),
        &cdb_in(2, 64),
        &cdb_in(3, 64),
    ];
    for cdb in refused {
        rig.run(cdb, Data::In(64)).check(LOST);
    }
    let write = rig.run(&cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]));
    write.refused(LOST);
    let allowed: &[&[u8]] = &[
        &[0x03, 0, 0, 0, 18, 0],
        &[0x12, 0, 0, 0, 36, 0],
        &[0x1b, 0, 0, 0, 1, 0],
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
    ];
    for cdb in allowed {
        rig.run(cdb, Data::In(64)).gone_well();
    }
    for action in 0..8 {
        let list = if action == REGISTER_AND_MOVE {
            let mut list = list(0, 1, 0);
            let id = name_of(TWO).initiator.as_bytes().to_vec();
            list[23] = id.len() as u8;
            [list, id].concat()
        } else {
            list(0, 1, 0)
        };
        rig.reserve_out_list(ONE, action, WE, &list).check(LOST);
    }
}

#[test]
fn replace_lost_reservation_registers_reserves_and_lets_the_lu_be_used() {
    let mut rig = lost();
    for (key, action_key, flags, kind, sense) in [
        (1, 0x11, 0, WE, Sense::parameter_byte(0)),
        (0, 0, 0, WE, Sense::parameter_byte(8)),
        (0, 0x11, ALL_TG_PT, WE, Sense::parameter_bit(20, 2)),
        (0, 0x11, 0, 2, Sense::cdb_bit(2, 3)),
        (0, 0x11, 0, 0x10 | WE, Sense::cdb_bit(2, 7)),
    ] {
        let list = list(key, action_key, flags);
        rig.reserve_out_list(ONE, REPLACE_LOST, kind, &list)
            .check(sense);
    }
    assert_eq!(rig.saves, []);
    let run = rig.reserve_out_list(ONE, REPLACE_LOST, WE_RO, &list(0, 0x11, APTPL));
    run.gone_well();
    assert_eq!(
        (rig.keys(), rig.reservation()),
        ((0, vec![0x11]), Some((0x11, WE_RO)))
    );
    assert_eq!(rig.saves.len(), 1);
    rig.run(&cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]))
        .gone_well();
    rig.run_as(TWO, &cdb10(0x2a, 0, 0, 1), Data::Out(&[1; 512]))
        .conflict();
    // Once is enough.
    let run = rig.reserve_out(ONE, REPLACE_LOST, WE_RO, 0, 0x11);
    run.check(Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION);
}

#[test]
fn replace_of_what_is_not_lost_is_refused() {
    for mut rig in [three(), registered(), held(WE)] {
        for nexus in [ONE, OBSERVER] {
            let run = rig.reserve_out(nexus, REPLACE_LOST, WE, 0, 0x11);
            run.check(Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION);
        }
    }
}
