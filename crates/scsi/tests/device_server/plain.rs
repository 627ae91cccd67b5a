//! READ and WRITE that are decided in one look come to what the general way comes to.

use std::sync::Arc;

use block::{Lba, ProtectionType};
use proptest::prelude::*;
use scsi::lu::{NexusId, Plain, PlainKind, TaskKey, UnitAttention};
use scsi::{
    AccessState, Cdb, Command, LuCondition, LuSnapshot, Reserved, Status, Step, TaskAttribute,
};

use crate::rig::{Data, ONE, Rig, TWO, caps, cdb10, cdb12, cdb16, compare_and_write, snapshot};

fn command(rig: &Rig, cdb: &[u8], data: Data<'_>) -> Command {
    let (data_out_bytes, data_in_bytes) = match data {
        Data::None => (0, 0),
        Data::Out(bytes) => (bytes.len() as u32, 0),
        Data::In(bytes) => (0, bytes),
    };
    Command {
        cdb: Cdb::new(cdb),
        attribute: rig.attribute,
        data_out_bytes,
        data_in_bytes,
    }
}

fn plain(rig: &Rig, cdb: &[u8], data: Data<'_>) -> Option<Plain> {
    let command = command(rig, cdb, data);
    rig.shard.plain(ONE, &command, rig.view_protected)
}

/// The steps of the general way.
fn steps(plain: &Plain) -> Vec<String> {
    let Plain {
        lba, blocks, bytes, ..
    } = plain;
    match plain.kind {
        PlainKind::Read => vec![format!("read {lba}+{blocks} at 0")],
        PlainKind::Write { durable } => {
            let durable = if durable { " durable" } else { "" };
            vec![
                format!("data-out 0+{bytes}"),
                format!("write {lba}+{blocks} at 0{durable}"),
            ]
        }
    }
}

/// A CDB that is mostly one of the four, with lengths and addresses about the end of the disk, and now and then a stray bit.
fn cdb() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        8 => prop::sample::select(vec![0x28u8, 0x2a, 0x88, 0x8a]),
        1 => any::<u8>(),
    ];
    let flags = prop_oneof![4 => Just(0u8), 2 => prop::sample::select(vec![0x10u8, 8, 2, 0x18]), 1 => any::<u8>()];
    let stray = prop_oneof![6 => Just(0u8), 1 => (0u8..8).prop_map(|bit| 1 << bit)];
    (opcode, flags, 0u32..70, 0u16..5, stray, 1usize..16).prop_map(
        |(opcode, flags, lba, blocks, stray, at)| {
            let mut cdb = match opcode >> 5 {
                4 => cdb16(opcode, flags, lba.into(), blocks.into()).to_vec(),
                5 => cdb12(opcode, flags, lba, blocks.into()).to_vec(),
                _ => cdb10(opcode, flags, lba, blocks).to_vec(),
            };
            let at = at % cdb.len();
            cdb[at] |= stray;
            cdb
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_command_that_is_plain_is_one_io_and_good_in_the_general_way(
        cdb in cdb(),
        data_blocks in 0usize..5,
        odd in prop_oneof![6 => Just(0usize), 1 => 1usize..512],
        out in any::<bool>(),
        write_cache in any::<bool>(),
        view_protected in prop_oneof![4 => Just(false), 1 => Just(true)],
        attention in prop_oneof![6 => Just(false), 1 => Just(true)],
        reserved in prop_oneof![6 => Just(false), 1 => Just(true)],
    ) {
        let mut caps = caps(512, 64);
        caps.write_cache = write_cache;
        let mut rig = Rig::with(caps);
        rig.view_protected = view_protected;
        if reserved {
            rig.run_as(TWO, &[0x16, 0, 0, 0, 0, 0], Data::None);
        }
        if attention {
            rig.shard.nexus_mut(ONE).unwrap().establish(UnitAttention::PowerOn);
        }
        let bytes = vec![0x3c; data_blocks * 512 + odd];
        let data = if out { Data::Out(&bytes) } else { Data::In(bytes.len() as u32) };
        let decided = plain(&rig, &cdb, data);
        let run = rig.run(&cdb, data);
        if let Some(decided) = decided {
            prop_assert_eq!(run.done.status, Status::Good);
            prop_assert_eq!(run.done.transfer_bytes, u64::from(decided.bytes));
            prop_assert_eq!(decided.bytes as usize, bytes.len());
            let (_, before) = run.steps.split_last().unwrap();
            prop_assert_eq!(before, &steps(&decided)[..]);
        }
    }
}

#[test]
fn plain_of_the_four_commands_is_what_they_name() {
    let rig = Rig::new();
    let data = [0; 1536];
    let read = |lba, blocks, bytes| Plain {
        kind: PlainKind::Read,
        lba: Lba(lba),
        blocks,
        bytes,
    };
    let write = |lba, durable| Plain {
        kind: PlainKind::Write { durable },
        ..read(lba, 3, 1536)
    };
    for flags in [0, 0x10] {
        let ten = cdb10(0x28, flags, 61, 3);
        assert_eq!(plain(&rig, &ten, Data::In(1536)), Some(read(61, 3, 1536)));
        let sixteen = cdb16(0x88, flags, 7, 1);
        assert_eq!(plain(&rig, &sixteen, Data::In(512)), Some(read(7, 1, 512)));
        for fua in [0, 8, 2] {
            let ten = cdb10(0x2a, flags | fua, 5, 3);
            let sixteen = cdb16(0x8a, flags | fua, 5, 3);
            let wanted = Some(write(5, fua != 0));
            assert_eq!(plain(&rig, &ten, Data::Out(&data)), wanted);
            assert_eq!(plain(&rig, &sixteen, Data::Out(&data)), wanted);
        }
    }
    let mut through = caps(512, 64);
    through.write_cache = false;
    let rig = Rig::with(through);
    let wanted = Some(write(5, true));
    assert_eq!(plain(&rig, &cdb10(0x2a, 0, 5, 3), Data::Out(&data)), wanted);
}

#[test]
fn plain_with_anything_out_of_the_ordinary_is_none() {
    let data = [0; 1024];
    let read = (&cdb10(0x28, 0, 0, 2)[..], Data::In(1024));
    let write = (&cdb10(0x2a, 0, 0, 2)[..], Data::Out(&data[..]));
    let is_plain = |rig: &Rig, (cdb, data): (&[u8], Data<'_>)| plain(rig, cdb, data).is_some();
    let both = |rig: &Rig| (is_plain(rig, read), is_plain(rig, write));
    let changed = |change: fn(&mut LuSnapshot)| {
        let mut snapshot = snapshot(caps(512, 64));
        change(&mut snapshot);
        both(&Rig::with_snapshot(snapshot))
    };
    assert_eq!(changed(|_| {}), (true, true));
    let none = (false, false);
    assert_eq!(changed(|lu| lu.condition = LuCondition::NotReady), none);
    assert_eq!(changed(|lu| lu.condition = LuCondition::Failed), none);
    assert_eq!(changed(|lu| lu.reserved = Reserved::For(ONE)), none);
    assert_eq!(changed(|lu| lu.reserved = Reserved::Lost), none);
    assert_eq!(changed(|lu| lu.device = scsi::DeviceType::Multimedia), none);
    let protected = changed(|lu| lu.caps.protection = Some(ProtectionType::Type1));
    assert_eq!(protected, none);
    assert_eq!(changed(|lu| lu.caps.read_only = true), (true, false));
    let swp = changed(|lu| lu.mode.software_write_protect = true);
    assert_eq!(swp, (true, false));
    let grouped = |state: AccessState| {
        let mut snapshot = snapshot(caps(512, 64));
        snapshot.access_groups = Arc::new([crate::access::group(7, state)]);
        both(&Rig::with_snapshot(snapshot))
    };
    assert_eq!(grouped(AccessState::ActiveOptimized), (true, true));
    assert_eq!(grouped(AccessState::ActiveNonOptimized), (true, true));
    assert_eq!(grouped(AccessState::Standby), none);
    assert_eq!(grouped(AccessState::Unavailable), none);

    let mut rig = Rig::new();
    rig.view_protected = true;
    assert_eq!(both(&rig), (true, false));
    rig.view_protected = false;
    for attribute in [
        TaskAttribute::Ordered,
        TaskAttribute::HeadOfQueue,
        TaskAttribute::Aca,
    ] {
        rig.attribute = attribute;
        assert_eq!(both(&rig), none, "{attribute:?}");
    }
    rig.attribute = TaskAttribute::Untagged;
    assert_eq!(both(&rig), (true, true));
    // Of a nexus that is not attached.
    let stranger = NexusId(9);
    let asked = command(&rig, read.0, read.1);
    assert_eq!(rig.shard.plain(stranger, &asked, false), None);
    // More or less data than the CDB names; the wrong way; nothing to do; beyond the end.
    for (cdb, data) in [
        (&cdb10(0x28, 0, 0, 2)[..], Data::In(1023)),
        (&cdb10(0x28, 0, 0, 2), Data::In(1025)),
        (&cdb10(0x28, 0, 0, 2), Data::Out(&data)),
        (&cdb10(0x2a, 0, 0, 2), Data::In(1024)),
        (&cdb10(0x28, 0, 0, 0), Data::None),
        (&cdb10(0x28, 0, 63, 2), Data::In(1024)),
        (&cdb10(0x28, 0x08, 0, 2), Data::In(1024)),
        (&cdb10(0x28, 0x20, 0, 2), Data::In(1024)),
    ] {
        assert_eq!(plain(&rig, cdb, data), None, "{cdb:02x?}");
    }
    // An ORDERED command is in the task set.
    rig.attribute = TaskAttribute::Ordered;
    let (live, _) = rig.start(TWO, &cdb10(0x2a, 0, 0, 1), Data::Out(&data[..512]));
    rig.attribute = TaskAttribute::Simple;
    assert_eq!(both(&rig), none);
    rig.shard.leave(live.task.key());
    rig.settle();
    assert_eq!(both(&rig), (true, true));
    rig.shard.detach_nexus(ONE, TaskKey(1 << 40));
    assert_eq!(both(&rig), none);
}

#[test]
fn plain_longer_than_a_window_is_none() {
    let rig = Rig::with(caps(512, 1 << 20));
    let (most, more) = (2048, 2049);
    let fits = plain(&rig, &cdb10(0x28, 0, 0, most), Data::In(1 << 20));
    assert_eq!(fits.unwrap().bytes, 1 << 20);
    let bytes = u32::from(more) * 512;
    assert_eq!(plain(&rig, &cdb10(0x28, 0, 0, more), Data::In(bytes)), None);
}

#[test]
fn compare_and_write_waits_for_a_plain_read_of_its_block_to_be_sent() {
    let mut rig = Rig::new();
    let read = plain(&rig, &cdb10(0x28, 0, 3, 2), Data::In(1024)).unwrap();
    let sending = TaskKey(1 << 50);
    assert!(rig.shard.enter_plain_read(sending, ONE, &read));
    assert!(!rig.shard.enter_plain_read(sending, ONE, &read));
    let data = [[4; 512], [9; 512]].concat();
    let (mut live, step) = rig.start(TWO, &compare_and_write(0, 4, 1), Data::Out(&data));
    let step = rig.take_on(&mut live, step).unwrap();
    assert!(matches!(step, Step::Home(_)), "{step:?}");
    assert!(rig.take_on(&mut live, step).is_none());
    // What waits holds back what is decided in one look too.
    assert_eq!(plain(&rig, &cdb10(0x28, 0, 60, 1), Data::In(512)), None);
    rig.shard.leave(sending);
    let step = rig.wait(&mut live).unwrap();
    assert_eq!(rig.finish(live, step).done.status, Status::Good);
    assert_eq!(rig.store[4 * 512], 9);
    assert!(rig.home.is_quiet());
}
