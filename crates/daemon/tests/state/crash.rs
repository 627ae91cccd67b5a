//! A death at every step leaves the old state or the new one.

use daemon::state::StateError;

use crate::machine::{Machine, PRELUDES, State, open, reopen};
use crate::sim::{Done, EVERY_DONE, Fault, Sim};

/// The process ended and the machine went on; or the power was cut, with as many outcomes.
const POWER_CUTS: u64 = 16;

/// Tries every fate of the machine. `check` gets what is found afterwards.
fn after_each_fate(sim: &Sim, mut check: impl FnMut(&Sim, &str)) {
    let world = sim.fork();
    world.restart();
    check(&world, "restart");
    for seed in 0..POWER_CUTS {
        let world = sim.fork();
        world.power_cut(seed);
        check(&world, &format!("power cut {seed}"));
    }
}

/// Kills the process at each call of `step`, in every prelude, and sees that what is found afterwards is allowed, and that the
/// directory works on from there.
fn kill_at_each_call(step: impl Fn(&mut Machine) -> bool) -> u64 {
    let mut deaths = 0;
    for (keep, prelude) in PRELUDES {
        for done in EVERY_DONE {
            for nth in 1.. {
                let mut machine = Machine::new(keep).after(prelude);
                machine.sim.arm(nth, Fault::Kill(done));
                let passed = step(&mut machine);
                let is_over = machine.sim.disarm();
                let told = format!("keep {keep}, {prelude:?}, {done:?} of call {nth}");
                assert!(passed || !is_over, "{told}");
                after_each_fate(&machine.sim, |sim, fate| {
                    let found = works_on(sim, &machine, &format!("{told}, {fate}"));
                    assert!(machine.allows(&found), "{told}, {fate}: {found:?}");
                });
                if is_over {
                    break;
                }
                deaths += 1;
            }
        }
    }
    deaths
}

/// Opens the directory, saves one more record and a checkpoint, and finds both after a power cut. Answers with what was found first.
fn works_on(sim: &Sim, machine: &Machine, told: &str) -> State {
    let (dir, found) = reopen(sim, machine.options);
    drop(dir);
    let mut next = Machine::on(sim.clone(), machine.options);
    assert_eq!(next.saved, found, "{told}");
    next.append("survivor").unwrap();
    let after = next.sim.fork();
    after.power_cut(7);
    assert_eq!(reopen(&after, machine.options).1, next.saved, "{told}");
    next.checkpoint().unwrap();
    next.sim.power_cut(8);
    assert_eq!(reopen(sim, machine.options).1, next.saved, "{told}");
    found
}

#[test]
fn append_killed_at_every_step_leaves_the_old_or_the_new_state() {
    let deaths = kill_at_each_call(|machine| machine.append("victim").is_ok());
    // Write and sync at least, in each prelude and in each of three ways.
    assert!(deaths >= 2 * 3 * PRELUDES.len() as u64, "{deaths}");
}

#[test]
fn checkpoint_killed_at_every_step_leaves_the_state() {
    let deaths = kill_at_each_call(|machine| machine.checkpoint().is_ok());
    // Create, write, sync of the checkpoint; rename and sync of the directory.
    assert!(deaths >= 5 * 3 * PRELUDES.len() as u64, "{deaths}");
}

#[test]
fn open_killed_at_every_step_leaves_the_state() {
    let deaths = kill_at_each_call(|machine| {
        // The lock of the machine's own life ends with it.
        machine.sim.restart_armed();
        open(&machine.sim, machine.options).is_ok()
    });
    assert!(deaths >= 3 * 3 * PRELUDES.len() as u64, "{deaths}");
}

/// The process dies in `step`, and the next one while it opens the directory.
fn kill_in_step_and_open(step: impl Fn(&mut Machine) -> bool) {
    for (keep, prelude) in PRELUDES {
        for (first, done) in (1..12).flat_map(|first| [(first, Done::Part), (first, Done::All)]) {
            let mut victim = Machine::new(keep).after(prelude);
            victim.sim.arm(first, Fault::Kill(done));
            let _ = step(&mut victim);
            after_each_fate(&victim.sim, |sim, fate| {
                for nth in 1.. {
                    let told =
                        format!("keep {keep}, {prelude:?}, call {first}, {fate}, open {nth}");
                    let sim = sim.fork();
                    sim.restart();
                    sim.arm(nth, Fault::Kill(done));
                    let opened = open(&sim, victim.options);
                    let is_over = sim.disarm();
                    drop(opened);
                    sim.power_cut(nth + first);
                    let (_, found) = reopen(&sim, victim.options);
                    assert!(victim.allows(&found), "{told}: {found:?}");
                    if is_over {
                        break;
                    }
                }
            });
        }
    }
}

#[test]
fn open_killed_at_every_step_after_a_kill_in_an_append_leaves_the_old_or_the_new_state() {
    kill_in_step_and_open(|machine| machine.append("victim").is_ok());
}

#[test]
fn open_killed_at_every_step_after_a_kill_in_a_checkpoint_leaves_the_state() {
    kill_in_step_and_open(|machine| machine.checkpoint().is_ok());
}

#[test]
fn first_checkpoint_killed_at_every_step_is_never_taken_for_a_beginning_from_nothing() {
    let mut made = 0;
    for (nth, done) in (1..16).flat_map(|nth| EVERY_DONE.map(|done| (nth, done))) {
        let mut machine = Machine::new(128);
        machine.sim.arm(nth, Fault::Kill(done));
        let _ = machine.dir.checkpoint(5, b"base");
        after_each_fate(&machine.sim, |sim, fate| {
            let (dir, loaded) = open(sim, machine.options).unwrap();
            drop(dir);
            let Some(checkpoint) = loaded.checkpoint else {
                return;
            };
            assert_eq!(checkpoint, (5, b"base".to_vec()));
            made += 1;
            sim.delete("checkpoint-00000000000000000005");
            let refused = open(sim, machine.options).map(drop);
            assert!(
                matches!(refused, Err(StateError::Missing { generation: 5, .. })),
                "{done:?} of {nth}, {fate}: {refused:?}"
            );
        });
    }
    assert!(made > 0);
}

#[test]
fn state_that_was_read_survives_a_power_cut_right_after_open() {
    // The record is whole in the kernel's memory and not on the disk: once it is answered, it must be there.
    for (keep, prelude) in PRELUDES {
        for nth in 1..=7 {
            let mut victim = Machine::new(keep).after(prelude);
            victim.sim.arm(nth, Fault::Kill(Done::All));
            let _ = victim.append("victim");
            victim.sim.restart();
            let (_, found) = reopen(&victim.sim, victim.options);
            for seed in 0..POWER_CUTS {
                let sim = victim.sim.fork();
                sim.power_cut(seed);
                assert_eq!(
                    reopen(&sim, victim.options).1,
                    found,
                    "{keep} {prelude:?} {nth} {seed}"
                );
            }
        }
    }
}
