//! The thread of one helper: connects, asks, reads, keeps the deadlines.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use auth::PolicyRequest;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::HelperConfig;
use super::cache::Cache;
use super::connection::Connection;
use super::protocol::{Hello, HelperPolicy, Line, emit_hello, parse_hello, parse_line};
use super::question::{Asked, BuiltIn, Question};

/// The shortest time between two attempts to connect, and the first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts that nobody asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The shortest time between two lines in the log about a helper that fails.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// Reads of one turn: a helper that never stops sending does not keep the deadlines from being kept.
const READS_PER_TURN: usize = 8;

/// The near side of the thread. Dropped, it ends the thread, which answers everything first.
pub(super) struct Client {
    config: HelperConfig,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What both sides see.
struct Shared {
    inbox: Mutex<Inbox>,
    cache: Mutex<Cache>,
    /// Questions without an answer.
    open: AtomicUsize,
    /// A byte into it wakes the thread.
    bell: UnixStream,
}

#[derive(Default)]
struct Inbox {
    questions: VecDeque<Question>,
    /// Nothing more is taken: the thread has ended, or is to.
    closed: bool,
}

/// A question's place among those that may be open.
pub(super) struct Slot(Arc<Shared>);

struct Worker {
    config: HelperConfig,
    shared: Arc<Shared>,
    bell: UnixStream,
    link: Link,
    /// Asked. Numbers rise, and so do deadlines.
    asked: BTreeMap<u64, Question>,
    /// Not yet asked, in order.
    waiting: VecDeque<Question>,
    next_id: u64,
    pause: Duration,
    logged: Option<Instant>,
}

enum Link {
    Down {
        /// An attempt that a question asks for is not made before.
        earliest: Instant,
        /// An attempt is made without a question.
        next: Instant,
    },
    /// Our hello is out.
    Greeting {
        connection: Connection,
        deadline: Instant,
    },
    Up {
        connection: Connection,
        hello: Hello,
    },
}

impl Client {
    pub(super) fn start(config: HelperConfig) -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            cache: Mutex::default(),
            open: AtomicUsize::new(0),
            bell,
        });
        let now = Instant::now();
        let worker = Worker {
            config: config.clone(),
            shared: Arc::clone(&shared),
            bell: heard,
            link: Link::Down {
                earliest: now,
                next: now,
            },
            asked: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_id: 0,
            pause: FIRST_PAUSE,
            logged: None,
        };
        let thread = std::thread::Builder::new()
            .name("auth-helper".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            config,
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn config(&self) -> &HelperConfig {
        &self.config
    }

    /// A policy that the helper said still holds.
    pub(super) fn cached(&self, request: &PolicyRequest) -> Option<HelperPolicy> {
        self.shared.cache().find(request, Instant::now())
    }

    /// Puts a question into the queue.
    ///
    /// # Errors
    /// There is no room, or nobody to ask: the question comes back.
    pub(super) fn ask(&self, asked: Asked, built_in: &BuiltIn) -> Result<(), Asked> {
        let Some(slot) = self.shared.slot(self.config.max_questions) else {
            return Err(asked);
        };
        {
            let mut inbox = self.shared.inbox();
            let Some(deadline) = Instant::now().checked_add(self.config.timeout) else {
                return Err(asked);
            };
            if inbox.closed {
                return Err(asked);
            }
            inbox.questions.push_back(Question {
                asked,
                built_in: built_in.clone(),
                deadline,
                _slot: slot,
            });
        }
        self.shared.ring();
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.inbox().closed = true;
        self.shared.ring();
        let thread = self.thread.take();
        // The last owner may be an answer's receiver, which the thread itself calls: it ends on its own then.
        let other = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        if let Some(thread) = other {
            // A panic has been printed and has closed the inbox.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Full: then the thread will wake anyway.
        let _rung = io::Write::write(&mut &self.bell, &[1]);
    }

    fn slot(self: &Arc<Self>, most: usize) -> Option<Slot> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Made first, so that it is given back where there was no room.
        let slot = Slot(Arc::clone(self));
        (before < most).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    fn run(mut self) {
        while self.take_questions() {
            self.expire(Instant::now());
            self.connect(Instant::now());
            self.ask();
            self.wait();
            self.read();
        }
    }

    /// Takes what has been asked. `false`: it is time to end.
    fn take_questions(&mut self) -> bool {
        let mut inbox = self.shared.inbox();
        self.waiting.append(&mut inbox.questions);
        !inbox.closed
    }

    /// Refuses what has waited long enough.
    fn expire(&mut self, now: Instant) {
        while let Some(first) = self.asked.first_entry() {
            if now < first.get().deadline {
                break;
            }
            tracing::debug!(helper = %self.helper(), "authentication helper: no answer in time");
            if let Some((_, question)) = self.asked.pop_first() {
                question.refuse();
            }
        }
        while let Some(question) = self.waiting.pop_front_if(|first| first.deadline <= now) {
            question.refuse();
        }
        if matches!(&self.link, Link::Greeting { deadline, .. } if *deadline <= now) {
            self.fail("it says no hello in time");
        }
    }

    /// Connects where it is time to. Without a connection nothing waits: what is asked meanwhile is refused at once.
    fn connect(&mut self, now: Instant) {
        let Link::Down { earliest, next } = self.link else {
            return;
        };
        if now >= next || (now >= earliest && !self.waiting.is_empty()) {
            match greet(&self.config.socket) {
                Ok(connection) => {
                    let deadline = now.checked_add(self.config.timeout).unwrap_or(now);
                    self.link = Link::Greeting {
                        connection,
                        deadline,
                    };
                    return;
                }
                Err(error) => self.fail(&error.to_string()),
            }
        }
        for question in self.waiting.drain(..) {
            question.refuse();
        }
    }

    /// Sends questions, as many as there is room for.
    fn ask(&mut self) {
        if let Err(error) = self.send() {
            self.fail(&error.to_string());
        }
    }

    fn send(&mut self) -> io::Result<()> {
        match &mut self.link {
            Link::Down { .. } => Ok(()),
            Link::Greeting { connection, .. } => connection.flush(),
            Link::Up { connection, hello } => loop {
                while connection.takes_more()
                    && let Some(question) = self.waiting.pop_front()
                {
                    let id = self.next_id;
                    self.next_id = self.next_id.wrapping_add(1);
                    if question.emit(id, hello, connection.outbound()).is_ok() {
                        self.asked.insert(id, question);
                    } else {
                        question.refuse();
                    }
                }
                connection.flush()?;
                // What still waits now waits for the socket, which wakes us.
                if self.waiting.is_empty() || !connection.takes_more() {
                    return Ok(());
                }
            },
        }
    }

    /// Until there is something to do.
    fn wait(&mut self) {
        let deadlines = [
            self.asked.values().next().map(|first| first.deadline),
            self.waiting.front().map(|first| first.deadline),
            match &self.link {
                Link::Down { next, .. } => Some(*next),
                Link::Greeting { deadline, .. } => Some(*deadline),
                Link::Up { .. } => None,
            },
        ];
        let now = Instant::now();
        let left = deadlines.into_iter().flatten().min();
        let left = left.and_then(|until| {
            // Rounded up, so that what is due is due when poll returns.
            let left = until.saturating_duration_since(now);
            Timespec::try_from(left.saturating_add(Duration::from_micros(1))).ok()
        });
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        if let Some(connection) = self.link.connection() {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, connection.has_outbound());
            fds.push(PollFd::new(connection, flags));
        }
        if let Err(error) = rustix::event::poll(&mut fds, left.as_ref())
            && error != rustix::io::Errno::INTR
        {
            // Out of memory for a moment: a turn later, not at full speed.
            std::thread::sleep(FIRST_PAUSE);
        }
        let mut rung = [0; 256];
        while let Ok(1..) = io::Read::read(&mut &self.bell, &mut rung) {}
    }

    /// Takes what the helper has sent.
    fn read(&mut self) {
        for _ in 0..READS_PER_TURN {
            let read = match self.link.connection_mut() {
                None => return,
                Some(connection) => connection.fill(),
            };
            match read {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.fail("it closed the connection");
                }
                Err(error) => return self.fail(&error.to_string()),
            }
            loop {
                let line = match self.link.connection_mut() {
                    None => return,
                    Some(connection) => connection.next_line(),
                };
                match line {
                    Ok(None) => break,
                    Ok(Some(line)) => self.take_line(&line),
                    Err(malformed) => return self.fail(malformed.0),
                }
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let down = Link::Down {
            earliest: Instant::now(),
            next: Instant::now(),
        };
        match std::mem::replace(&mut self.link, down) {
            Link::Greeting { connection, .. } => match parse_hello(line) {
                Ok(hello) => {
                    tracing::info!(helper = %self.helper(), "authentication helper: connected");
                    // Another helper, or the same with other settings.
                    self.shared.cache().clear();
                    self.link = Link::Up { connection, hello };
                }
                Err(malformed) => self.fail(malformed.0),
            },
            Link::Up { connection, hello } => match parse_line(line) {
                Ok(Line::Forget) => {
                    self.shared.cache().clear();
                    self.link = Link::Up { connection, hello };
                }
                Ok(Line::Answer { id, answer }) => {
                    self.answer(id, answer, &hello);
                    self.link = Link::Up { connection, hello };
                }
                Err(malformed) => self.fail(malformed.0),
            },
            down @ Link::Down { .. } => self.link = down,
        }
    }

    fn answer(&mut self, id: u64, answer: super::protocol::Body, hello: &Hello) {
        let Some(question) = self.asked.remove(&id) else {
            // Late, a second time, or to a question that was never asked: nobody waits for it.
            tracing::debug!(helper = %self.helper(), id, "authentication helper: an answer to nothing");
            return;
        };
        let keep = |request: &PolicyRequest, policy: &HelperPolicy, holds| {
            let mut cache = self.shared.cache();
            cache.insert(request, policy.clone(), holds, Instant::now());
        };
        match question.answer(answer, hello, keep) {
            Ok(()) => self.pause = FIRST_PAUSE,
            Err(malformed) => self.complain(malformed.0),
        }
    }

    /// Gives the connection up. Everything that waits is refused: the helper has forgotten it.
    fn fail(&mut self, why: &str) {
        let now = Instant::now();
        let later = |pause| now.checked_add(pause).unwrap_or(now);
        self.link = Link::Down {
            earliest: later(FIRST_PAUSE),
            next: later(self.pause),
        };
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        self.complain(why);
        for question in std::mem::take(&mut self.asked).into_values() {
            question.refuse();
        }
        for question in self.waiting.drain(..) {
            question.refuse();
        }
    }

    fn complain(&mut self, why: &str) {
        let now = Instant::now();
        if self
            .logged
            .is_none_or(|last| now.saturating_duration_since(last) >= LOG_PAUSE)
        {
            self.logged = Some(now);
            tracing::warn!(helper = %self.helper(), reason = why, "authentication helper");
        }
    }

    fn helper(&self) -> std::path::Display<'_> {
        self.config.socket.display()
    }
}

/// However the thread ends, nothing is left without an answer, and nothing more is taken.
impl Drop for Worker {
    fn drop(&mut self) {
        let left = {
            let mut inbox = self.shared.inbox();
            inbox.closed = true;
            std::mem::take(&mut inbox.questions)
        };
        let asked = std::mem::take(&mut self.asked).into_values();
        for question in asked.chain(self.waiting.drain(..)).chain(left) {
            question.refuse();
        }
    }
}

impl Link {
    const fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Down { .. } => None,
            Self::Greeting { connection, .. } | Self::Up { connection, .. } => Some(connection),
        }
    }

    const fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Down { .. } => None,
            Self::Greeting { connection, .. } | Self::Up { connection, .. } => Some(connection),
        }
    }
}

/// A connection with our hello on its way.
fn greet(path: &Path) -> io::Result<Connection> {
    let mut connection = Connection::open(path)?;
    emit_hello(connection.outbound())
        .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed.0))?;
    connection.flush()?;
    Ok(connection)
}
