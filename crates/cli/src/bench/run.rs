//! The load: all sessions on one thread, from the warm-up to the last answer.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use super::args::Args;
use super::report::{Counts, progress};
use super::session::{End, Ended, Session};
use super::verify::Ledger;
use super::workload::{Direction, Region, Workload};
use crate::log::CLEAR_LINE;

/// Nothing at all for so long: the target hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const RECEIVE_BYTES: usize = 256 << 10;

/// Sessions under load.
pub(super) struct Load<'a> {
    args: &'a Args,
    region: Region,
    sessions: Vec<Session>,
    workloads: Vec<Workload>,
    ledger: Option<Ledger>,
    counts: Counts,
    /// Commands end within the time that is measured.
    measuring: bool,
    /// The data of writes that nobody compares.
    filler: Vec<u8>,
    buffer: Vec<u8>,
    ended: Vec<Ended>,
}

/// What was measured, and in what time.
pub(super) struct Measured {
    pub(super) counts: Counts,
    pub(super) elapsed: Duration,
    pub(super) client: Duration,
}

impl<'a> Load<'a> {
    pub(super) fn new(args: &'a Args, region: Region, sessions: Vec<Session>) -> Self {
        let count = args.sessions;
        let mix = (args.pattern, args.read);
        let workload = |index| Workload::new(mix, region.slots, (index, count), args.seed);
        Self {
            args,
            region,
            sessions,
            workloads: (0..count).map(workload).collect(),
            ledger: args.verify.then(|| Ledger::new(&region, args.seed)),
            counts: Counts::new(),
            measuring: false,
            filler: vec![0x5a; region.slot_bytes as usize],
            buffer: vec![0; RECEIVE_BYTES],
            ended: Vec::new(),
        }
    }

    /// Warms up, measures, waits for the last answers, reads back what was written, and logs out.
    ///
    /// # Errors
    /// A connection that ends, a breach of the protocol, a command that fails, or data that is not what was written.
    pub(super) fn run(mut self) -> Result<Measured> {
        let warm_up = Duration::from_secs(self.args.warm_up.into());
        self.load_until(Instant::now() + warm_up)?;
        let (start, processor) = (Instant::now(), processor_time());
        self.measuring = true;
        self.load_until(start + Duration::from_secs(self.args.time.into()))?;
        self.measuring = false;
        let (elapsed, client) = (start.elapsed(), processor_time().saturating_sub(processor));
        self.finish()?;
        self.read_back()?;
        self.sessions.drain(..).for_each(Session::leave);
        Ok(Measured {
            counts: self.counts,
            elapsed,
            client,
        })
    }

    /// Keeps every session at its depth until then.
    fn load_until(&mut self, end: Instant) -> Result<()> {
        let shown = !self.args.json && self.measuring && io::stderr().is_terminal();
        let (start, mut last, mut before) = (Instant::now(), Instant::now(), 0);
        while Instant::now() < end {
            for index in 0..self.sessions.len() {
                self.fill(index);
                self.sessions[index].flush()?;
            }
            self.take_answers(end.saturating_duration_since(Instant::now()).min(SECOND))?;
            let since = last.elapsed();
            if shown && since >= SECOND {
                let commands = self.counts.commands();
                let second = start.elapsed().as_secs();
                show(&progress(
                    second,
                    commands - before,
                    since,
                    self.region.slot_bytes,
                ));
                (last, before) = (Instant::now(), commands);
            }
        }
        if shown {
            show("");
        }
        Ok(())
    }

    /// Queues commands of a session up to its depth.
    fn fill(&mut self, index: usize) {
        let now = Instant::now();
        while self.sessions[index].in_flight() < self.args.depth as usize {
            let (direction, wanted) = self.workloads[index].next();
            let slot = match &mut self.ledger {
                None => wanted,
                Some(ledger) => match ledger.take(wanted) {
                    Some(slot) => slot,
                    // As many commands as slots: one has to end first.
                    None => return,
                },
            };
            let data = match direction {
                Direction::Read => Vec::new(),
                Direction::Write => {
                    let mut data = self.filler.clone();
                    if let Some(ledger) = &self.ledger {
                        ledger.fill(slot, &mut data);
                    }
                    data
                }
            };
            self.sessions[index].submit((direction, slot), &self.region, data, now);
        }
    }

    /// Waits for the answers to what is in flight.
    fn finish(&mut self) -> Result<()> {
        let mut heard = Instant::now();
        while self.sessions.iter().any(|session| session.in_flight() > 0) {
            for session in &mut self.sessions {
                session.flush()?;
            }
            if self.take_answers(SECOND)? {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                bail!("the target does not answer within {PATIENCE:?}");
            }
        }
        Ok(())
    }

    /// Reads every slot that was written and compares it, by the first session.
    fn read_back(&mut self) -> Result<()> {
        let written: Vec<u64> = match &self.ledger {
            Some(ledger) => ledger.written().collect(),
            None => return Ok(()),
        };
        for batch in written.chunks(self.args.depth as usize) {
            let now = Instant::now();
            for wanted in batch {
                let slot = self.ledger.as_mut().and_then(|l| l.take(*wanted));
                let slot = slot.context("no slot is free")?;
                self.sessions[0].submit((Direction::Read, slot), &self.region, Vec::new(), now);
            }
            self.finish()?;
        }
        Ok(())
    }

    /// Waits for something to come, at most so long, and works it. Whether anything came.
    fn take_answers(&mut self, longest: Duration) -> Result<bool> {
        let mut came = false;
        for index in readable(&self.sessions, longest)? {
            let session = &mut self.sessions[index];
            session.receive(&mut self.buffer, &mut self.ended)?;
            came = true;
        }
        let now = Instant::now();
        for ended in std::mem::take(&mut self.ended) {
            self.end(ended, now)?;
        }
        Ok(came)
    }

    fn end(&mut self, ended: Ended, now: Instant) -> Result<()> {
        let Ended {
            direction,
            slot,
            started,
            end,
        } = ended;
        let End::Good(data) = end else {
            self.counts.again += u64::from(self.measuring);
            if let Some(ledger) = &mut self.ledger {
                ledger.give_back(slot, false);
            }
            return Ok(());
        };
        if self.measuring {
            let latency = now.saturating_duration_since(started);
            self.counts.of(direction).record(latency);
        }
        let Some(ledger) = &mut self.ledger else {
            return Ok(());
        };
        if direction == Direction::Read {
            if let Err(difference) = ledger.check(slot, &data) {
                let lba = self.region.lba(slot);
                bail!(
                    "wrong data at LBA {lba}, {difference:02x?}: it is not what was written last"
                );
            }
            self.counts.verified += 1;
        }
        ledger.give_back(slot, direction == Direction::Write);
        Ok(())
    }
}

/// The sessions with something to read; those with something to send wake us too.
fn readable(sessions: &[Session], longest: Duration) -> Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = sessions
        .iter()
        .map(|session| {
            let mut flags = PollFlags::IN;
            if session.has_output() {
                flags |= PollFlags::OUT;
            }
            PollFd::from_borrowed_fd(session.socket(), flags)
        })
        .collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: longest.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("poll"),
    }
    let numbered = polled.iter().enumerate();
    let came = |fd: &PollFd<'_>| !(fd.revents() - PollFlags::OUT).is_empty();
    Ok(numbered
        .filter_map(|(index, fd)| came(fd).then_some(index))
        .collect())
}

/// What this process has used of its processors.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn show(line: &str) {
    // Nobody looks any more: the result comes all the same.
    let _unseen = write!(io::stderr(), "{CLEAR_LINE}{line}");
}
