//! Wrong bytes on the disk are told, or are the end of the journal; they are never taken for content.

use daemon::state::{Damage, Loaded, OpenOptions, StateDir, StateError};

use crate::machine::{DIRECTORY, Machine, State, open, reopen, state_of};
use crate::sim::{Done, EVERY_DONE, Fault, Sim};

const STRICT: OpenOptions = OpenOptions {
    keep_generations: 128,
    recover: false,
};
const RECOVER: OpenOptions = OpenOptions {
    keep_generations: 128,
    recover: true,
};
const SEGMENT_HEADER_BYTES: usize = 36;
const RECORD_OVERHEAD_BYTES: usize = 36;

fn segment(first: u64) -> String {
    format!("journal-{first:020}")
}

fn checkpoint(generation: u64) -> String {
    format!("checkpoint-{generation:020}")
}

/// The directory after these steps, with nobody in it.
fn directory(steps: &str) -> (Sim, State) {
    let Machine {
        sim, dir, saved, ..
    } = Machine::new(128).after(steps);
    drop(dir);
    (sim, saved)
}

/// The directory with a file's content changed.
fn with(sim: &Sim, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Sim {
    let sim = sim.fork();
    let mut content = sim.content(name);
    change(&mut content);
    sim.put(name, &content);
    sim
}

fn refused(sim: &Sim, options: OpenOptions) -> StateError {
    open(sim, options).map(drop).unwrap_err()
}

/// Where damage is told: the file and the byte.
fn place(error: &StateError) -> (String, u64) {
    match error {
        StateError::Damaged { path, offset, .. } => {
            assert!(error.hint().contains("recovery"), "{}", error.hint());
            let name = path.strip_prefix(DIRECTORY).unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            (name.to_owned(), *offset)
        }
        _ => panic!("{error:?}"),
    }
}

fn recovered(sim: &Sim) -> (StateDir, State, Loaded) {
    let (dir, mut loaded) = open(sim, RECOVER).unwrap();
    let state = state_of(
        loaded.checkpoint.take(),
        std::mem::take(&mut loaded.records),
    );
    (dir, state, loaded)
}

/// After a recovery the directory is as good as any.
fn is_whole_with(sim: &Sim, wanted: &[(u64, Vec<u8>)]) {
    let mut machine = Machine::on(sim.clone(), STRICT);
    assert_eq!(machine.saved, wanted);
    machine.append("survivor").unwrap();
    machine.sim.power_cut(3);
    let saved = machine.saved.clone();
    let machine = Machine::on(sim.clone(), STRICT);
    assert_eq!(machine.saved, saved);
}

/// Where each record of the segment ends, with the header's end first.
fn ends(records: &[(u64, Vec<u8>)]) -> Vec<usize> {
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    for (_, payload) in records {
        ends.push(ends.last().unwrap() + RECORD_OVERHEAD_BYTES + payload.len());
    }
    ends
}

#[test]
fn journal_torn_at_every_byte_opens_with_its_last_whole_record() {
    for (steps, first) in [("aaaaaa", 1), ("aaacaaaa", 4)] {
        let (sim, saved) = directory(steps);
        let name = segment(first);
        let whole = sim.content(&name);
        let before = first as usize - 1;
        let ends = ends(&saved[before..]);
        assert_eq!(ends.last(), Some(&whole.len()));
        for length in SEGMENT_HEADER_BYTES..=whole.len() {
            let torn = with(&sim, &name, |content| content.truncate(length));
            let records = ends.iter().filter(|end| **end <= length).count() - 1;
            let (dir, loaded) = open(&torn, STRICT).unwrap();
            assert_eq!(
                loaded.cut_bytes,
                (length - ends[records]) as u64,
                "{steps} {length}"
            );
            drop(dir);
            is_whole_with(&torn, &saved[..before + records]);
        }
        // A segment gets its name with its header in it: a shorter one was not torn by an append.
        for length in 0..SEGMENT_HEADER_BYTES {
            let short = with(&sim, &name, |content| content.truncate(length));
            assert_eq!(
                place(&refused(&short, STRICT)),
                (name.clone(), 0),
                "{steps} {length}"
            );
        }
    }
}

#[test]
fn journal_with_any_tail_behind_its_last_record_opens_with_that() {
    let (sim, saved) = directory("aaa");
    let name = segment(1);
    let whole = sim.content(&name);
    let tails = [
        vec![0; 1],
        vec![0; 4096],
        vec![0xFF; 5000],
        whole.clone(),
        whole[36..].to_vec(),
        b"\xFFQR1".repeat(900),
    ];
    for tail in tails {
        let sim = with(&sim, &name, |content| content.extend_from_slice(&tail));
        let (dir, loaded) = open(&sim, STRICT).unwrap();
        assert_eq!(loaded.cut_bytes, tail.len() as u64);
        drop(dir);
        is_whole_with(&sim, &saved);
    }
}

#[test]
fn every_flipped_bit_of_a_journal_is_told_or_costs_the_last_record_alone() {
    let (sim, saved) = directory("aaaaa");
    let name = segment(1);
    let whole = sim.content(&name);
    let ends = ends(&saved);
    let last = ends[saved.len() - 1];
    for (byte, bit) in (0..whole.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let flipped = with(&sim, &name, |content| content[byte] ^= 1 << bit);
        let told = format!("byte {byte}, bit {bit}");
        if byte < SEGMENT_HEADER_BYTES {
            // Nothing before it: there is no state to go on with.
            assert_eq!(
                place(&refused(&flipped, STRICT)),
                (name.clone(), 0),
                "{told}"
            );
            let names = flipped.names();
            assert_eq!(
                place(&refused(&flipped, RECOVER)),
                (name.clone(), 0),
                "{told}"
            );
            assert_eq!(flipped.names(), names, "{told}");
        } else if byte < last {
            let record = ends.iter().filter(|end| **end <= byte).count() - 1;
            assert_eq!(
                place(&refused(&flipped, STRICT)),
                (name.clone(), ends[record] as u64),
                "{told}"
            );
            let (dir, state, loaded) = recovered(&flipped);
            drop(dir);
            assert_eq!(state, saved[..record], "{told}");
            let aside = loaded.set_aside[0].file_name().unwrap().to_str().unwrap();
            assert_eq!(aside, format!("damaged-{name}-at-{}", ends[record]));
            let mut rest = whole[ends[record]..].to_vec();
            rest[byte - ends[record]] ^= 1 << bit;
            assert_eq!(flipped.content(aside), rest, "{told}");
            is_whole_with(&flipped, &saved[..record]);
        } else {
            let (dir, loaded) = open(&flipped, STRICT).unwrap();
            drop(dir);
            assert_eq!(loaded.cut_bytes, (whole.len() - last) as u64, "{told}");
            is_whole_with(&flipped, &saved[..saved.len() - 1]);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_told_and_recovery_takes_the_one_before() {
    for (steps, generation) in [("aaac", 3), ("aacaacaa", 4)] {
        let (sim, saved) = directory(steps);
        let name = checkpoint(generation);
        for (byte, bit) in
            (0..sim.content(&name).len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit)))
        {
            let flipped = with(&sim, &name, |content| content[byte] ^= 1 << bit);
            let error = refused(&flipped, STRICT);
            assert_eq!(place(&error), (name.clone(), 0), "byte {byte}, bit {bit}");
            assert!(matches!(
                error,
                StateError::Damaged {
                    damage: Damage::Checkpoint,
                    ..
                }
            ));
            let (dir, state, loaded) = recovered(&flipped);
            drop(dir);
            assert_eq!(state, saved, "nothing is lost: byte {byte}, bit {bit}");
            assert_eq!(loaded.set_aside.len(), 1);
            is_whole_with(&flipped, &saved);
        }
    }
}

#[test]
fn damaged_checkpoint_without_one_before_is_refused_with_recovery_too_and_left_as_it_is() {
    let Machine { sim, dir, .. } = Machine::new(0).after("aaaca");
    drop(dir);
    let name = checkpoint(3);
    let flipped = with(&sim, &name, |content| content[40] ^= 1);
    let (names, content) = (flipped.names(), flipped.content(&name));
    for options in [STRICT, RECOVER] {
        assert_eq!(place(&refused(&flipped, options)), (name.clone(), 0));
    }
    assert_eq!((flipped.names(), flipped.content(&name)), (names, content));
}

#[test]
fn checkpoint_that_is_gone_is_made_up_for_by_what_is_before_it() {
    let (sim, saved) = directory("aaacaac");
    for gone in [vec![5], vec![3], vec![3, 5]] {
        let sim = sim.fork();
        gone.iter()
            .for_each(|generation| sim.delete(&checkpoint(*generation)));
        is_whole_with(&sim, &saved);
    }
}

#[test]
fn state_without_its_beginning_is_missing_and_not_made_from_the_rest() {
    let Machine { sim, dir, .. } = Machine::new(0).after("aaacaa");
    drop(dir);
    sim.delete(&checkpoint(3));
    for options in [STRICT, RECOVER] {
        let error = refused(&sim, options);
        assert!(
            matches!(&error, StateError::Missing { path, generation: 3 } if path.ends_with(checkpoint(3))),
            "{error:?}"
        );
    }
    // The same where a checkpoint was the first thing saved.
    let (sim, _) = directory("caa");
    sim.delete(&checkpoint(0));
    assert!(matches!(
        refused(&sim, STRICT),
        StateError::Missing { generation: 0, .. }
    ));
}

#[test]
fn journal_that_is_gone_behind_its_checkpoint_is_missing_and_recovery_goes_on_without() {
    let (sim, saved) = directory("aaacaa");
    sim.delete(&segment(4));
    let error = refused(&sim, STRICT);
    assert!(
        matches!(&error, StateError::Missing { path, generation: 4 } if path.ends_with(segment(4))),
        "{error:?}"
    );
    let (dir, state, _) = recovered(&sim);
    drop(dir);
    assert_eq!(state, saved[..3]);
    is_whole_with(&sim, &saved[..3]);
}

#[test]
fn damaged_header_of_a_journal_costs_a_recovery_the_records_behind_the_checkpoint() {
    let (sim, saved) = directory("aaacaa");
    let flipped = with(&sim, &segment(4), |content| content[30] ^= 1);
    assert_eq!(place(&refused(&flipped, STRICT)), (segment(4), 0));
    let (dir, state, loaded) = recovered(&flipped);
    drop(dir);
    assert_eq!(state, saved[..3]);
    assert!(loaded.set_aside[0].ends_with(format!("damaged-{}", segment(4))));
    is_whole_with(&flipped, &saved[..3]);
}

/// Two segments behind one checkpoint, as a checkpoint leaves them that failed at the last.
fn two_segments() -> (Sim, State) {
    let mut machine = Machine::new(128).after("aaacaaa");
    for nth in 1.. {
        machine.sim.arm(nth, Fault::Fail(Done::Nothing));
        machine.checkpoint().unwrap_err();
        machine.sim.disarm();
        if machine.sim.names().contains(&segment(7)) {
            break;
        }
    }
    let Machine {
        sim, dir, saved, ..
    } = machine.after("aaa");
    drop(dir);
    assert!(!sim.names().contains(&checkpoint(6)));
    (sim, saved)
}

#[test]
fn chain_of_two_segments_is_one_journal() {
    let (sim, saved) = two_segments();
    is_whole_with(&sim, &saved);
}

#[test]
fn damage_or_a_gap_in_the_first_of_two_segments_is_told_and_recovery_sets_the_second_aside() {
    let (sim, saved) = two_segments();
    let first = sim.content(&segment(4));
    let ends = ends(&saved[3..6]);
    // The last record too: what has a segment behind it was durable.
    for (record, byte) in [(0, 40), (1, ends[1] + 4), (2, ends[3] - 1)] {
        let damaged = with(&sim, &segment(4), |content| content[byte] ^= 1);
        assert_eq!(
            place(&refused(&damaged, STRICT)),
            (segment(4), ends[record] as u64)
        );
        let (dir, state, loaded) = recovered(&damaged);
        drop(dir);
        assert_eq!(state, saved[..3 + record]);
        assert_eq!(loaded.set_aside.len(), 2, "{:?}", loaded.set_aside);
        assert!(damaged.names().contains(&format!("damaged-{}", segment(7))));
        is_whole_with(&damaged, &saved[..3 + record]);
    }
    let short = with(&sim, &segment(4), |content| content.truncate(ends[2]));
    assert_ne!(short.content(&segment(4)), first);
    let error = refused(&short, STRICT);
    assert!(
        matches!(error, StateError::Missing { generation: 6, .. }),
        "{error:?}"
    );
    let (dir, state, _) = recovered(&short);
    drop(dir);
    assert_eq!(state, saved[..5]);
    is_whole_with(&short, &saved[..5]);
}

#[test]
fn damaged_header_of_the_second_of_two_segments_costs_a_recovery_that_segment() {
    let (sim, saved) = two_segments();
    let damaged = with(&sim, &segment(7), |content| content[0] ^= 1);
    assert_eq!(place(&refused(&damaged, STRICT)), (segment(7), 0));
    let (dir, state, _) = recovered(&damaged);
    drop(dir);
    assert_eq!(state, saved[..6]);
    is_whole_with(&damaged, &saved[..6]);
}

#[test]
fn damage_in_older_generations_stops_no_start_and_is_told_by_the_history() {
    let (sim, saved) = directory("aaacaaca");
    let damaged = with(&sim, &segment(1), |content| content[40] ^= 1);
    let (dir, found) = reopen(&damaged, STRICT);
    assert_eq!(found, saved);
    assert_eq!(place(&dir.history().unwrap_err()), (segment(1), 36));
    assert_eq!(place(&dir.read(2).unwrap_err()), (segment(1), 36));
    assert_eq!(
        place(&dir.checkpoint_at_or_before(2).unwrap_err()),
        (segment(1), 36)
    );
    assert_eq!(dir.read(5).unwrap().unwrap().payload, saved[4].1);
    let base = dir.checkpoint_at_or_before(4).unwrap().unwrap();
    assert_eq!(state_of(base.checkpoint, base.records), saved[..4]);
    drop(dir);

    let (dir, state, loaded) = recovered(&damaged);
    assert_eq!(state, saved);
    assert!(loaded.set_aside[0].ends_with(format!("damaged-{}", segment(1))));
    let generations: Vec<u64> = dir
        .history()
        .unwrap()
        .iter()
        .map(|head| head.generation)
        .collect();
    assert_eq!(generations, [4, 5, 6]);
    assert_eq!(dir.read(2).unwrap(), None);
    assert_eq!(dir.checkpoint_at_or_before(2).unwrap(), None);
}

#[test]
fn damaged_older_checkpoint_is_told_when_it_is_needed_and_set_aside_by_recovery() {
    let (sim, saved) = directory("aaacaaca");
    let damaged = with(&sim, &checkpoint(3), |content| content[40] ^= 1);
    let (dir, found) = reopen(&damaged, STRICT);
    assert_eq!(found, saved);
    assert_eq!(
        place(&dir.checkpoint_at_or_before(4).unwrap_err()),
        (checkpoint(3), 0)
    );
    drop(dir);
    let (dir, state, loaded) = recovered(&damaged);
    assert_eq!((state, loaded.set_aside.len()), (saved.clone(), 1));
    let base = dir.checkpoint_at_or_before(4).unwrap().unwrap();
    assert_eq!(base.checkpoint, None, "the records before it are all there");
    assert_eq!(state_of(base.checkpoint, base.records), saved[..4]);
}

#[test]
fn older_segment_that_is_gone_ends_the_history_there() {
    let (sim, saved) = directory("aaacaaca");
    sim.delete(&segment(4));
    let (dir, found) = reopen(&sim, STRICT);
    assert_eq!(found, saved);
    let generations: Vec<u64> = dir
        .history()
        .unwrap()
        .iter()
        .map(|head| head.generation)
        .collect();
    assert_eq!(generations, [6]);
    assert_eq!(dir.read(4).unwrap(), None);
    assert_eq!(dir.checkpoint_at_or_before(4).unwrap(), None);
    assert!(dir.checkpoint_at_or_before(3).unwrap().is_some());
}

#[test]
fn recovery_killed_at_every_step_is_done_by_the_next() {
    let (sim, saved) = two_segments();
    let kept = &saved[..4];
    let byte = ends(&saved[3..])[1] + 2;
    let damaged = with(&sim, &segment(4), |content| content[byte] ^= 1);
    let both = with(&damaged, &checkpoint(3), |content| content[40] ^= 1);
    for (sim, done) in [damaged, both]
        .iter()
        .flat_map(|sim| EVERY_DONE.map(|done| (sim, done)))
    {
        for nth in 1.. {
            for seed in 0..6 {
                let sim = sim.fork();
                sim.arm(nth, Fault::Kill(done));
                drop(open(&sim, RECOVER));
                if seed == 0 {
                    sim.restart()
                } else {
                    sim.power_cut(seed)
                }
                // Without recovery: still refused, or what recovery gives.
                let look = sim.fork();
                if let Ok((dir, loaded)) = open(&look, STRICT) {
                    drop(dir);
                    assert_eq!(
                        state_of(loaded.checkpoint, loaded.records),
                        kept,
                        "{done:?} of {nth}, {seed}"
                    );
                }
                let (dir, state, _) = recovered(&sim);
                drop(dir);
                assert_eq!(state, kept, "{done:?} of {nth}, {seed}");
                is_whole_with(&sim, kept);
            }
            let sim = sim.fork();
            sim.arm(nth, Fault::Kill(done));
            let opened = open(&sim, RECOVER);
            if sim.disarm() {
                opened.unwrap();
                break;
            }
        }
    }
}

#[test]
fn second_recovery_overwrites_nothing_that_the_first_kept() {
    let (sim, saved) = directory("aaaaa");
    let ends = ends(&saved);
    let damage = |sim: &Sim, mark: u8| with(sim, &segment(1), |content| content[ends[1]] ^= mark);
    let once = damage(&sim, 1);
    drop(recovered(&once));
    let first = format!("damaged-{}-at-{}", segment(1), ends[1]);
    let kept = once.content(&first);
    let machine = Machine::on(once, STRICT).after("aaa");
    drop(machine.dir);
    let twice = damage(&machine.sim, 2);
    drop(recovered(&twice));
    assert_eq!(twice.content(&first), kept);
    assert_eq!(twice.content(&format!("{first}.2"))[0], 0xFF ^ 2);
}

#[test]
fn recovery_of_a_whole_directory_changes_nothing() {
    for steps in ["", "aaa", "aaacaa", "aacaaca"] {
        let (sim, saved) = directory(steps);
        let names = sim.names();
        let (dir, state, loaded) = recovered(&sim);
        drop(dir);
        assert_eq!((state, loaded.set_aside), (saved, vec![]), "{steps}");
        assert_eq!(sim.names(), names, "{steps}");
    }
}

#[test]
fn names_that_are_not_its_own_are_left_alone_and_unfinished_files_go() {
    let (sim, saved) = directory("aaac");
    let others = [
        "README",
        "journal-1",
        "checkpoint",
        "checkpoint-00000000000000000009.bak",
        "damaged-x",
    ];
    others.iter().for_each(|name| sim.put(name, b"not ours"));
    sim.put(&format!("{}.tmp", segment(9)), b"never finished");
    is_whole_with(&sim, &saved);
    let names = sim.names();
    assert!(
        others
            .iter()
            .all(|name| names.contains(&(*name).to_owned())),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.ends_with(".tmp")),
        "{names:?}"
    );
}
