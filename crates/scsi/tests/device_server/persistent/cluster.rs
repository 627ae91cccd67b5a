//! What clusters do: the sequences of Windows' failover cluster validation and of Linux' fencing agents, as their public
//! descriptions tell them.

use scsi::lu::TaskKey;

use super::*;
use crate::rig::cdb10;

fn write(rig: &mut Rig, nexus: NexusId) -> Run {
    rig.run_as(nexus, &cdb10(0x2a, 0, 0, 1), Data::Out(&[0x5a; 512]))
}

fn read(rig: &mut Rig, nexus: NexusId) -> Run {
    rig.run_as(nexus, &cdb10(0x28, 0, 0, 1), Data::In(512))
}

/// "Validate SCSI-3 Persistent Reservation": each node registers, one reserves (Write Exclusive, Registrants Only), all write,
/// others cannot take it, the registrations go, and the disk is clean again.
#[test]
fn windows_validation_of_persistent_reservations_passes() {
    let mut rig = three();
    let nodes = [(ONE, 0xa001), (TWO, 0xa002)];
    // Whatever an earlier run has left is cleared by a registrant.
    rig.reserve_out(ONE, REGISTER_AND_IGNORE, 0, 0, 0xa001)
        .gone_well();
    rig.reserve_out(ONE, CLEAR, 0, 0xa001, 0).gone_well();
    assert_eq!((rig.keys().1, rig.reservation()), (vec![], None));
    // A node without a registration cannot reserve.
    rig.reserve_out(TWO, RESERVE, WE_RO, 0xa002, 0).conflict();
    for (node, key) in nodes {
        rig.reserve_out(node, REGISTER_AND_IGNORE, 0, 0, key)
            .gone_well();
    }
    assert_eq!(rig.keys().1, [0xa001, 0xa002]);
    rig.reserve_out(ONE, RESERVE, WE_RO, 0xa001, 0).gone_well();
    assert_eq!(rig.reservation(), Some((0xa001, WE_RO)));
    // The registered node writes, one that is not registered only reads.
    for (node, _) in nodes {
        write(&mut rig, node).gone_well();
    }
    write(&mut rig, THREE).conflict();
    read(&mut rig, THREE).gone_well();
    // With a wrong key nothing can be done, and nobody but the holder reserves.
    rig.reserve_out(TWO, RESERVE, WE_RO, 0xa002, 0).conflict();
    rig.reserve_out(TWO, RELEASE, WE_RO, 0xbad, 0).conflict();
    rig.reserve_out(TWO, PREEMPT, WE_RO, 0xbad, 0xa001)
        .conflict();
    // The key of a node is renewed under the reservation.
    rig.reserve_out(ONE, REGISTER_AND_IGNORE, 0, 0, 0xa003)
        .gone_well();
    assert_eq!(rig.reservation(), Some((0xa003, WE_RO)));
    // Release, unregister, and it is as before.
    rig.reserve_out(ONE, RELEASE, WE_RO, 0xa003, 0).gone_well();
    assert_eq!(rig.told(TWO), [RESERVATIONS_RELEASED]);
    write(&mut rig, THREE).gone_well();
    for (node, key) in [(ONE, 0xa003), (TWO, 0xa002)] {
        rig.reserve_out(node, REGISTER, 0, key, 0).gone_well();
    }
    assert_eq!((rig.keys().1, rig.reservation()), (vec![], None));
}

/// "Validate Disk Arbitration", "Validate Multiple Arbitration": the owner defends its disk by renewing its key; a challenger
/// registers, sees after a while that the key has not changed, and preempts.
#[test]
fn windows_arbitration_takes_a_disk_from_a_node_that_is_gone() {
    let mut rig = three();
    rig.reserve_out(ONE, REGISTER_AND_IGNORE, 0, 0, 0x0100_0001)
        .gone_well();
    rig.reserve_out(ONE, RESERVE, WE_RO, 0x0100_0001, 0)
        .gone_well();
    // The challenger comes while the owner lives: its preempt with the key it has seen misses.
    rig.reserve_out(TWO, REGISTER_AND_IGNORE, 0, 0, 0x0200_0001)
        .gone_well();
    let seen = rig.reservation().unwrap().0;
    rig.reserve_out(ONE, REGISTER, 0, 0x0100_0001, 0x0100_0002)
        .gone_well();
    rig.reserve_out(TWO, PREEMPT, WE_RO, 0x0200_0001, seen)
        .conflict();
    write(&mut rig, ONE).gone_well();
    // The owner dies; its key stays as it is.
    rig.shard.detach_nexus(ONE, TaskKey(900));
    rig.settle();
    let seen = rig.reservation().unwrap().0;
    rig.reserve_out(TWO, PREEMPT, WE_RO, 0x0200_0001, seen)
        .gone_well();
    assert_eq!(rig.reservation(), Some((0x0200_0001, WE_RO)));
    assert_eq!(rig.keys().1, [0x0200_0001]);
    // It comes back, and finds itself out.
    let again = NexusId(10);
    rig.shard.attach_nexus(again, &name_of(ONE), &[]);
    write(&mut rig, again).conflict();
    rig.reserve_out(again, RELEASE, WE_RO, 0x0100_0002, 0)
        .conflict();
    read(&mut rig, again).gone_well();
}

/// fence_scsi: each node registers with a key of its own (REGISTER AND IGNORE EXISTING KEY, APTPL where asked for), the first
/// reserves (Write Exclusive, Registrants Only); to fence a node another one preempts its key and aborts.
#[test]
fn fence_scsi_registers_reserves_fences_and_lets_back_in() {
    let mut rig = three();
    for (node, key) in [(ONE, 0x5a0001), (TWO, 0x5a0002), (THREE, 0x5a0003)] {
        rig.reserve_out(node, REGISTER_AND_IGNORE, 0, 0, key)
            .gone_well();
        if rig.reservation().is_none() {
            rig.reserve_out(node, RESERVE, WE_RO, key, 0).gone_well();
        }
    }
    assert_eq!(rig.reservation(), Some((0x5a0001, WE_RO)));
    // A node that does not hold the reservation is fenced.
    rig.reserve_out(ONE, PREEMPT_AND_ABORT, WE_RO, 0x5a0001, 0x5a0003)
        .gone_well();
    assert_eq!(rig.told(THREE), [REGISTRATIONS_PREEMPTED]);
    write(&mut rig, THREE).conflict();
    assert_eq!(rig.reservation(), Some((0x5a0001, WE_RO)));
    // The one that does hold it is fenced: the reservation changes hands.
    rig.reserve_out(TWO, PREEMPT_AND_ABORT, WE_RO, 0x5a0002, 0x5a0001)
        .gone_well();
    assert_eq!(rig.told(ONE), [REGISTRATIONS_PREEMPTED]);
    assert_eq!(rig.reservation(), Some((0x5a0002, WE_RO)));
    write(&mut rig, ONE).conflict();
    write(&mut rig, TWO).gone_well();
    // It is let back in.
    rig.reserve_out(ONE, REGISTER_AND_IGNORE, 0, 0, 0x5a0001)
        .gone_well();
    write(&mut rig, ONE).gone_well();
    assert_eq!(rig.keys().1, [0x5a0001, 0x5a0002]);
}

/// mpathpersist: one key on every path, of which the one that reserves holds; the path that holds goes, and another releases
/// for it by preempting the common key with itself.
#[test]
fn mpathpersist_registers_every_path_and_moves_the_reservation_between_them() {
    let mut rig = three();
    // Two paths of one host, one of another.
    for (path, key) in [(ONE, 0xab), (TWO, 0xab), (THREE, 0xcd)] {
        rig.reserve_out(path, REGISTER_AND_IGNORE, 0, 0, key)
            .gone_well();
    }
    rig.reserve_out(ONE, RESERVE, WE_RO, 0xab, 0).gone_well();
    for path in [ONE, TWO, THREE] {
        write(&mut rig, path).gone_well();
    }
    rig.reserve_out(THREE, RESERVE, WE_RO, 0xcd, 0).conflict();
    // The holding path is gone: a release on the other is GOOD and releases nothing.
    rig.shard.detach_nexus(ONE, TaskKey(900));
    rig.settle();
    rig.reserve_out(TWO, RELEASE, WE_RO, 0xab, 0).gone_well();
    assert_eq!(rig.reservation(), Some((0xab, WE_RO)));
    rig.reserve_out(TWO, PREEMPT, WE_RO, 0xab, 0xab).gone_well();
    assert_eq!(rig.reservation(), Some((0xab, WE_RO)));
    assert_eq!(rig.keys().1, [0xab, 0xcd]);
    rig.reserve_out(TWO, RELEASE, WE_RO, 0xab, 0).gone_well();
    assert_eq!(rig.reservation(), None);
    assert_eq!(rig.told(THREE), [RESERVATIONS_RELEASED]);
    // The other host is thrown out as a whole.
    rig.reserve_out(THREE, RESERVE, EA_RO, 0xcd, 0).gone_well();
    rig.reserve_out(THREE, PREEMPT_AND_ABORT, EA_RO, 0xcd, 0xab)
        .gone_well();
    read(&mut rig, TWO).check(scsi::Sense::unit_attention(0x2a, 0x05));
    read(&mut rig, TWO).conflict();
}
