//! Short exchanges with one fault at each of their PDUs in turn, and long runs with faults by a seed; data verified.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use initiator::Repairs;
use iscsi_wire::{Cid, Itt};

use super::{Heir, Many, Who};
use crate::pattern::{Random, fill, generation};
use crate::proxy::{Direction, Fault, Plan, Proxy, at};

/// An exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// A block in one Data-In.
    SmallRead,
    /// 64 KiB in several sequences.
    LongRead,
    /// A block as immediate data.
    SmallWrite,
    /// 64 KiB: immediate, unsolicited and solicited data.
    LongWrite,
    /// A ping in the order of commands.
    Ping,
    /// SendTargets.
    Text,
    /// ABORT TASK SET in the order of commands.
    Manage,
    /// Eight reads and writes at once, over all connections.
    Queue,
    /// A read of 64 KiB, while which the initiator declares other segments: what is missing is asked for by R-Data SNACK. Not one of
    /// [`ALL`](Self::ALL).
    Resegment,
}

impl Script {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SmallRead,
        Self::LongRead,
        Self::SmallWrite,
        Self::LongWrite,
        Self::Ping,
        Self::Text,
        Self::Manage,
        Self::Queue,
    ];
}

/// What a fault may be at each level.
#[must_use]
pub const fn faults_of(level: u8) -> &'static [Fault] {
    const WITHIN_A_CONNECTION: &[Fault] = &[
        Fault::Drop,
        Fault::Repeat,
        Fault::Delay,
        Fault::CorruptHeader,
        Fault::CorruptData,
    ];
    const OF_A_CONNECTION: &[Fault] = &[
        Fault::Cut,
        Fault::CutWithin,
        Fault::CorruptLength,
        Fault::CorruptHeader,
    ];
    match level {
        0 => &[],
        1 => WITHIN_A_CONNECTION,
        _ => OF_A_CONNECTION,
    }
}

/// The keys of the sessions here: digests, and segments and bursts so short that a few KiB take several.
#[must_use]
pub fn keys(level: u8, connections: u16) -> Vec<(String, String)> {
    let (level, connections) = (level.to_string(), connections.to_string());
    [
        ("HeaderDigest", "CRC32C"),
        ("DataDigest", "CRC32C"),
        ("MaxRecvDataSegmentLength", "4096"),
        ("MaxBurstLength", "16384"),
        ("FirstBurstLength", "8192"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("DefaultTime2Wait", "0"),
        ("DefaultTime2Retain", "20"),
        ("ErrorRecoveryLevel", level.as_str()),
        ("MaxConnections", connections.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

/// How an exchange went, with a fault at each position.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Positions where the fault was possible.
    pub tried: usize,
    /// How many of them the exchange came through.
    pub recovered: usize,
    /// How it failed, and at which positions.
    pub failures: BTreeMap<String, Vec<usize>>,
    /// What was seen on the way.
    pub remarks: BTreeSet<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.recovered, self.tried)?;
        for (failure, at) in &self.failures {
            write!(f, "; at {at:?}: {failure}")?;
        }
        if !self.remarks.is_empty() {
            let remarks: Vec<&str> = self.remarks.iter().map(String::as_str).collect();
            write!(f, " ({})", remarks.join("; "))?;
        }
        Ok(())
    }
}

/// A target behind a proxy, and a session through it that is made anew when it is lost.
pub struct Range {
    proxy: Proxy,
    who: Who,
    heir: Heir,
    many: Option<Many>,
    generation: u64,
    repairs: Repairs,
}

impl Range {
    /// A proxy before this target.
    ///
    /// # Errors
    /// No port.
    pub fn new(portal: SocketAddr, who: Who, heir: Heir) -> Result<Self> {
        let proxy = Proxy::start(portal)?;
        Ok(Self {
            who: Who {
                portal: proxy.address,
                ..who
            },
            proxy,
            heir,
            many: None,
            generation: 1,
            repairs: Repairs::default(),
        })
    }

    /// What was repaired in all sessions.
    #[must_use]
    pub fn repairs(&self) -> Repairs {
        let now = self.many.as_ref().map(Many::repairs);
        self.repairs.and(now.unwrap_or_default())
    }

    /// The exchange with this fault at each PDU of this direction.
    ///
    /// # Errors
    /// The target takes no login any more.
    pub fn sweep(&mut self, script: Script, fault: Fault, direction: Direction) -> Result<Outcome> {
        // The first may find a session that the last fault has ended after all.
        if self.run(script, Box::new(|_| None)).is_err() {
            self.give_up();
        }
        let mut outcome = Outcome::default();
        let seen = match self.run(script, Box::new(|_| None)) {
            Ok((seen, _)) => seen,
            Err(error) => {
                self.give_up();
                self.session()?;
                let failure = format!("without a fault: {error:#}");
                outcome.failures.insert(failure, Vec::new());
                return Ok(outcome);
            }
        };
        let positions = match direction {
            Direction::ToTarget => seen[0],
            Direction::ToInitiator => seen[1],
        };
        for index in 0..positions {
            if self.session().is_err() {
                let gone = "the target takes no login any more".to_owned();
                outcome.failures.insert(gone, vec![index]);
                break;
            }
            let result = self.run(script, at(direction, index, fault));
            if let Some(many) = &mut self.many {
                outcome.remarks.append(&mut many.remarks);
            }
            match result {
                Ok((_, 0)) => {}
                Ok(_) => {
                    outcome.tried += 1;
                    outcome.recovered += 1;
                }
                Err(error) => {
                    outcome.tried += 1;
                    let failure = format!("{error:#}");
                    outcome.failures.entry(failure).or_default().push(index);
                    self.give_up();
                }
            }
        }
        Ok(outcome)
    }

    /// Reads and writes over all connections with faults by this plan, all of it verified.
    ///
    /// # Errors
    /// Something is lost.
    pub fn long_run(&mut self, rounds: usize, seed: u64, plan: Plan) -> Result<usize> {
        self.session()?;
        let mut random = Random::new(seed);
        self.proxy.arm(plan);
        let result = self.rounds(rounds, &mut random);
        let (_, injected) = self.proxy.disarm();
        if result.is_err() {
            self.give_up();
        }
        result.map(|()| injected)
    }

    /// The session, made where there is none.
    ///
    /// # Errors
    /// The login fails.
    pub fn session(&mut self) -> Result<&mut Many> {
        if self.many.is_none() {
            let mut many = Many::login(self.who.clone())?;
            many.heir = self.heir;
            let agreed = many.params();
            let wanted = |key: &str| {
                let mut keys = self.who.keys.iter();
                keys.find(|(name, _)| name == key)
                    .and_then(|(_, value)| value.parse::<u64>().ok())
            };
            ensure!(
                wanted("ErrorRecoveryLevel") == Some(agreed.error_recovery_level)
                    && wanted("MaxConnections") == Some(agreed.max_connections),
                "the target agrees on ErrorRecoveryLevel {} and MaxConnections {}",
                agreed.error_recovery_level,
                agreed.max_connections
            );
            self.many = Some(many);
        }
        match &mut self.many {
            Some(many) => Ok(many),
            None => bail!("no session"),
        }
    }

    fn give_up(&mut self) {
        if let Some(many) = self.many.take() {
            self.repairs = self.repairs.and(many.repairs());
        }
    }

    /// One exchange under this plan: PDUs seen each way, and faults.
    fn run(&mut self, script: Script, plan: Plan) -> Result<([usize; 2], usize)> {
        self.generation += 1;
        let generation = self.generation;
        self.session()?;
        let Some(many) = &mut self.many else {
            bail!("no session")
        };
        let blocks = script.blocks(many.block_bytes);
        if script.reads() {
            let itt = {
                let (cid, lba) = (many.cid(0), many.first_lba());
                many.write(cid, lba, filled(many, lba, blocks, generation))?
            };
            many.wait(itt)?;
        }
        self.proxy.arm(plan);
        let played = play(script, many, blocks, generation);
        // Faults may be in what repairs, too: it goes on under the plan.
        let settled = played.and_then(|()| many.settle());
        let told = self.proxy.disarm();
        settled?;
        // What ends the connection has ended it by then.
        many.ping(many.cid(0))?;
        if script.writes() {
            let lba = many.first_lba();
            let itt = many.read(many.cid(0), lba, blocks)?;
            check(many, itt, lba, generation)?;
        }
        Ok(told)
    }

    fn rounds(&mut self, rounds: usize, random: &mut Random) -> Result<()> {
        const SLOTS: usize = 16;
        let first = self.generation;
        self.generation += rounds as u64 * SLOTS as u64;
        let Some(many) = &mut self.many else {
            bail!("no session")
        };
        let mut written = [0; SLOTS];
        let mut number = first;
        for _ in 0..rounds {
            // Every slot is written or read once, all at the same time.
            let mut reads = Vec::new();
            let mut writes = Vec::new();
            for (slot, known) in (0..).zip(&mut written) {
                let cid = many.cid(usize::try_from(random.below(8))?);
                let lba = many.first_lba() + slot * 128u64;
                let blocks = 1 + usize::try_from(random.below(64))?;
                if *known == 0 || random.below(2) == 0 {
                    number += 1;
                    *known = number;
                    let data = filled(many, lba, 128, number);
                    writes.push((many.write(cid, lba, data)?, cid, lba, number));
                } else {
                    reads.push((many.read(cid, lba, blocks)?, lba, *known));
                }
            }
            for (mut itt, cid, lba, number) in writes {
                while many.wait_for_room(itt)?.is_none() {
                    many.idle(ROOM)?;
                    itt = many.write(cid, lba, filled(many, lba, 128, number))?;
                }
            }
            for (itt, lba, known) in reads {
                check(many, itt, lba, known)?;
            }
        }
        many.settle()
    }
}

impl Script {
    const fn reads(self) -> bool {
        matches!(self, Self::SmallRead | Self::LongRead | Self::Resegment)
    }

    const fn writes(self) -> bool {
        matches!(self, Self::SmallWrite | Self::LongWrite)
    }

    const fn blocks(self, block_bytes: usize) -> usize {
        match self {
            Self::LongRead | Self::LongWrite | Self::Resegment => (64 << 10) / block_bytes,
            _ => 1,
        }
    }
}

fn play(script: Script, many: &mut Many, blocks: usize, generation: u64) -> Result<()> {
    // The last connection: where there are several, not the one that begins everything.
    let cid = many.cid(usize::from(many.who.connections) - 1);
    match script {
        Script::SmallRead | Script::LongRead => {
            let lba = many.first_lba();
            let itt = many.read(cid, lba, blocks)?;
            check(many, itt, lba, generation)
        }
        Script::SmallWrite | Script::LongWrite => {
            let lba = many.first_lba();
            let data = filled(many, lba, blocks, generation);
            let itt = many.write(cid, lba, data)?;
            many.wait(itt).map(drop)
        }
        Script::Resegment => {
            let itt = many.read(cid, many.first_lba(), blocks)?;
            // One length and the other in turn.
            let bytes = if generation.is_multiple_of(2) {
                4096
            } else {
                1024
            };
            many.declare_segments(cid, bytes)?;
            check(many, itt, many.first_lba(), generation)
        }
        Script::Ping => many.ping(cid),
        Script::Text => many.send_targets(cid),
        Script::Manage => many.abort_task_set(cid),
        Script::Queue => queue(many, generation),
    }
}

fn queue(many: &mut Many, generation: u64) -> Result<()> {
    let places: Vec<(Cid, u64)> = (0..8usize)
        .map(|number| (many.cid(number), many.first_lba() + 64 * number as u64))
        .collect();
    let mut writes = Vec::new();
    for (cid, lba) in &places {
        let data = filled(many, *lba, 16, generation);
        writes.push(many.write(*cid, *lba, data)?);
    }
    for itt in writes {
        many.wait(itt)?;
    }
    let mut reads = Vec::new();
    for (cid, lba) in places {
        reads.push((many.read(cid, lba, 16)?, lba));
    }
    for (itt, lba) in reads {
        check(many, itt, lba, generation)?;
    }
    Ok(())
}

/// What a read brings is what was written.
fn check(many: &mut Many, itt: Itt, lba: u64, wanted: u64) -> Result<()> {
    let data = many.wait(itt)?.data;
    ensure!(!data.is_empty(), "no data");
    for (block, lba) in data.chunks_exact(many.block_bytes).zip(lba..) {
        let found = generation(block, lba);
        ensure!(
            found == Some(wanted),
            "block {lba} holds {found:?} and not {wanted}"
        );
    }
    Ok(())
}

fn filled(many: &Many, lba: u64, blocks: usize, generation: u64) -> Vec<u8> {
    let mut data = vec![0; blocks * many.block_bytes];
    for (block, lba) in data.chunks_exact_mut(many.block_bytes).zip(lba..) {
        fill(block, lba, generation);
    }
    data
}

/// How long a session waits before it sends again what there was no memory for.
const ROOM: std::time::Duration = std::time::Duration::from_millis(20);
