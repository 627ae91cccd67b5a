//! What every handler of a worker needs at hand: the driver, memory, queues, the clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backstores::{IoDone, IoPort, IoRequest};
use iscsi_proto::session::{TaskId, Transmit};
use reactor::{Driver, Op, SendList, Slab, Token};
use scsi::lu::{Abortion, ActionResult, ShardAction, TaskKey};

use super::connection::LinkNews;
use super::control::Control;
use super::peer_log::PeerLog;
use crate::counters::WorkerCounters;
use crate::shared::{Message, Shared, UnitIndex, WorkerId};
use crate::slots::{Key, Slots};
use crate::timers::Timers;

/// Part of the slab that tasks never get, as a share of the budget: without it, writes that wait for their data could hold
/// all the memory that receiving that data takes.
const RECEIVE_RESERVE_SHARE: usize = 8;

/// Part of the slab that one session's tasks may hold, as a share of the budget.
const SESSION_SHARE: usize = 4;

/// Lists kept for reuse.
const SPARE_LISTS: usize = 64;

pub(super) struct Cx {
    pub(super) shared: Arc<Shared>,
    pub(super) id: WorkerId,
    pub(super) driver: Box<dyn Driver>,
    pub(super) slab: Slab,
    /// Read once per turn.
    pub(super) now: Duration,
    pub(super) counters: Arc<WorkerCounters>,
    peer_log: PeerLog,
    /// Requests that a backstore has.
    pub(super) ops: Slots<StoreOp>,
    /// Requests that a backstore is done with.
    pub(super) done: VecDeque<IoDone>,
    /// Requests that a filter holds back, until when.
    pub(super) deferred: Vec<(Duration, UnitIndex, IoRequest)>,
    /// Messages to this worker's own homes and shards.
    pub(super) local: VecDeque<Message>,
    /// What shards have to tell their tasks.
    pub(super) news: VecDeque<(TaskKey, News)>,
    /// Links that may have something to send.
    pub(super) dirty: Vec<Key>,
    /// Tasks that wait for memory, first come first served.
    pub(super) starving: VecDeque<(Key, TaskId)>,
    /// Tasks that have done much at one go, and go on in the next turn.
    pub(super) yielded: VecDeque<(Key, TaskId)>,
    /// Tasks whose next read waited for an earlier window to be gathered.
    pub(super) drained: VecDeque<(Key, TaskId)>,
    /// A task has the one scratch buffer that is lent beyond every share.
    pub(super) emergency: bool,
    /// Sessions whose last logical unit has let go.
    pub(super) ended: Vec<Key>,
    /// What sessions have decided of their connections' links.
    pub(super) link_news: Vec<LinkNews>,
    pub(super) timers: Timers,
    /// The last read that was sent from a store's own memory.
    last_pin: u64,
    /// What tells the LU's home something without being a task.
    pub(super) controls: Slots<Control>,
    pub(super) transmit: Transmit,
    /// Parameter data of the command that is being worked on.
    pub(super) out: Vec<u8>,
    pub(super) actions: Vec<ShardAction>,
    #[expect(
        clippy::vec_box,
        reason = "a list moves into an operation as a box, and comes back as one"
    )]
    lists: Vec<Box<SendList>>,
}

/// A request that a backstore has.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreOp {
    pub(super) owner: Owner,
    pub(super) unit: UnitIndex,
}

/// Whose a request is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Task {
        link: Key,
        task: TaskId,
        key: TaskKey,
    },
    /// The logical unit's own.
    Unit,
}

/// What a shard tells a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Abort(Abortion),
    Wake,
    Granted,
    Completed(ActionResult),
}

impl Cx {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: WorkerId,
        driver: Box<dyn Driver>,
        slab: Slab,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        let now = shared.now();
        Self {
            shared,
            id,
            driver,
            slab,
            now,
            counters,
            peer_log: PeerLog::default(),
            ops: Slots::default(),
            done: VecDeque::new(),
            deferred: Vec::new(),
            local: VecDeque::new(),
            news: VecDeque::new(),
            dirty: Vec::new(),
            starving: VecDeque::new(),
            yielded: VecDeque::new(),
            drained: VecDeque::new(),
            emergency: false,
            ended: Vec::new(),
            link_news: Vec::new(),
            timers: Timers::default(),
            last_pin: 0,
            controls: Slots::default(),
            transmit: Transmit::default(),
            out: Vec::new(),
            actions: Vec::new(),
            lists: Vec::new(),
        }
    }

    /// Sends a message to a worker, this one included. Returns whether it will be read: a worker that has ended takes no part
    /// any more.
    pub(super) fn send(&mut self, to: WorkerId, message: Message) -> bool {
        if to == self.id {
            self.local.push_back(message);
            return true;
        }
        let mailbox = self.shared.mailboxes.get(usize::from(to.0));
        mailbox.is_some_and(|mailbox| mailbox.send(message).is_ok())
    }

    /// Whether one more line about what a peer does may be logged.
    pub(super) fn may_log_peer(&self) -> bool {
        self.peer_log.may_log(self.now)
    }

    /// Memory for a task of a session that holds `held` bytes already; `None`: wait your turn.
    pub(super) fn lend(&self, bytes: usize, held: usize) -> Option<reactor::Buffer> {
        let budget = self.slab.budget_bytes();
        let for_tasks = budget - budget / RECEIVE_RESERVE_SHARE;
        let within_share = held == 0 || held + bytes <= budget / SESSION_SHARE;
        if !within_share || self.slab.used_bytes() + bytes > for_tasks {
            return None;
        }
        self.slab.allocate(bytes)
    }

    /// A number for [`pin_key`].
    pub(super) fn next_pin(&mut self) -> u64 {
        self.last_pin = self.last_pin.wrapping_add(1);
        self.last_pin
    }

    pub(super) fn list(&mut self) -> Box<SendList> {
        self.lists.pop().unwrap_or_default()
    }

    pub(super) fn give_back_list(&mut self, mut list: Box<SendList>) {
        list.clear();
        if self.lists.len() < SPARE_LISTS {
            self.lists.push(list);
        }
    }

    pub(super) fn port(&mut self, unit: UnitIndex) -> Port<'_> {
        Port {
            driver: &mut *self.driver,
            done: &mut self.done,
            deferred: &mut self.deferred,
            now: self.now,
            unit,
        }
    }
}

/// The worker as a backstore sees it.
pub(super) struct Port<'a> {
    driver: &'a mut dyn Driver,
    done: &'a mut VecDeque<IoDone>,
    deferred: &'a mut Vec<(Duration, UnitIndex, IoRequest)>,
    now: Duration,
    unit: UnitIndex,
}

impl IoPort for Port<'_> {
    fn push(&mut self, op: Op, token: Token) {
        self.driver.push(op, token);
    }

    fn complete(&mut self, done: IoDone) {
        self.done.push_back(done);
    }

    fn defer(&mut self, delay: Duration, request: IoRequest) {
        self.deferred
            .push((self.now.saturating_add(delay), self.unit, request));
    }
}

/// What a driver token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accept = 0,
    Recv = 1,
    Send = 2,
    Store = 3,
}

const KIND_SHIFT: u32 = 60;
const INDEX_MASK: u64 = (1 << 28) - 1;

pub(super) fn token(kind: Kind, key: Key) -> Token {
    Token(((kind as u64) << KIND_SHIFT) | (u64::from(key.index) << 32) | u64::from(key.generation))
}

pub(super) fn from_token(token: Token) -> (Kind, Key) {
    let kind = match token.0 >> KIND_SHIFT {
        0 => Kind::Accept,
        1 => Kind::Recv,
        2 => Kind::Send,
        _ => Kind::Store,
    };
    let index = u32::try_from((token.0 >> 32) & INDEX_MASK).unwrap_or(u32::MAX);
    let generation = u32::try_from(token.0 & u64::from(u32::MAX)).unwrap_or(0);
    (kind, Key { index, generation })
}

/// Links of a worker that a task's name can tell apart.
const LINK_MASK: u32 = 0x003f_ffff;

/// The name of a task at its LU's shard: link, slot in the session's slab, and a serial number against reuse.
pub(super) fn task_key(link: Key, task: TaskId, serial: u32) -> TaskKey {
    let link = u64::from(link.index & LINK_MASK) << 40;
    TaskKey(link | (u64::from(task.0 & 0xffff) << 24) | u64::from(serial & 0x00ff_ffff))
}

/// Link index and slot of a task's name.
pub(super) fn from_task_key(key: TaskKey) -> (u32, TaskId) {
    let link = u32::try_from((key.0 >> 40) & u64::from(LINK_MASK)).unwrap_or(u32::MAX);
    let task = u32::try_from((key.0 >> 24) & 0xffff).unwrap_or(u32::MAX);
    (link, TaskId(task))
}

const CONTROL_BIT: u64 = 1 << 63;

const PIN_BIT: u64 = 1 << 62;

/// The name of a read that is sent from the store's own memory: an I/O until the socket has taken it, and nothing else any more.
pub(super) fn pin_key(number: u64) -> TaskKey {
    TaskKey(PIN_BIT | (number & (PIN_BIT - 1)))
}

/// Whether it is such a name.
pub(super) fn is_pin_key(key: TaskKey) -> bool {
    key.0 & (CONTROL_BIT | PIN_BIT) == PIN_BIT
}

/// The name of something that is not a task but asks the LU's home.
pub(super) fn control_key(key: Key) -> TaskKey {
    TaskKey(CONTROL_BIT | (u64::from(key.index & 0x7fff_ffff) << 32) | u64::from(key.generation))
}

pub(super) fn from_control_key(key: TaskKey) -> Option<Key> {
    if key.0 & CONTROL_BIT == 0 {
        return None;
    }
    let index = u32::try_from((key.0 >> 32) & 0x7fff_ffff).ok()?;
    let generation = u32::try_from(key.0 & u64::from(u32::MAX)).ok()?;
    Some(Key { index, generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_encoding() {
        let key = Key {
            index: 0x0abc_def1,
            generation: 0xffff_fffe,
        };
        for kind in [Kind::Accept, Kind::Recv, Kind::Send, Kind::Store] {
            assert_eq!(from_token(token(kind, key)), (kind, key));
        }
        let link = Key {
            index: 77,
            generation: 9,
        };
        let task = task_key(link, TaskId(300), 0xff_ffff);
        assert_eq!(from_task_key(task), (77, TaskId(300)));
        assert_eq!(from_control_key(task), None);
        assert_eq!(from_control_key(control_key(key)), Some(key));
        let far = Key {
            index: LINK_MASK,
            generation: 1,
        };
        for (name, is_pin) in [
            (task_key(far, TaskId(u32::MAX), u32::MAX), false),
            (control_key(key), false),
            (pin_key(u64::MAX), true),
            (pin_key(1), true),
        ] {
            assert_eq!(is_pin_key(name), is_pin);
        }
        assert_eq!(from_control_key(pin_key(7)), None);
    }
}
