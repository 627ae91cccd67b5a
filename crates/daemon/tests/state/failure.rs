//! A call that fails leaves the old state, and the next one works.

use daemon::state::{Loaded, MAX_PAYLOAD_BYTES, OpenOptions, StateError};

use crate::machine::{Machine, PRELUDES, open, record, reopen};
use crate::sim::{EVERY_DONE, Fault, Sim};

/// What the disk has after a power cut, several times over.
fn power_cuts(sim: &Sim) -> impl Iterator<Item = Sim> {
    (0..12).map(|seed| {
        let world = sim.fork();
        world.power_cut(seed);
        world
    })
}

/// The machine saves a record, and that alone is what the disk has then.
fn works_on(machine: &mut Machine, told: &str) {
    machine
        .append("survivor")
        .unwrap_or_else(|error| panic!("{told}: {error:?}"));
    for sim in power_cuts(&machine.sim) {
        assert_eq!(reopen(&sim, machine.options).1, machine.saved, "{told}");
    }
    machine
        .checkpoint()
        .unwrap_or_else(|error| panic!("{told}: {error:?}"));
    for sim in power_cuts(&machine.sim) {
        assert_eq!(reopen(&sim, machine.options).1, machine.saved, "{told}");
    }
}

/// Lets each call of `step` fail once, in every prelude. `check` gets the machine after a failure.
fn fail_each_call(
    step: impl Fn(&mut Machine) -> Result<(), StateError>,
    mut check: impl FnMut(&Machine, &str),
) -> u64 {
    let mut failures = 0;
    for (keep, prelude) in PRELUDES {
        for done in EVERY_DONE {
            for nth in 1.. {
                let mut machine = Machine::new(keep).after(prelude);
                let told = format!("keep {keep}, {prelude:?}, {done:?} of call {nth}");
                machine.sim.arm(nth, Fault::Fail(done));
                let result = step(&mut machine);
                if machine.sim.disarm() {
                    result.unwrap();
                    break;
                }
                if result.is_err() {
                    failures += 1;
                    assert_eq!(
                        machine.dir.last_generation().unwrap_or(0),
                        machine.saved.len() as u64,
                        "{told}"
                    );
                    check(&machine, &told);
                }
                works_on(&mut machine, &told);
            }
        }
    }
    failures
}

#[test]
fn append_with_each_call_failing_once_leaves_the_old_state_and_the_next_append_works() {
    let failures = fail_each_call(
        |machine| machine.append("victim"),
        |machine, told| {
            let restarted = machine.sim.fork();
            restarted.restart();
            assert_eq!(
                reopen(&restarted, machine.options).1,
                machine.saved,
                "{told}"
            );
            for sim in power_cuts(&machine.sim) {
                assert!(machine.allows(&reopen(&sim, machine.options).1), "{told}");
            }
        },
    );
    assert!(failures >= 2 * 3 * PRELUDES.len() as u64, "{failures}");
}

#[test]
fn append_whose_sync_failed_is_not_on_the_disk_later_either() {
    for done in EVERY_DONE {
        let mut machine = Machine::new(128).after("aaa");
        // The write, then the sync.
        machine.sim.arm(2, Fault::Fail(done));
        let error = machine.append("victim").unwrap_err();
        assert!(
            matches!(
                error,
                StateError::Io {
                    operation: "sync",
                    ..
                }
            ),
            "{error:?}"
        );
        for sim in power_cuts(&machine.sim) {
            assert_eq!(reopen(&sim, machine.options).1, machine.saved, "{done:?}");
        }
    }
}

#[test]
fn checkpoint_with_each_call_failing_once_leaves_the_state_and_the_next_call_works() {
    let failures = fail_each_call(Machine::checkpoint, |machine, told| {
        assert!(!machine.dir.wants_checkpoint(), "{told}");
        let restarted = machine.sim.fork();
        restarted.restart();
        assert_eq!(
            reopen(&restarted, machine.options).1,
            machine.saved,
            "{told}"
        );
        for sim in power_cuts(&machine.sim) {
            assert_eq!(reopen(&sim, machine.options).1, machine.saved, "{told}");
        }
    });
    assert!(failures >= 5 * 3 * PRELUDES.len() as u64, "{failures}");
}

#[test]
fn open_with_each_call_failing_once_is_an_error_or_the_state_and_works_the_next_time() {
    for (keep, prelude) in PRELUDES {
        for done in EVERY_DONE {
            for nth in 1.. {
                let machine = Machine::new(keep).after(prelude);
                let Machine {
                    sim,
                    options,
                    dir,
                    saved,
                    ..
                } = machine;
                drop(dir);
                sim.arm(nth, Fault::Fail(done));
                let opened = open(&sim, options);
                let is_over = sim.disarm();
                drop(opened);
                let told = format!("keep {keep}, {prelude:?}, {done:?} of call {nth}");
                for sim in power_cuts(&sim) {
                    assert_eq!(reopen(&sim, options).1, saved, "{told}");
                }
                let mut machine = Machine::on(sim, options);
                assert_eq!(machine.saved, saved, "{told}");
                works_on(&mut machine, &told);
                if is_over {
                    break;
                }
            }
        }
    }
}

#[test]
fn two_failures_in_two_appends_leave_the_old_state_or_a_doubtful_record_and_the_third_works() {
    for (keep, prelude) in PRELUDES {
        for (first, done) in (1..8).flat_map(|nth| EVERY_DONE.map(|done| (nth, done))) {
            for second in 1..12 {
                let mut machine = Machine::new(keep).after(prelude);
                let told =
                    format!("keep {keep}, {prelude:?}, {done:?} of {first}, then of {second}");
                machine.sim.arm(first, Fault::Fail(done));
                let _ = machine.append("first");
                machine.sim.arm(second, Fault::Fail(done));
                let _ = machine.append("second victim");
                machine.sim.disarm();
                for sim in power_cuts(&machine.sim) {
                    assert!(machine.allows(&reopen(&sim, machine.options).1), "{told}");
                }
                works_on(&mut machine, &told);
            }
        }
    }
}

#[test]
fn record_that_cannot_even_be_taken_back_is_made_up_for_before_the_next() {
    for (keep, prelude) in PRELUDES {
        for (nth, done) in (1..8).flat_map(|nth| EVERY_DONE.map(|done| (nth, done))) {
            let mut machine = Machine::new(keep).after(prelude);
            let told = format!("keep {keep}, {prelude:?}, {done:?} from call {nth} on");
            machine.sim.arm(nth, Fault::FailOn(done));
            for author in ["first", "second", "third"] {
                let _ = machine.append(author);
            }
            machine.sim.disarm();
            for sim in power_cuts(&machine.sim) {
                assert!(machine.allows(&reopen(&sim, machine.options).1), "{told}");
            }
            // A new segment makes up for it as well as the next record does.
            let mut other = Machine::new(keep).after(prelude);
            other.sim.arm(nth, Fault::FailOn(done));
            let _ = other.append("first");
            other.sim.disarm();
            other.checkpoint().unwrap();
            for sim in power_cuts(&other.sim) {
                assert_eq!(reopen(&sim, other.options).1, other.saved, "{told}");
            }
            works_on(&mut other, &told);
            works_on(&mut machine, &told);
        }
    }
}

#[test]
fn first_checkpoint_that_failed_leaves_a_new_directory() {
    for (nth, done) in (1..16).flat_map(|nth| EVERY_DONE.map(|done| (nth, done))) {
        for fault in [Fault::Fail(done), Fault::FailOn(done)] {
            let mut machine = Machine::new(128);
            machine.sim.arm(nth, fault);
            let failed = machine.dir.checkpoint(5, b"never saved").is_err();
            machine.sim.disarm();
            if !failed {
                continue;
            }
            // Whatever is saved first then is the beginning.
            let told = format!("{fault:?} from call {nth}");
            assert_eq!(machine.dir.last_generation(), None, "{told}");
            let other = machine.dir.append(&record(6, b"a beginning"));
            other.unwrap_or_else(|error| panic!("{told}: {error:?}"));
            for sim in power_cuts(&machine.sim) {
                let (_, loaded) = open(&sim, machine.options).unwrap();
                assert_eq!(loaded.checkpoint, None, "{told}");
                assert_eq!(loaded.records, [record(6, b"a beginning")], "{told}");
            }

            let mut machine = Machine::new(128);
            machine.sim.arm(nth, fault);
            let _ = machine.dir.checkpoint(5, b"never saved");
            machine.sim.disarm();
            works_on(&mut machine, &told);
        }
    }
}

#[test]
fn full_disk_fails_the_change_serves_the_state_and_works_when_there_is_room() {
    for (keep, prelude) in PRELUDES {
        for nth in 1..10 {
            let told = format!("keep {keep}, {prelude:?}, full from call {nth}");
            let mut machine = Machine::new(keep).after(prelude);
            machine.sim.arm(nth, Fault::Full);
            let results = [
                machine.append("a"),
                machine.checkpoint(),
                machine.append("b"),
                machine.append("c"),
            ];
            for error in results.into_iter().filter_map(Result::err) {
                assert!(
                    matches!(&error, StateError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
                    "{told}: {error:?}"
                );
            }
            // No room at the next start either.
            let full = machine.sim.fork();
            full.restart();
            full.arm(1, Fault::Full);
            let (_dir, found) = reopen(&full, machine.options);
            assert_eq!(found, machine.saved, "{told}");

            machine.sim.disarm();
            works_on(&mut machine, &told);
        }
    }
}

#[test]
fn what_a_failed_write_staged_does_not_fill_the_disk() {
    let mut machine = Machine::new(128).after("aaa");
    for nth in 1..12 {
        machine.sim.arm(nth, Fault::Full);
        let _ = machine.checkpoint();
        machine.sim.disarm();
        let names = machine.sim.names();
        assert!(
            !names.iter().any(|name| name.ends_with(".tmp")),
            "{nth}: {names:?}"
        );
    }
}

#[test]
fn generation_that_does_not_follow_is_refused_and_writes_nothing() {
    let mut machine = Machine::new(128).after("aaa");
    let calls = machine.sim.calls();
    for generation in [0, 1, 3, 5, u64::MAX] {
        let refused = machine.dir.append(&record(generation, b"x"));
        assert!(
            matches!(refused, Err(StateError::OutOfOrder { expected: 4, found }) if found == generation),
            "{refused:?}"
        );
    }
    for generation in [0, 2, 4] {
        let refused = machine.dir.checkpoint(generation, b"x");
        assert!(
            matches!(refused, Err(StateError::OutOfOrder { expected: 3, found }) if found == generation),
            "{refused:?}"
        );
    }
    assert_eq!(machine.sim.calls(), calls);
}

#[test]
fn first_generation_of_a_new_directory_is_free_but_has_a_number_before_and_behind_it() {
    let mut machine = Machine::new(128);
    assert!(matches!(
        machine.dir.append(&record(0, b"x")),
        Err(StateError::OutOfOrder { .. })
    ));
    assert!(matches!(
        machine.dir.append(&record(u64::MAX, b"x")),
        Err(StateError::OutOfOrder { .. })
    ));
    assert!(matches!(
        machine.dir.checkpoint(u64::MAX, b"x"),
        Err(StateError::OutOfOrder { .. })
    ));
    machine.dir.append(&record(41, b"x")).unwrap();
    machine.dir.append(&record(42, b"y")).unwrap();
    drop(machine.dir);
    let (dir, loaded) = open(&machine.sim, machine.options).unwrap();
    assert_eq!(loaded.records, [record(41, b"x"), record(42, b"y")]);
    assert_eq!(dir.last_generation(), Some(42));
}

#[test]
fn highest_generations_are_kept_to_the_last_that_has_one_behind_it() {
    let mut machine = Machine::new(128);
    machine.dir.checkpoint(u64::MAX - 2, b"base").unwrap();
    machine.dir.append(&record(u64::MAX - 1, b"x")).unwrap();
    assert!(matches!(
        machine.dir.append(&record(u64::MAX, b"x")),
        Err(StateError::OutOfOrder { .. })
    ));
    machine.dir.checkpoint(u64::MAX - 1, b"last").unwrap();
    drop(machine.dir);
    let (dir, loaded) = open(&machine.sim, machine.options).unwrap();
    assert_eq!(loaded.checkpoint, Some((u64::MAX - 1, b"last".to_vec())));
    assert_eq!(dir.history().unwrap().len(), 1);
}

#[test]
fn payload_beyond_the_limit_is_refused_and_writes_nothing() {
    let mut machine = Machine::new(128).after("a");
    let calls = machine.sim.calls();
    let mut large = record(2, b"");
    large.payload = vec![0; MAX_PAYLOAD_BYTES + 1];
    assert!(matches!(
        machine.dir.append(&large),
        Err(StateError::TooLarge { .. })
    ));
    assert!(matches!(
        machine.dir.checkpoint(1, &large.payload),
        Err(StateError::TooLarge { .. })
    ));
    assert_eq!(machine.sim.calls(), calls);
}

#[test]
fn journal_past_a_mebibyte_and_twice_its_checkpoint_wants_one() {
    let mut machine = Machine::new(128);
    let quarter = vec![b'x'; 256 << 10];
    for generation in 1..=4 {
        assert!(!machine.dir.wants_checkpoint(), "{generation}");
        machine.dir.append(&record(generation, &quarter)).unwrap();
    }
    assert!(machine.dir.wants_checkpoint());
    machine.dir.checkpoint(4, &vec![b'y'; 3 << 18]).unwrap();
    for generation in 5..=10 {
        assert!(!machine.dir.wants_checkpoint(), "{generation}");
        machine.dir.append(&record(generation, &quarter)).unwrap();
    }
    assert!(machine.dir.wants_checkpoint());
    drop(machine.dir);
    let (dir, _) = open(&machine.sim, machine.options).unwrap();
    assert!(dir.wants_checkpoint(), "known again after a restart");
}

#[test]
fn checkpoint_that_failed_is_wanted_again_after_another_mebibyte() {
    let mut machine = Machine::new(128);
    let half = vec![b'x'; 512 << 10];
    for generation in 1..=3 {
        machine.dir.append(&record(generation, &half)).unwrap();
    }
    assert!(machine.dir.wants_checkpoint());
    machine.sim.arm(1, Fault::Full);
    machine.dir.checkpoint(3, b"all").unwrap_err();
    machine.sim.disarm();
    for generation in 4..=6 {
        assert!(!machine.dir.wants_checkpoint(), "{generation}");
        machine.dir.append(&record(generation, &half)).unwrap();
        if generation == 5 {
            break;
        }
    }
    assert!(machine.dir.wants_checkpoint());
}

#[test]
fn lock_of_a_holder_refuses_the_second_and_ends_with_the_first() {
    let machine = Machine::new(128).after("a");
    let refused = open(&machine.sim, machine.options).map(drop).unwrap_err();
    assert!(
        matches!(
            refused,
            StateError::Locked {
                pid: Some(1234),
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(
        refused.to_string(),
        "saved state: in use by process 1234: /state/lock"
    );
    drop(machine.dir);
    open(&machine.sim, OpenOptions::default()).unwrap();
}

#[test]
fn payloads_are_shown_nowhere() {
    let mut machine = Machine::new(128);
    machine.dir.checkpoint(1, b"hunter2").unwrap();
    machine.dir.append(&record(2, b"hunter2")).unwrap();
    drop(machine.dir);
    let (dir, loaded): (_, Loaded) = open(&machine.sim, machine.options).unwrap();
    let base = dir.checkpoint_at_or_before(2).unwrap();
    let shown = format!(
        "{dir:?} {loaded:?} {base:?} {:?} {:?}",
        loaded.records,
        dir.history().unwrap()
    );
    assert!(shown.contains("payload_bytes: 7"), "{shown}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("104, 117, 110"),
        "{shown}"
    );
}
