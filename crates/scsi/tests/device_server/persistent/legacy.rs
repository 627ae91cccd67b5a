//! RESERVE and RELEASE beside persistent reservations: SPC-2 r20 "Reservations overview", SPC-5 r22 "Exceptions to SPC-2
//! RESERVE and RELEASE behavior".

use super::*;

const RESERVE_CODES: [u8; 2] = [0x16, 0x56];
const RELEASE_CODES: [u8; 2] = [0x17, 0x57];

fn cdb(opcode: u8) -> [u8; 10] {
    [opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn reserve_and_release_where_somebody_is_registered_are_conflicts_but_for_the_exceptions() {
    // The reservation one holds; whether one, two (registered) and the observer (not) are excepted.
    for (kind, excepted) in [
        (0, [false, false, false]),
        (WE, [true, false, false]),
        (EA, [true, false, false]),
        (WE_RO, [true, true, false]),
        (EA_RO, [true, true, false]),
        (WE_AR, [true, true, false]),
        (EA_AR, [true, true, false]),
    ] {
        for opcode in [RESERVE_CODES, RELEASE_CODES].concat() {
            for (nexus, excepted) in [ONE, TWO, OBSERVER].into_iter().zip(excepted) {
                let mut rig = if kind == 0 { registered() } else { held(kind) };
                let before = rig.reservation();
                let run = rig.run_as(nexus, &cdb(opcode), Data::None);
                if excepted {
                    run.gone_well();
                } else {
                    run.conflict();
                }
                assert_eq!(rig.reservation(), before, "{kind} {opcode:02x} {nexus:?}");
            }
        }
    }
}

#[test]
fn persistent_commands_under_a_reserve_are_conflicts_for_everybody() {
    for opcode in RESERVE_CODES {
        let mut rig = three();
        rig.run(&cdb(opcode), Data::None).gone_well();
        for nexus in [ONE, TWO] {
            for action in 0..4 {
                rig.run_as(nexus, &cdb_in(action, 64), Data::In(64))
                    .conflict();
            }
            for action in [REGISTER, REGISTER_AND_IGNORE, RESERVE, CLEAR, REPLACE_LOST] {
                rig.reserve_out(nexus, action, WE, 0, 0x11).conflict();
            }
        }
        rig.run(&cdb(opcode + 1), Data::None).gone_well();
        assert_eq!(rig.keys(), (0, vec![]));
        rig.reserve_out(TWO, REGISTER, 0, 0, 0x22).gone_well();
    }
}

#[test]
fn reserve_after_the_last_registration_is_gone_is_as_before() {
    let mut rig = held(EA);
    rig.reserve_out(ONE, CLEAR, 0, 0x11, 0).gone_well();
    rig.all_told();
    rig.run_as(TWO, &cdb(0x16), Data::None).gone_well();
    rig.run_as(ONE, &cdb(0x00), Data::None).conflict();
    rig.run_as(TWO, &cdb(0x17), Data::None).gone_well();
    rig.run_as(ONE, &cdb(0x00), Data::None).gone_well();
}
