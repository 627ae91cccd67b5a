//! Any order of appends, checkpoints, failures, deaths and power cuts.

use proptest::prelude::*;

use crate::machine::{Machine, open, reopen, state_of};
use crate::sim::{Done, EVERY_DONE, Fault};

#[derive(Clone, Debug)]
enum Step {
    Append,
    Checkpoint,
    /// A call soon meets this.
    Arm(u64, Fault),
    Disarm,
    Restart,
    PowerCut(u64),
    /// The process ends in the middle of opening the directory.
    DieInOpen(u64, Done),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let done = || prop::sample::select(&EVERY_DONE[..]);
    let fault = prop_oneof![
        3 => done().prop_map(Fault::Kill),
        3 => done().prop_map(Fault::Fail),
        1 => done().prop_map(Fault::FailOn),
        1 => Just(Fault::Full),
    ];
    let step = prop_oneof![
        12 => Just(Step::Append),
        4 => Just(Step::Checkpoint),
        5 => (1..16_u64, fault).prop_map(|(nth, fault)| Step::Arm(nth, fault)),
        2 => Just(Step::Disarm),
        2 => Just(Step::Restart),
        2 => any::<u64>().prop_map(Step::PowerCut),
        1 => (1..16_u64, done()).prop_map(|(nth, done)| Step::DieInOpen(nth, done)),
    ];
    prop::collection::vec(step, 1..40)
}

/// The machine begins a new life: what it finds must be allowed, and is the truth from then on.
fn begin_again(machine: Machine) -> Machine {
    let Machine {
        sim, options, dir, ..
    } = &machine;
    let (found_dir, found) = reopen(sim, *options);
    assert!(machine.allows(&found), "{found:?}, not {:?}", machine.saved);
    assert_ne!(dir.last_generation(), Some(u64::MAX));
    drop(found_dir);
    let next = Machine::on(sim.clone(), *options);
    assert_eq!(next.saved, found, "read twice");
    next
}

/// What the directory tells of older generations is what they were.
fn check_history(machine: &Machine) {
    let last = machine.saved.len() as u64;
    let keep = machine.options.keep_generations;
    let heads = machine.dir.history().unwrap();
    let generations: Vec<u64> = heads.iter().map(|head| head.generation).collect();
    let from = last + 1 - generations.len() as u64;
    assert_eq!(generations, (from..=last).collect::<Vec<_>>());
    for generation in 1..=last {
        let content = machine
            .dir
            .read(generation)
            .unwrap()
            .map(|record| record.payload);
        let wanted = &machine.saved[generation as usize - 1].1;
        assert!(
            content.as_ref().is_none_or(|content| content == wanted),
            "{generation}"
        );
        let base = machine.dir.checkpoint_at_or_before(generation).unwrap();
        let is_kept = generation + keep >= last;
        assert!(
            base.is_some() || !is_kept,
            "{generation} of {last}, {keep} kept"
        );
        if let Some(base) = base {
            let state = state_of(base.checkpoint, base.records);
            assert_eq!(state, machine.saved[..generation as usize]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_changes_and_disasters_keeps_what_was_saved(steps in steps(), keep in 0..6_u64) {
        let mut machine = Machine::new(keep);
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append => drop(machine.append(&format!("step {index}"))),
                Step::Checkpoint => drop(machine.checkpoint()),
                Step::Arm(nth, fault) => machine.sim.arm(nth, fault),
                Step::Disarm => drop(machine.sim.disarm()),
                Step::Restart => {
                    machine.sim.restart();
                    machine = begin_again(machine);
                    check_history(&machine);
                }
                Step::PowerCut(seed) => {
                    machine.sim.power_cut(seed);
                    machine = begin_again(machine);
                    check_history(&machine);
                }
                Step::DieInOpen(nth, done) => {
                    machine.sim.restart();
                    machine.sim.arm(nth, Fault::Kill(done));
                    drop(open(&machine.sim, machine.options));
                    machine.sim.restart();
                    machine = begin_again(machine);
                }
            }
        }
        machine.sim.power_cut(99);
        machine = begin_again(machine);
        machine.append("last").unwrap();
        check_history(&machine);
    }
}
