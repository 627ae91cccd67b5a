//! Older generations: what is kept, what goes, and what is told of them.

use daemon::state::RecordHead;

use crate::machine::{Machine, payload, record, state_of};
use crate::sim::{Done, Fault};

fn segment(first: u64) -> String {
    format!("journal-{first:020}")
}

fn checkpoint(generation: u64) -> String {
    format!("checkpoint-{generation:020}")
}

#[test]
fn history_tells_the_records_of_all_segments_newest_last() {
    let machine = Machine::new(128).after("aaacaacrca");
    let wanted: Vec<RecordHead> = (1..=6)
        .map(|generation| RecordHead {
            generation,
            unix_time_ms: 1_700_000_000_000 + generation,
            kind: 1,
            payload_bytes: payload(generation, "prelude").len(),
        })
        .collect();
    assert_eq!(machine.dir.history().unwrap(), wanted);
}

#[test]
fn history_of_a_new_directory_is_empty() {
    let mut machine = Machine::new(128);
    assert_eq!(machine.dir.history().unwrap(), []);
    assert_eq!(machine.dir.read(1).unwrap(), None);
    assert_eq!(machine.dir.checkpoint_at_or_before(1).unwrap(), None);
    machine.checkpoint().unwrap();
    assert_eq!(machine.dir.history().unwrap(), []);
    assert_eq!(machine.dir.read(0).unwrap(), None);
    assert!(machine.dir.checkpoint_at_or_before(0).unwrap().is_some());
}

#[test]
fn history_is_no_longer_than_what_is_to_be_kept() {
    let machine = Machine::new(3).after("aaaaaaaa");
    let generations: Vec<u64> = (machine.dir.history().unwrap().iter())
        .map(|head| head.generation)
        .collect();
    assert_eq!(generations, [6, 7, 8]);
}

#[test]
fn record_is_read_by_its_generation_and_none_beyond() {
    let machine = Machine::new(128).after("aaacaac");
    for generation in 1..=5 {
        let wanted = record(generation, &payload(generation, "prelude"));
        assert_eq!(machine.dir.read(generation).unwrap(), Some(wanted));
    }
    for generation in [0, 6, u64::MAX] {
        assert_eq!(machine.dir.read(generation).unwrap(), None, "{generation}");
        let base = machine.dir.checkpoint_at_or_before(generation).unwrap();
        assert_eq!(base, None, "{generation}");
    }
}

#[test]
fn earlier_generation_is_made_from_its_nearest_checkpoint_and_the_records_behind_it() {
    let machine = Machine::new(128).after("aaacaaca");
    let table = [
        (1, None, 1),
        (2, None, 2),
        (3, Some(3), 0),
        (4, Some(3), 1),
        (5, Some(5), 0),
        (6, Some(5), 1),
    ];
    for (generation, at, records) in table {
        let base = machine
            .dir
            .checkpoint_at_or_before(generation)
            .unwrap()
            .unwrap();
        let found = (
            base.checkpoint.as_ref().map(|(at, _)| *at),
            base.records.len(),
        );
        assert_eq!(found, (at, records), "{generation}");
        let state = state_of(base.checkpoint, base.records);
        assert_eq!(state, machine.saved[..generation as usize]);
    }
}

#[test]
fn files_that_no_kept_generation_needs_are_removed() {
    // Checkpoints at 2, 4, 6 and 8. Of the last 3 generations the oldest, 6, is made from what stands at 5 or before.
    let machine = Machine::new(3).after("aacaacaacaac");
    let wanted = [
        checkpoint(4),
        checkpoint(6),
        checkpoint(8),
        segment(5),
        segment(7),
        segment(9),
    ];
    assert_eq!(machine.sim.names(), wanted);

    let machine = Machine::new(0).after("aacaacaacaac");
    assert_eq!(machine.sim.names(), [checkpoint(8), segment(9)]);

    let machine = Machine::new(128).after("aacaac");
    let wanted = [
        checkpoint(2),
        checkpoint(4),
        segment(1),
        segment(3),
        segment(5),
    ];
    assert_eq!(machine.sim.names(), wanted);
}

#[test]
fn number_of_files_has_a_bound_whatever_is_saved() {
    let mut machine = Machine::new(4);
    for _ in 0..50 {
        machine = machine.after("aacr");
        assert!(
            machine.sim.names().len() <= 2 * 4,
            "{:?}",
            machine.sim.names()
        );
    }
}

#[test]
fn file_whose_removal_failed_goes_with_the_next_open() {
    for nth in 1..20 {
        let mut machine = Machine::new(0).after("aacaa");
        machine.sim.arm(nth, Fault::Fail(Done::Nothing));
        let is_saved = machine.checkpoint().is_ok();
        machine.sim.disarm();
        let machine = machine.after("r");
        if is_saved {
            assert_eq!(machine.sim.names(), [checkpoint(4), segment(5)], "{nth}");
        }
    }
}

#[test]
fn record_that_failed_is_in_no_history() {
    for (nth, done) in (1..6).flat_map(|nth| crate::sim::EVERY_DONE.map(|done| (nth, done))) {
        let mut machine = Machine::new(128).after("aaa");
        machine.sim.arm(nth, Fault::Fail(done));
        let failed = machine.append("victim").is_err();
        machine.sim.disarm();
        if failed {
            assert_eq!(machine.dir.history().unwrap().len(), 3, "{nth} {done:?}");
            assert_eq!(machine.dir.read(4).unwrap(), None, "{nth} {done:?}");
        }
        // The same where a new segment takes its place.
        machine.checkpoint().unwrap();
        machine.append("survivor").unwrap();
        let last = machine.saved.last().cloned().unwrap();
        let kept = machine.dir.read(last.0).unwrap().unwrap();
        assert_eq!(kept.payload, last.1);
        assert_eq!(machine.dir.history().unwrap().len(), machine.saved.len());
    }
}
