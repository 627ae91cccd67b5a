//! A saved state on a simulated file system, and what it must hold.

use std::path::Path;
use std::sync::Arc;

use daemon::state::{Loaded, OpenOptions, Record, StateDir, StateError};

use crate::sim::Sim;

/// A state, as far as these tests go: every record since the beginning.
pub(crate) type State = Vec<(u64, Vec<u8>)>;

pub(crate) const DIRECTORY: &str = "/state";

pub(crate) fn open(sim: &Sim, options: OpenOptions) -> Result<(StateDir, Loaded), StateError> {
    StateDir::open(Path::new(DIRECTORY), options, Arc::new(sim.clone()))
}

/// Opens what must be whole.
pub(crate) fn reopen(sim: &Sim, options: OpenOptions) -> (StateDir, State) {
    let (state, loaded) = open(sim, options).unwrap_or_else(|error| {
        panic!("{error:?} among {:?}", sim.names());
    });
    let content = state_of(loaded.checkpoint, loaded.records);
    assert_eq!(state.last_generation().unwrap_or(0), content.len() as u64);
    (state, content)
}

pub(crate) fn state_of(checkpoint: Option<(u64, Vec<u8>)>, records: Vec<Record>) -> State {
    let (generation, payload) = checkpoint.unwrap_or_default();
    let mut state = parse(&payload);
    assert_eq!(state.last().map_or(0, |(last, _)| *last), generation);
    state.extend(
        records
            .into_iter()
            .map(|record| (record.generation, record.payload)),
    );
    let generations: Vec<u64> = state.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(generations, (1..=state.len() as u64).collect::<Vec<_>>());
    state
}

/// The state as the payload of a checkpoint.
pub(crate) fn emit(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (generation, payload) in state {
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn parse(mut bytes: &[u8]) -> State {
    let mut state = State::new();
    while let Some((generation, rest)) = bytes.split_first_chunk() {
        let (length, rest) = rest.split_first_chunk().unwrap();
        let (payload, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        state.push((u64::from_le_bytes(*generation), payload.to_vec()));
        bytes = rest;
    }
    state
}

pub(crate) fn record(generation: u64, payload: &[u8]) -> Record {
    Record {
        generation,
        unix_time_ms: 1_700_000_000_000_u64.wrapping_add(generation),
        kind: 1,
        payload: payload.to_vec(),
    }
}

/// A payload of its own for each generation and author, of a length of its own.
pub(crate) fn payload(generation: u64, author: &str) -> Vec<u8> {
    format!("{author} made {generation} ")
        .repeat(generation as usize % 4)
        .into_bytes()
}

/// A state directory at work, with what it must hold.
pub(crate) struct Machine {
    pub(crate) sim: Sim,
    pub(crate) options: OpenOptions,
    pub(crate) dir: StateDir,
    /// What was reported as saved.
    pub(crate) saved: State,
    /// Records whose append failed since the last one that did not.
    pub(crate) doubts: Vec<Vec<u8>>,
}

impl Machine {
    pub(crate) fn new(keep_generations: u64) -> Self {
        let options = OpenOptions {
            keep_generations,
            recover: false,
        };
        Self::on(Sim::default(), options)
    }

    pub(crate) fn on(sim: Sim, options: OpenOptions) -> Self {
        let (dir, saved) = reopen(&sim, options);
        Self {
            sim,
            options,
            dir,
            saved,
            doubts: Vec::new(),
        }
    }

    pub(crate) fn append(&mut self, author: &str) -> Result<(), StateError> {
        let generation = self.saved.len() as u64 + 1;
        let payload = payload(generation, author);
        let result = self.dir.append(&record(generation, &payload));
        if result.is_ok() {
            self.saved.push((generation, payload));
            self.doubts.clear();
        } else {
            self.doubts.push(payload);
        }
        result
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), StateError> {
        self.dir
            .checkpoint(self.saved.len() as u64, &emit(&self.saved))
    }

    /// Does these, which must pass: `a` appends, `c` makes a checkpoint, `r` opens the directory again, `p` does so after a power cut.
    pub(crate) fn after(mut self, steps: &str) -> Self {
        for step in steps.chars() {
            match step {
                'a' => self.append("prelude").unwrap(),
                'c' => self.checkpoint().unwrap(),
                _ => {
                    let Self {
                        sim,
                        options,
                        dir,
                        saved,
                        ..
                    } = self;
                    drop(dir);
                    if step == 'p' {
                        sim.power_cut(1);
                    }
                    self = Self::on(sim, options);
                    assert_eq!(self.saved, saved, "{steps}");
                }
            }
        }
        self
    }

    /// The saved state, or that with one of the doubtful records.
    pub(crate) fn allows(&self, state: &State) -> bool {
        let mut with_doubt = self.saved.clone();
        *state == self.saved
            || self.doubts.iter().any(|payload| {
                with_doubt.truncate(self.saved.len());
                with_doubt.push((self.saved.len() as u64 + 1, payload.clone()));
                *state == with_doubt
            })
    }
}

/// Situations in which things go wrong: the generations to keep, and what came before.
pub(crate) const PRELUDES: [(u64, &str); 12] = [
    (128, ""),
    (128, "a"),
    (128, "aaa"),
    (128, "aaar"),
    (128, "aaac"),
    (128, "aaacr"),
    (128, "aaacaa"),
    (128, "aaacaap"),
    (128, "caac"),
    (1, "aacacaac"),
    (2, "aaacaaacaaac"),
    (0, "acacaap"),
];
