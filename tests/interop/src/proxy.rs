//! A proxy on loopback that knows where PDUs begin, and loses, repeats, damages or delays some of them (RFC 7143 §7). It never
//! changes the order within a connection: TCP does not.
//!
//! It cuts both streams of each connection into PDUs, AHS and digests with them; which are in use it reads from the login. From
//! the full feature phase on each PDU is shown to a plan, once the proxy is armed, and the plan says what happens to it. A
//! PDU is held back whole, so nothing the proxy keeps is larger than the largest PDU.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use iscsi_wire::text::parse_pairs;
use iscsi_wire::{BHS_BYTES, Bhs, DIGEST_BYTES, LoginResponse, Stage, opcode, pad};

use crate::pattern::Random;

/// How long a delay is: longer than an exchange on another connection takes.
const DELAY: Duration = Duration::from_millis(100);
/// A target that takes longer to accept is gone.
const CONNECT: Duration = Duration::from_secs(3);
/// How often a quiet stream looks whether the proxy has ended.
const TICK: Duration = Duration::from_millis(50);

/// Which way a PDU goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the initiator.
    ToTarget,
    /// From the target.
    ToInitiator,
}

/// What happens to a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive.
    Drop,
    /// It arrives twice.
    Repeat,
    /// A bit of its header flips, its lengths excepted; only where headers have a digest.
    CorruptHeader,
    /// A bit of its DataSegmentLength flips; only where headers have a digest.
    CorruptLength,
    /// A bit of its data flips; only where there is data with a digest.
    CorruptData,
    /// It arrives later, and all that follows it on its connection: what other connections carry overtakes it.
    Delay,
    /// The connection ends before it.
    Cut,
    /// The connection ends in the middle of it.
    CutWithin,
}

/// A PDU on its way.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which way.
    pub direction: Direction,
    /// How many of the same direction went before it since the proxy was armed, on all connections.
    pub index: usize,
    /// How many connections were accepted before its own.
    pub connection: usize,
    /// Its header.
    pub bhs: &'a Bhs,
}

/// Says what happens to a PDU; nothing for most.
pub type Plan = Box<dyn FnMut(&Seen<'_>) -> Option<Fault> + Send>;

/// This fault for the PDU with this number in this direction.
#[must_use]
pub fn at(direction: Direction, index: usize, fault: Fault) -> Plan {
    Box::new(move |seen| {
        let hit = (seen.direction, seen.index) == (direction, index);
        hit.then_some(fault)
    })
}

/// One of these faults for one PDU in `one_in`, at most `most` times, by this seed. Never are two headers damaged that arrive one behind the
/// other: whether the first one's length was right is seen by the second, and RFC 7143 §7.8 has the connection end where nothing shows it.
#[must_use]
pub fn random(seed: u64, one_in: u64, most: usize, faults: Vec<Fault>) -> Plan {
    let mut random = Random::new(seed);
    let mut left = most;
    let mut damaged: Vec<(Direction, usize)> = Vec::new();
    Box::new(move |seen| {
        let stream = (seen.direction, seen.connection);
        let fault = (left > 0 && !faults.is_empty() && random.below(one_in) == 0)
            .then(|| random.below(faults.len() as u64))
            .and_then(|which| faults.get(usize::try_from(which).ok()?).copied());
        let after_damage = damaged.contains(&stream);
        match fault {
            Some(Fault::CorruptHeader) if after_damage => return None,
            Some(Fault::CorruptHeader) => damaged.push(stream),
            // What does not arrive shows nothing.
            Some(Fault::Drop) => {}
            _ => damaged.retain(|one| *one != stream),
        }
        left -= usize::from(fault.is_some());
        fault
    })
}

/// A running proxy. Dropped, it ends with all its connections.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    plan: Mutex<Option<Plan>>,
    seen: [AtomicUsize; 2],
    injected: AtomicUsize,
    ended: AtomicBool,
}

impl Proxy {
    /// Listens on loopback for connections to this target. Nothing happens to them before it is armed.
    ///
    /// # Errors
    /// No port.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let shared = Arc::new(Shared {
            target,
            plan: Mutex::new(None),
            seen: [AtomicUsize::new(0), AtomicUsize::new(0)],
            injected: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let address = listener.local_addr()?;
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    break;
                }
                // What the target refuses, the initiator sees as an end.
                let _closed = connect(&of_thread, stream, number);
            }
        });
        Ok(Self { address, shared })
    }

    /// From here on this plan decides. Counts begin at 0.
    pub fn arm(&self, plan: Plan) {
        let mut place = lock(&self.shared.plan);
        for count in &self.shared.seen {
            count.store(0, Ordering::Relaxed);
        }
        self.shared.injected.store(0, Ordering::Relaxed);
        *place = Some(plan);
    }

    /// From here on nothing happens to a PDU. How many went each way since it was armed, to the target first, and how many
    /// faults there were.
    pub fn disarm(&self) -> ([usize; 2], usize) {
        let mut place = lock(&self.shared.plan);
        *place = None;
        let seen = self
            .shared
            .seen
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed));
        (seen, self.shared.injected.load(Ordering::Relaxed))
    }

    /// How many faults there were since it was armed.
    #[must_use]
    pub fn injected(&self) -> usize {
        self.shared.injected.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn fault(&self, direction: Direction, connection: usize, bhs: &Bhs) -> Option<Fault> {
        let mut plan = lock(&self.plan);
        let plan = plan.as_mut()?;
        let count = match direction {
            Direction::ToTarget => &self.seen[0],
            Direction::ToInitiator => &self.seen[1],
        };
        plan(&Seen {
            direction,
            index: count.fetch_add(1, Ordering::Relaxed),
            connection,
            bhs,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both directions of one connection know: the phase and the digests.
#[derive(Default)]
struct Phase(AtomicU8);

impl Phase {
    const FULL_FEATURE: u8 = 1;
    const HEADER_DIGEST: u8 = 2;
    const DATA_DIGEST: u8 = 4;

    fn has(&self, bit: u8) -> bool {
        self.0.load(Ordering::Acquire) & bit != 0
    }
}

fn connect(shared: &Arc<Shared>, initiator: TcpStream, number: usize) -> Result<()> {
    let target = TcpStream::connect_timeout(&shared.target, CONNECT).context("the target")?;
    let phase = Arc::new(Phase::default());
    for stream in [&initiator, &target] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
    }
    let ways = [
        (
            Direction::ToTarget,
            initiator.try_clone()?,
            target.try_clone()?,
        ),
        (Direction::ToInitiator, target, initiator),
    ];
    for (direction, from, to) in ways {
        let pump = Pump {
            shared: Arc::clone(shared),
            phase: Arc::clone(&phase),
            direction,
            connection: number,
            from,
            to,
            agreed: 0,
        };
        std::thread::spawn(move || pump.run());
    }
    Ok(())
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    phase: Arc<Phase>,
    direction: Direction,
    connection: usize,
    from: TcpStream,
    to: TcpStream,
    /// Digests that the login has agreed on so far.
    agreed: u8,
}

impl Pump {
    fn run(mut self) {
        // The end of either side, or a cut, ends both.
        let _ended = self.pump();
        for stream in [&self.from, &self.to] {
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }

    fn pump(&mut self) -> std::io::Result<()> {
        let mut stream = Vec::new();
        let mut bytes = vec![0; 64 * 1024];
        loop {
            while let Some(length) = self.pdu_bytes(&stream) {
                let rest = stream.split_off(length);
                let pdu = core::mem::replace(&mut stream, rest);
                self.pass(pdu)?;
            }
            if self.shared.ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            match self.from.read(&mut bytes) {
                Ok(0) => {
                    // What is left of a PDU goes out as it is.
                    return self.to.write_all(&stream);
                }
                Ok(count) => stream.extend_from_slice(&bytes[..count]),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The length of the PDU that stands first, once it is there.
    fn pdu_bytes(&self, stream: &[u8]) -> Option<usize> {
        let bhs = Bhs(*stream.first_chunk::<BHS_BYTES>()?);
        let data = usize::try_from(bhs.data_segment_length()).ok()?;
        let mut length = BHS_BYTES + usize::from(bhs.total_ahs_bytes());
        if self.phase.has(Phase::HEADER_DIGEST) {
            length += DIGEST_BYTES;
        }
        length += data + pad(data);
        if self.phase.has(Phase::DATA_DIGEST) && data > 0 {
            length += DIGEST_BYTES;
        }
        (stream.len() >= length).then_some(length)
    }

    fn pass(&mut self, mut pdu: Vec<u8>) -> std::io::Result<()> {
        let bhs = Bhs(*pdu.first_chunk::<BHS_BYTES>().unwrap_or(&[0; BHS_BYTES]));
        if !self.phase.has(Phase::FULL_FEATURE) {
            self.watch_login(&bhs, &pdu);
            return self.to.write_all(&pdu);
        }
        let fault = self.shared.fault(self.direction, self.connection, &bhs);
        let fault = fault.filter(|fault| self.is_possible(*fault, &bhs));
        if fault.is_some() {
            self.shared.injected.fetch_add(1, Ordering::Relaxed);
        }
        match fault {
            None => {}
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Repeat) => self.to.write_all(&pdu)?,
            // Any field: which, the PDU's own tag decides.
            Some(Fault::CorruptHeader) => pdu[8 + bhs.0[19] as usize % 40] ^= 0x10,
            Some(Fault::CorruptLength) => pdu[6] ^= 0x04,
            Some(Fault::CorruptData) => {
                let data = usize::from(bhs.total_ahs_bytes()) + BHS_BYTES;
                let digest = usize::from(self.phase.has(Phase::HEADER_DIGEST)) * DIGEST_BYTES;
                pdu[data + digest] ^= 0x01;
            }
            Some(Fault::Delay) => std::thread::sleep(DELAY),
            Some(Fault::Cut) => return Err(ErrorKind::ConnectionAborted.into()),
            Some(Fault::CutWithin) => {
                self.to.write_all(&pdu[..pdu.len() / 2])?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        self.to.write_all(&pdu)
    }

    fn is_possible(&self, fault: Fault, bhs: &Bhs) -> bool {
        match fault {
            Fault::CorruptHeader | Fault::CorruptLength => self.phase.has(Phase::HEADER_DIGEST),
            Fault::CorruptData => {
                self.phase.has(Phase::DATA_DIGEST) && bhs.data_segment_length() > 0
            }
            _ => true,
        }
    }

    /// The target's answers in a login tell which digests there will be, and its last one that they begin.
    fn watch_login(&mut self, bhs: &Bhs, pdu: &[u8]) {
        if self.direction == Direction::ToTarget || bhs.opcode() != opcode::LOGIN_RESPONSE {
            return;
        }
        let data = pdu.get(BHS_BYTES..).unwrap_or_default();
        for (key, value) in parse_pairs(data).flatten() {
            match (key, value) {
                ("HeaderDigest", "CRC32C") => self.agreed |= Phase::HEADER_DIGEST,
                ("DataDigest", "CRC32C") => self.agreed |= Phase::DATA_DIGEST,
                _ => {}
            }
        }
        if let Ok(response) = LoginResponse::parse(bhs)
            && response.transit
            && response.next_stage == Stage::FullFeature
            && response.status.is_success()
        {
            let phase = Phase::FULL_FEATURE | self.agreed;
            self.phase.0.store(phase, Ordering::Release);
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use iscsi_wire::{Itt, NopOut, Ttt};

    use super::*;

    fn ping(itt: u32) -> Vec<u8> {
        let nop = NopOut {
            itt: Itt(itt),
            ttt: Ttt::RESERVED,
            ..NopOut::default()
        };
        nop.emit().0.to_vec()
    }

    /// A connection through a proxy, logged in: what the initiator holds, and what the target does.
    fn pair(proxy: &Proxy, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
        let initiator = TcpStream::connect(proxy.address)?;
        let (mut target, _) = listener.accept()?;
        let response = LoginResponse {
            transit: true,
            next_stage: Stage::FullFeature,
            ..LoginResponse::default()
        };
        target.write_all(&response.emit().0)?;
        let mut header = [0; BHS_BYTES];
        (&initiator).read_exact(&mut header)?;
        Ok((initiator, target))
    }

    /// The tags that arrive when those of 0, 1 and 2 are sent with this fault for the second, until the end.
    fn arriving(fault: Fault) -> Result<Vec<u8>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Proxy::start(listener.local_addr()?)?;
        let (mut initiator, mut target) = pair(&proxy, &listener)?;
        proxy.arm(at(Direction::ToTarget, 1, fault));
        for itt in 0..3 {
            // A cut ends it early.
            let _sent = initiator.write_all(&ping(itt));
        }
        let _closed = initiator.shutdown(Shutdown::Write);
        let mut all = Vec::new();
        let _reset = target.read_to_end(&mut all);
        assert_eq!(proxy.injected(), 1);
        Ok(all
            .chunks(BHS_BYTES)
            .map(|pdu| *pdu.get(19).unwrap_or(&0xff))
            .collect())
    }

    #[test]
    fn pdu_with_a_fault_is_the_one_that_was_named() -> Result<()> {
        assert_eq!(arriving(Fault::Drop)?, [0, 2]);
        assert_eq!(arriving(Fault::Repeat)?, [0, 1, 1, 2]);
        assert_eq!(arriving(Fault::Delay)?, [0, 1, 2]);
        assert_eq!(arriving(Fault::Cut)?, [0]);
        assert_eq!(arriving(Fault::CutWithin)?, [0, 1]);
        Ok(())
    }

    #[test]
    fn random_never_damages_two_headers_that_arrive_one_behind_the_other() {
        let mut plan = random(3, 2, 10_000, vec![Fault::CorruptHeader, Fault::Drop]);
        let bhs = Bhs::zeroed();
        let mut damaged = [false; 4];
        let mut count = 0;
        for index in 0..4000 {
            let (connection, way) = (index / 2 % 2, index % 2);
            let direction = [Direction::ToTarget, Direction::ToInitiator][way];
            let seen = Seen {
                direction,
                index,
                connection,
                bhs: &bhs,
            };
            let last = &mut damaged[connection * 2 + way];
            match plan(&seen) {
                Some(Fault::CorruptHeader) => {
                    assert!(!*last, "{index}");
                    (*last, count) = (true, count + 1);
                }
                Some(_) => {}
                None => *last = false,
            }
        }
        assert!(count > 500, "{count}");
    }

    #[test]
    fn fault_that_a_pdu_cannot_have_does_not_happen() {
        let mut plan = random(7, 3, 5, vec![Fault::Drop, Fault::Delay]);
        let bhs = Bhs::zeroed();
        let faults = (0..1000).filter_map(|index| {
            plan(&Seen {
                direction: Direction::ToTarget,
                index,
                connection: 0,
                bhs: &bhs,
            })
        });
        assert_eq!(faults.count(), 5);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
        let (mut initiator, mut target) = pair(&proxy, &listener).unwrap();
        // No digest: a bit that flips would not be noticed.
        proxy.arm(at(Direction::ToTarget, 0, Fault::CorruptHeader));
        initiator.write_all(&ping(9)).unwrap();
        let mut header = [0; BHS_BYTES];
        target.read_exact(&mut header).unwrap();
        assert_eq!(header[..], ping(9));
        assert_eq!(proxy.disarm(), ([1, 0], 0));
    }
}
