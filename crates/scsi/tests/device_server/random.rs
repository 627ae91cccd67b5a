//! No command, and no data that come with it, make the device server panic or go out of its bounds.

use std::sync::LazyLock;

use proptest::prelude::*;
use scsi::{Status, Step, TaskAttribute};

use crate::rig::{Data, Live, ONE, Rig, TWO, caps, cdb10, compare_and_write};

/// A command as REPORT SUPPORTED OPERATION CODES tells of it: ones where the device server looks, with operation code and
/// service action.
#[derive(Clone, Debug)]
struct Usage(Vec<u8>);

/// All commands there are.
fn commands() -> &'static [Usage] {
    static COMMANDS: LazyLock<Vec<Usage>> = LazyLock::new(|| {
        let mut rig = Rig::with(caps(512, 300));
        let mut ask = |options: u8, opcode: u8, action: [u8; 2]| {
            let cdb = [
                0xa3, 0x0c, options, opcode, action[0], action[1], 0, 0, 16, 0, 0, 0,
            ];
            rig.run(&cdb, Data::In(4096)).data_in
        };
        let all = ask(0, 0, [0; 2]);
        let told = all[4..].chunks(8).map(|one| {
            let options = if one[5] & 1 == 0 { 1 } else { 2 };
            Usage(ask(options, one[0], [one[2], one[3]])[4..].to_vec())
        });
        told.collect()
    });
    &COMMANDS
}

/// The commands that take a parameter list, without its length, and where the last byte of that stands.
const LISTS: &[(&[u8], usize)] = &[
    // This one has no length.
    (&[0x04, 0x10, 0, 0, 0, 0], 6),
    (&[0x04, 0x30, 0, 0, 0, 0], 6),
    (&[0x15, 0x10, 0, 0, 0, 0], 4),
    (&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], 8),
    (&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8),
    (&[0x1d, 0x10, 0, 0, 0, 0], 4),
    (&[0x3b, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0], 8),
    (&[0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 9),
    (&[0x5f, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8),
    (&[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 13),
    (&[0x83, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 13),
    (&[0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 13),
    (&[0x83, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 13),
];

/// A CDB of a command that is there, mostly with bits where the device server looks; or any CDB.
fn cdb() -> impl Strategy<Value = [u8; 16]> {
    let byte =
        prop_oneof![4 => Just(0u8), 1 => any::<u8>(), 1 => (0u8..8).prop_map(|bit| 1 << bit)];
    let known = (
        proptest::sample::select(commands()),
        proptest::array::uniform16(byte),
        prop_oneof![6 => Just(0u8), 1 => any::<u8>()],
        0usize..16,
    );
    let known = known.prop_map(|(usage, bytes, stray, at)| {
        let mut cdb = within(&usage, &bytes);
        cdb[at.max(1)] |= stray;
        cdb
    });
    prop_oneof![8 => known, 1 => any::<[u8; 16]>()]
}

/// The CDB with those of these bits that the command looks at.
fn within(usage: &Usage, bytes: &[u8; 16]) -> [u8; 16] {
    let mut cdb = [0; 16];
    for (to, (from, mask)) in cdb.iter_mut().zip(bytes.iter().zip(&usage.0)) {
        *to = from & mask;
    }
    cdb[0] = usage.0[0];
    // The service action, where there are several.
    if matches!(cdb[0], 0x83 | 0x84 | 0x9e | 0xa3 | 0xa4) {
        cdb[1] = cdb[1] & 0xe0 | usage.0[1] & 0x1f;
    }
    cdb
}

/// Byte and bit of all that the command does not look at.
fn strays(usage: &Usage) -> Vec<(usize, u8)> {
    let has_actions = matches!(usage.0[0], 0x83 | 0x84 | 0x9e | 0xa3 | 0xa4);
    let bits = (1..usage.0.len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    bits.filter(|(at, bit)| {
        let is_action = has_actions && *at == 1 && *bit < 5;
        usage.0[*at] & (1 << bit) == 0 && !is_action
    })
    .collect()
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
        command in proptest::sample::select(LISTS),
        list in list(),
        cut in 0usize..16,
    ) {
        let mut rig = Rig::with(caps(512, 300));
        let (cdb, at) = command;
        let mut cdb = cdb.to_vec();
        let length = list.len().min(255);
        if let Some(place) = cdb.get_mut(at) {
            *place = length as u8;
        }
        let sent = &list[..length - cut.min(length)];
        let run = rig.run(&cdb, Data::Out(sent));
        prop_assert!(run.done.transfer_bytes <= list.len() as u64);
        prop_assert!(rig.home.is_quiet());
        let invalid = run.done.sense.filter(|sense| (sense.asc, sense.ascq) == (0x26, 0));
        if let Some(sense) = invalid {
            // INVALID FIELD IN PARAMETER LIST names a byte of the list.
            let field = sense.field.unwrap();
            prop_assert!(!field.in_cdb && usize::from(field.byte) < length);
        }
    }

    /// A bit where a command looks at nothing is refused, and is the field that is named, or is in it.
    #[test]
    fn any_stray_bit_is_refused_with_its_field(
        usage in proptest::sample::select(commands()),
        bytes in any::<[u8; 16]>(),
        stray in any::<proptest::sample::Index>(),
    ) {
        let mut cdb = within(&usage, &bytes);
        let strays = strays(&usage);
        let (at, bit) = strays[stray.index(strays.len())];
        cdb[at] |= 1 << bit;
        // A service action with one bit more may be another one.
        let is_another = |other: &Usage| {
            other.0[..1] == cdb[..1] && other.0[1] & 0x1f == cdb[1] & 0x1f && other.0 != usage.0
        };
        prop_assume!(!commands().iter().any(is_another));
        let run = Rig::with(caps(512, 300)).run(&cdb, Data::In(0));
        let sense = run.done.sense.unwrap();
        prop_assert_eq!((sense.asc, sense.ascq), (0x24, 0));
        let field = sense.field.unwrap();
        prop_assert!(field.in_cdb && usize::from(field.byte) <= at);
    }

    /// Parameter data take no more memory than the CDB and the initiator allow, and a page.
    #[test]
    fn any_answer_takes_no_more_memory_than_is_asked_for(
        usage in proptest::sample::select(commands()),
        bytes in any::<[u8; 16]>(),
        expected in 0u32..100_000,
    ) {
        let mut rig = Rig::with(caps(512, 300));
        let cdb = within(&usage, &bytes);
        let (live, _) = rig.start(ONE, &cdb, Data::In(expected));
        prop_assert!(live.answer_capacity() <= expected as usize * 2 + 4096);
        rig.shard.leave(live.task.key());
        rig.settle();
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
                2 => Resumed::Refused(scsi::Refusal::Status(scsi::Status::ReservationConflict)),
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
