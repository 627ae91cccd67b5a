//! No command, and no data that come with it, make the device server panic or go out of its bounds.

use proptest::prelude::*;
use scsi::{Status, Step, TaskAttribute};

use crate::rig::{Data, Live, ONE, Rig, TWO, caps, cdb10, compare_and_write};

/// Operation codes that are there, more often than chance would have them.
const OPCODES: [u8; 42] = [
    0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1d, 0x1e, 0x25, 0x28, 0x2a, 0x2e,
    0x2f, 0x34, 0x35, 0x41, 0x42, 0x55, 0x56, 0x57, 0x5a, 0x88, 0x89, 0x8a, 0x8e, 0x8f, 0x90, 0x91,
    0x93, 0x9e, 0xa0, 0xa3, 0xa8, 0xaa, 0xae, 0xaf, 0x5e, 0xff,
];

/// A CDB with few bits set, so that many get past the reserved ones.
fn cdb() -> impl Strategy<Value = [u8; 16]> {
    let byte =
        prop_oneof![4 => Just(0u8), 1 => any::<u8>(), 1 => (0u8..8).prop_map(|bit| 1 << bit)];
    let opcode = prop_oneof![8 => proptest::sample::select(&OPCODES[..]), 1 => any::<u8>()];
    (opcode, proptest::array::uniform16(byte)).prop_map(|(opcode, mut cdb)| {
        cdb[0] = opcode;
        cdb
    })
}

fn list() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0u8), 1 => any::<u8>(), 1 => 0u8..32];
    prop_oneof![
        proptest::collection::vec(byte, 0..80),
        (0usize..5, any::<u8>()).prop_map(|(blocks, byte)| vec![byte; blocks * 512]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The rig checks that every step is bounded and inside the LU, and that Data-In is what was announced.
    #[test]
    fn any_command_ends_within_bounds(
        cdb in cdb(),
        list in list(),
        expected in 0u32..2048,
        out in any::<bool>(),
        thick in any::<bool>(),
        ordered in any::<bool>(),
    ) {
        let mut caps = caps(512, 300);
        caps.unmap = !thick;
        caps.write_cache = thick;
        let mut rig = Rig::with(caps);
        if ordered {
            rig.attribute = TaskAttribute::Ordered;
        }
        let data = if out { Data::Out(&list) } else { Data::In(expected) };
        let run = rig.run(&cdb, data);
        let mut sense = Vec::new();
        run.done.write_sense(&mut sense);
        prop_assert!(sense.len() <= scsi::MAX_SENSE_BYTES);
        prop_assert!(rig.home.is_quiet());
        prop_assert_eq!(rig.shard.tasks(), 0);
    }

    /// A parameter list of any content for the commands that take one.
    #[test]
    fn any_parameter_list_ends_within_bounds(
        opcode in proptest::sample::select(&[0x15u8, 0x55, 0x42][..]),
        list in list(),
        cut in 0usize..16,
    ) {
        let mut rig = Rig::with(caps(512, 300));
        let [high, low] = u16::try_from(list.len()).unwrap().to_be_bytes();
        let flags = if opcode == 0x42 { 0 } else { 0x10 };
        let mut cdb = [opcode, flags, 0, 0, 0, 0, 0, high, low, 0];
        if opcode == 0x15 {
            cdb = [opcode, flags, 0, 0, low, 0, 0, 0, 0, 0];
        }
        let sent = &list[..list.len() - cut.min(list.len())];
        let run = rig.run(&cdb, Data::Out(sent));
        prop_assert!(run.done.transfer_bytes <= list.len() as u64);
        prop_assert!(rig.home.is_quiet());
    }

    /// Whatever the caller says next, a task answers with a step.
    #[test]
    fn any_event_is_answered(cdb in cdb(), events in proptest::collection::vec(0u8..5, 1..6)) {
        use scsi::Resumed;
        let mut rig = Rig::with(caps(512, 300));
        let data = [0u8; 1024];
        let (mut live, mut step) = rig.start(crate::rig::ONE, &cdb, Data::Out(&data));
        for event in events {
            if matches!(step, Step::Done(_)) {
                break;
            }
            let event = match event {
                0 => Resumed::DataOut(&data),
                1 => Resumed::Granted,
                2 => Resumed::Refused,
                3 => Resumed::Io { result: Ok(()), data_out: &data, scratch: &data[..512] },
                _ => Resumed::Aborted,
            };
            step = rig.resume(&mut live, event);
        }
        rig.shard.leave(live.task.key());
        rig.settle();
        prop_assert!(rig.home.is_quiet());
    }

    /// Counters kept by COMPARE AND WRITE, by commands that meet in any order: none is lost, none counts twice.
    #[test]
    fn compare_and_writes_in_any_order_count_right(
        order in proptest::collection::vec((0usize..6, any::<bool>()), 50..200),
    ) {
        let mut rig = Rig::with(caps(512, 4));
        let mut slots: Vec<Option<(Live, Option<Step>)>> = (0..6).map(|_| None).collect();
        let mut counted = 0u8;
        // In the end all that are left are taken to their end, one after the other and round again.
        let rest = (0..300).map(|at| (at % 6, false));
        for (at, restart) in order.into_iter().chain(rest) {
            let Some((mut live, step)) = slots[at].take() else {
                if restart {
                    slots[at] = Some(start_one(&mut rig, at));
                }
                continue;
            };
            let next = match step {
                Some(step) => rig.take_on(&mut live, step),
                None => rig.wait(&mut live),
            };
            if let Some(Step::Done(done)) = next {
                let compares = live.task.command().cdb.opcode() == 0x89;
                let run = rig.end(live, done);
                counted += u8::from(compares && run.done.status == Status::Good);
            } else {
                slots[at] = Some((live, next));
            }
        }
        prop_assert!(slots.iter().all(Option::is_none));
        prop_assert!(rig.home.is_quiet());
        prop_assert_eq!(&rig.store[..512], &[counted; 512][..]);
    }
}

/// Two in three count in block 0; the others write their own block, or read all.
fn start_one(rig: &mut Rig, at: usize) -> (Live, Option<Step>) {
    let nexus = if at.is_multiple_of(2) { ONE } else { TWO };
    let (live, step) = match at {
        0 => rig.start(nexus, &cdb10(0x2a, 0, 1, 1), Data::Out(&[0x77; 512])),
        1 => rig.start(nexus, &cdb10(0x28, 0, 0, 4), Data::In(2048)),
        _ => {
            let count = rig.store[0];
            let data = [[count; 512], [count + 1; 512]].concat();
            rig.start(nexus, &compare_and_write(0, 0, 1), Data::Out(&data))
        }
    };
    (live, Some(step))
}
