//! Every command under every reservation: the tables of SPC-5 r22 "SPC-5 commands that are allowed in the presence of various
//! reservations" and SBC-4 r22 "SBC-4 commands that are allowed in the presence of various reservations", row by row.

use super::*;

/// A row's five columns: from any nexus under Write Exclusive and Exclusive Access; from a registered nexus under registrants
/// only; from one that is not registered under Write Exclusive and Exclusive Access, registrants only or all registrants.
type Row = [bool; 5];

const ALLOWED: Row = [false; 5];
const AS_READ: Row = [false, true, false, false, true];
const AS_WRITE: Row = [true, true, false, true, true];

/// Commands as they stand in the standards. What they come to besides does not matter here.
#[rustfmt::skip]
const ROWS: &[(&[u8], Row)] = &[
    (&[0x00, 0, 0, 0, 0, 0], ALLOWED),
    (&[0x03, 0, 0, 0, 18, 0], ALLOWED),
    (&[0x04, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x08, 0, 0, 0, 1, 0], AS_READ),
    (&[0x0a, 0, 0, 0, 1, 0], AS_WRITE),
    (&[0x12, 0, 0, 0, 36, 0], ALLOWED),
    (&[0x15, 0x10, 0, 0, 0, 0], AS_WRITE),
    (&[0x1a, 0, 0x3f, 0, 4, 0], AS_READ),
    (&[0x1b, 0, 0, 0, 0x01, 0], ALLOWED),
    (&[0x1b, 0, 0, 0, 0x00, 0], AS_WRITE),
    (&[0x1c, 0x01, 0, 0, 4, 0], AS_READ),
    (&[0x1d, 0x04, 0, 0, 0, 0], AS_WRITE),
    (&[0x1e, 0, 0, 0, 0, 0], ALLOWED),
    (&[0x1e, 0, 0, 0, 1, 0], AS_WRITE),
    (&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], ALLOWED),
    (&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], AS_READ),
    (&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], AS_WRITE),
    (&[0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0], AS_WRITE),
    (&[0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0], AS_READ),
    (&[0x34, 0, 0, 0, 0, 0, 0, 0, 1, 0], AS_READ),
    (&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x37, 0, 0x18, 0, 0, 0, 0, 0, 4, 0], AS_READ),
    (&[0x3b, 0x0a, 0, 0, 0, 0, 0, 0, 4, 0], AS_WRITE),
    (&[0x3c, 0x0b, 0, 0, 0, 0, 0, 0, 4, 0], AS_READ),
    (&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], AS_WRITE),
    (&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x4c, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 64, 0], ALLOWED),
    (&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 8, 0], AS_READ),
    (&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], ALLOWED),
    (&[0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x83, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x83, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_READ),
    (&[0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x84, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_WRITE),
    (&[0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_WRITE),
    (&[0x84, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_WRITE),
    (&[0x84, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_WRITE),
    (&[0x84, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_WRITE),
    (&[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_READ),
    (&[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_WRITE),
    (&[0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_WRITE),
    (&[0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_WRITE),
    (&[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_READ),
    (&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_READ),
    (&[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], AS_WRITE),
    (&[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_WRITE),
    (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], ALLOWED),
    (&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], AS_READ),
    (&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], ALLOWED),
    (&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], ALLOWED),
    (&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_READ),
    (&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], AS_READ),
    (&[0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], ALLOWED),
    (&[0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0], AS_WRITE),
    (&[0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_READ),
    (&[0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_WRITE),
    (&[0xae, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_WRITE),
    (&[0xaf, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], AS_READ),
    (&[0xb7, 0x18, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], AS_READ),
];

/// Commands whose rows are elsewhere: RESERVE, RELEASE, PERSISTENT RESERVE OUT.
const ELSEWHERE: [u8; 5] = [0x16, 0x17, 0x56, 0x57, 0x5f];

#[test]
fn command_under_each_reservation_is_allowed_or_not_as_its_row_has_it() {
    // Reservation, nexus, column; the holder's has none.
    let cases = [
        (WE, TWO, Some(0)),
        (WE, OBSERVER, Some(0)),
        (EA, TWO, Some(1)),
        (EA, OBSERVER, Some(1)),
        (WE_RO, TWO, Some(2)),
        (EA_RO, TWO, Some(2)),
        (WE_RO, OBSERVER, Some(3)),
        (WE_AR, OBSERVER, Some(3)),
        (EA_RO, OBSERVER, Some(4)),
        (EA_AR, OBSERVER, Some(4)),
        (WE, ONE, None),
        (EA, ONE, None),
        (WE_RO, ONE, None),
        (EA_RO, ONE, None),
        (WE_AR, TWO, None),
        (EA_AR, TWO, None),
    ];
    for (kind, nexus, column) in cases {
        for (cdb, row) in ROWS {
            let mut rig = held(kind);
            let writes = [
                0x0a, 0x2a, 0x2e, 0x3b, 0x41, 0x8a, 0x8b, 0x8e, 0x93, 0xa4, 0xaa, 0xae,
            ];
            let data = if writes.contains(&cdb[0]) {
                Data::Out(&[0; 512])
            } else {
                Data::In(512)
            };
            let run = rig.run_as(nexus, cdb, data);
            let conflicts = run.done.status == Status::ReservationConflict;
            let expected = column.is_some_and(|column: usize| row[column]);
            assert_eq!(conflicts, expected, "{kind} {nexus:?} {cdb:02x?}");
        }
    }
}

#[test]
fn every_command_there_is_has_its_row_here() {
    let mut rig = three();
    let all = [0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
    let data = rig.run(&all, Data::In(1 << 16)).data_in;
    for descriptor in data[4..].chunks_exact(8) {
        let (opcode, action) = (descriptor[0], descriptor[3]);
        let has_action = descriptor[5] & 0x01 != 0;
        let fits = |cdb: &[u8]| cdb[0] == opcode && (!has_action || cdb[1] & 0x1f == action);
        let found = ROWS.iter().any(|(cdb, _)| fits(cdb));
        // The reports of PERSISTENT RESERVE IN have a test of their own.
        let known = found || ELSEWHERE.contains(&opcode) || opcode == 0x5e;
        assert!(
            known,
            "a row for {opcode:02x}h {action:02x}h is missing above"
        );
    }
}

#[test]
fn reserve_out_under_a_reservation_of_another_is_allowed_or_not_as_its_row_has_it() {
    // SPC-5 "PERSISTENT RESERVE OUT service actions that are allowed in the presence of various reservations": from a
    // registered nexus, from one that is not.
    for (action, from_registered, from_other) in [
        (CLEAR, false, true),
        (PREEMPT, false, true),
        (PREEMPT_AND_ABORT, false, true),
        (REGISTER, false, false),
        (REGISTER_AND_IGNORE, false, false),
        (RELEASE, false, true),
        (RESERVE, true, true),
    ] {
        for kind in [WE, EA, WE_RO, EA_RO] {
            for (nexus, key, expected) in [(TWO, 0x22, from_registered), (OBSERVER, 0, from_other)]
            {
                let mut rig = held(kind);
                let run = rig.reserve_out(nexus, action, kind, key, 0x33);
                let conflicts = run.done.status == Status::ReservationConflict;
                assert_eq!(conflicts, expected, "{action} {kind} {nexus:?}");
            }
        }
    }
}
