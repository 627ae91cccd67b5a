//! Many sessions at once, each behind a proxy of its own that does harm by a seed; whatever they write is read back. Bounded: so many
//! rounds of sixteen commands for each session.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use initiator::Repairs;

use super::scenario::{Range, faults_of, keys};
use super::{Heir, Who};
use crate::proxy::random;

/// What to run.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The target's portal.
    pub portal: SocketAddr,
    /// Its name.
    pub target: String,
    /// ErrorRecoveryLevel, 1 or 2.
    pub level: u8,
    /// Connections of each session.
    pub connections: u16,
    /// Sessions, each with 2,048 blocks of LUN 0 to itself.
    pub sessions: u8,
    /// Rounds of each session.
    pub rounds: usize,
    /// Of all that is random.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endured {
    /// Faults that happened.
    pub faults: usize,
    /// What mended them.
    pub repairs: Repairs,
}

impl Soak {
    /// Runs it to its end.
    ///
    /// # Errors
    /// A session lost something.
    pub fn run(&self) -> Result<Endured> {
        let sessions: Vec<Result<Endured>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.sessions)
                .map(|number| scope.spawn(move || self.session(number)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                let panicked = |_| Err(anyhow!("a session's thread panicked"));
                thread.join().unwrap_or_else(panicked)
            });
            joined.collect()
        });
        let mut all = Endured::default();
        for (number, session) in sessions.into_iter().enumerate() {
            let session = session.with_context(|| {
                format!("session {number} of {}, seed {}", self.sessions, self.seed)
            })?;
            all.faults += session.faults;
            all.repairs = all.repairs.and(session.repairs);
        }
        Ok(all)
    }

    fn session(&self, number: u8) -> Result<Endured> {
        let who = Who {
            portal: self.portal,
            target: self.target.clone(),
            number,
            keys: keys(self.level, self.connections),
            connections: self.connections,
            lun: 0,
            first_lba: u64::from(number) * 2_048,
            patience: Duration::from_secs(120),
        };
        let heir = match (self.connections, number % 3) {
            (1, 0) => Heir::SameCid,
            (1, _) => Heir::NewCid,
            (_, 0) => Heir::NewCid,
            (_, 1) => Heir::SameCid,
            _ => Heir::Another,
        };
        let seed = self.seed.wrapping_mul(257).wrapping_add(number.into());
        let (one_in, most) = if self.level == 2 { (300, 4) } else { (40, 12) };
        let plan = random(seed, one_in, most, faults_of(self.level).to_vec());
        let mut range = Range::new(self.portal, who, heir)?;
        let faults = range.long_run(self.rounds, seed, plan)?;
        Ok(Endured {
            faults,
            repairs: range.repairs(),
        })
    }
}
