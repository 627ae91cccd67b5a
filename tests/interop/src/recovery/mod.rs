//! Our own initiator over several sockets, recovering as far as its session has agreed on (RFC 7143 §7), and the scenarios that try
//! it against a target behind a [`crate::proxy::Proxy`].

mod link;
pub mod scenario;
pub mod soak;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use initiator::{CommandDone, Config, Delivery, Event, Initiator, Params, Repairs, Session};
use iscsi_wire::{
    Cid, Itt, LogoutReason, LogoutResponseCode, TaskManagementFunction, TaskManagementResponseCode,
};

use crate::client::{cdb16, lun64};
use crate::process::{Process, daemon_on};
use crate::target::{Driver, TARGET_NAME};
use link::{Link, Received};

/// How often the session is told the time.
const TICK: Duration = Duration::from_millis(20);
/// A logout for recovery that takes longer is tried again.
const LOGOUT: Duration = Duration::from_secs(4);
/// A connection whose login takes longer is tried again.
const LOGIN: Duration = Duration::from_secs(10);

/// Which connection takes a lost one's tasks over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heir {
    /// Another that is there, by a Logout for recovery; else one with the CID of the lost.
    #[default]
    Another,
    /// A new one with the CID of the lost, whose login is the logout.
    SameCid,
    /// A new one with a new CID, then a Logout for recovery on it.
    NewCid,
}

/// A daemon whose sessions may have this level and this many connections, with segments as short as
/// [`scenario::keys`] has them; its portal too. It ends when dropped.
///
/// # Errors
/// It does not start.
pub fn daemon(
    folder: &Path,
    driver: Driver,
    level: u8,
    connections: u16,
) -> Result<(Process, SocketAddr)> {
    let portal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let desired = format!(
        r#"
[[backstore]]
name = "disk"
type = "ram"
size = "32MiB"

[[target]]
name = "{TARGET_NAME}"

[[target.tpg]]
portals = ["{portal}"]
generate_node_acls = true
luns = [{{ lun = 0, backstore = "disk" }}]
param = {{ MaxConnections = {connections}, ErrorRecoveryLevel = {level}, DefaultTime2Wait = 0, MaxRecvDataSegmentLength = 4096 }}
"#
    );
    Ok((daemon_on(folder, &desired, driver)?, portal))
}

/// Who logs in, where, and how.
#[derive(Clone, Debug)]
pub struct Who {
    /// The target's portal, or a proxy's.
    pub portal: SocketAddr,
    /// The target's name.
    pub target: String,
    /// The initiator's number, part of its name.
    pub number: u8,
    /// Operational keys in place of the usual ones.
    pub keys: Vec<(String, String)>,
    /// Connections of the session.
    pub connections: u16,
    /// The unit that is read and written.
    pub lun: u8,
    /// Where it is, from there on: 2,048 blocks.
    pub first_lba: u64,
    /// An exchange that takes longer has hung.
    pub patience: Duration,
}

/// A session that need not lose anything with a connection.
pub struct Many {
    who: Who,
    session: Session,
    links: BTreeMap<u16, Link>,
    sender: mpsc::Sender<Received>,
    received: mpsc::Receiver<Received>,
    started: Instant,
    next_link: u64,
    done: BTreeMap<Itt, CommandDone>,
    /// Answers to what is no command.
    answered: BTreeSet<Itt>,
    managed: BTreeMap<Itt, TaskManagementResponseCode>,
    lost: BTreeSet<Itt>,
    /// Lost connections whose logout is on its way: over which other, by which request, since when.
    logging_out: BTreeMap<u16, (u16, Itt, Instant)>,
    not_before: Instant,
    /// Whether the session is asked to end.
    leaves: bool,
    /// Who takes over.
    pub heir: Heir,
    /// What the target did against the RFC, and what else is worth telling.
    pub remarks: BTreeSet<String>,
    /// Bytes of a block.
    pub block_bytes: usize,
}

impl Many {
    /// Logs all connections in.
    ///
    /// # Errors
    /// A login is refused or not answered.
    pub fn login(who: Who) -> Result<Self> {
        let name = format!("iqn.2026-11.org.example:many{}", who.number);
        let mut config = Config::normal(&name, &who.target);
        config.isid.0[5] = who.number;
        config.patience = Duration::from_millis(250);
        for (key, value) in &who.keys {
            config = config.with_key(key, value);
        }
        let (sender, received) = mpsc::channel();
        let mut many = Self {
            session: Session::new(config),
            links: BTreeMap::new(),
            sender,
            received,
            started: Instant::now(),
            next_link: 0,
            done: BTreeMap::new(),
            answered: BTreeSet::new(),
            managed: BTreeMap::new(),
            lost: BTreeSet::new(),
            logging_out: BTreeMap::new(),
            not_before: Instant::now(),
            leaves: false,
            heir: Heir::default(),
            remarks: BTreeSet::new(),
            block_bytes: 0,
            who,
        };
        many.connect(Cid(0))?;
        many.session.on(Cid(0), Initiator::start_login);
        many.until("a login", |many| many.is_up(Cid(0)))?;
        for cid in 1..many.who.connections {
            many.connect(Cid(cid))?;
            many.session.join(Cid(cid));
            many.until("a further login", |many| many.is_up(Cid(cid)))?;
        }
        many.become_ready()?;
        Ok(many)
    }

    /// What was negotiated.
    #[must_use]
    pub const fn params(&self) -> &Params {
        self.session.params()
    }

    /// What was repaired.
    #[must_use]
    pub fn repairs(&self) -> Repairs {
        self.session.repairs()
    }

    /// Where its part of the unit begins.
    #[must_use]
    pub const fn first_lba(&self) -> u64 {
        self.who.first_lba
    }

    /// A connection by number, whichever are there.
    #[must_use]
    pub fn cid(&self, number: usize) -> Cid {
        let up: Vec<Cid> = self.session.cids().filter(|cid| self.is_up(*cid)).collect();
        up.get(number % up.len().max(1)).copied().unwrap_or(Cid(0))
    }

    /// Queues a WRITE(16).
    ///
    /// # Errors
    /// No connection comes up.
    pub fn write(&mut self, cid: Cid, lba: u64, data: Vec<u8>) -> Result<Itt> {
        let cdb = cdb16(0x8a, lba, data.len() / self.block_bytes.max(1));
        let lun = lun64(self.who.lun);
        self.on(cid, |one| one.command(lun, &cdb, data, 0))
    }

    /// Queues a READ(16) of this many blocks.
    ///
    /// # Errors
    /// No connection comes up.
    pub fn read(&mut self, cid: Cid, lba: u64, blocks: usize) -> Result<Itt> {
        let bytes = u32::try_from(blocks * self.block_bytes)?;
        let cdb = cdb16(0x88, lba, blocks);
        let lun = lun64(self.who.lun);
        self.on(cid, |one| one.command(lun, &cdb, Vec::new(), bytes))
    }

    /// Has this connection do something, or another where it is down.
    fn on<R>(&mut self, cid: Cid, act: impl FnOnce(&mut Initiator) -> R) -> Result<R> {
        let any_is_up = |many: &Self| many.session.cids().any(|cid| many.is_up(cid));
        self.until("a connection", any_is_up)?;
        let cid = if self.is_up(cid) { cid } else { self.cid(0) };
        Ok(self.session.on(cid, act))
    }

    /// The end of a command.
    ///
    /// # Errors
    /// It does not come, or is not GOOD.
    pub fn wait(&mut self, itt: Itt) -> Result<CommandDone> {
        self.until("a command's status", |many| {
            many.done.contains_key(&itt) || many.lost.contains(&itt)
        })?;
        let done = self.done.remove(&itt);
        let done = done.context("a command is lost with its connection")?;
        ensure!(
            (done.response, done.status) == (0, 0),
            "response {}, status {:#04x}, sense {:02x?}",
            done.response,
            done.status,
            done.sense
        );
        Ok(done)
    }

    /// The end of a command; `None`: the target had no memory for it (TASK SET FULL), and it is to be sent again.
    ///
    /// # Errors
    /// It does not come, or is another than GOOD.
    pub fn wait_for_room(&mut self, itt: Itt) -> Result<Option<CommandDone>> {
        const TASK_SET_FULL: u8 = 0x28;
        self.until("a command's status", |many| {
            many.done.contains_key(&itt) || many.lost.contains(&itt)
        })?;
        let is_full = |done: &CommandDone| (done.response, done.status) == (0, TASK_SET_FULL);
        if self.done.get(&itt).is_some_and(is_full) {
            self.done.remove(&itt);
            return Ok(None);
        }
        self.wait(itt).map(Some)
    }

    /// Pings, in the order of commands, and waits for the answer.
    ///
    /// # Errors
    /// None comes.
    pub fn ping(&mut self, cid: Cid) -> Result<()> {
        let itt = self.on(cid, |one| one.ping(b"ping", Delivery::Ordered))?;
        self.wait_answered(itt)
    }

    /// Declares another length of the data segments that it takes, in bytes, and waits until that holds (RFC 7143 §13.12).
    ///
    /// # Errors
    /// No answer comes.
    pub fn declare_segments(&mut self, cid: Cid, bytes: u32) -> Result<()> {
        let itt = self.on(cid, |one| one.declare_max_recv_data_segment_length(bytes))?;
        self.wait_answered(itt)
    }

    /// Asks for the addresses of its own target, and waits for the answer.
    ///
    /// # Errors
    /// None comes.
    pub fn send_targets(&mut self, cid: Cid) -> Result<()> {
        let target = self.who.target.clone();
        let itt = self.on(cid, |one| one.send_targets(&target))?;
        self.wait_answered(itt)
    }

    fn wait_answered(&mut self, itt: Itt) -> Result<()> {
        self.until("an answer", |many| {
            many.answered.contains(&itt) || many.lost.contains(&itt)
        })?;
        // RFC 7143 §11.5.1: what is no SCSI task does not survive its connection.
        let lost = self.lost.remove(&itt);
        ensure!(lost || self.answered.remove(&itt));
        Ok(())
    }

    /// ABORT TASK SET, in the order of commands, with its response.
    ///
    /// # Errors
    /// None comes, or another than that it is complete.
    pub fn abort_task_set(&mut self, cid: Cid) -> Result<()> {
        let lun = lun64(self.who.lun);
        let function = TaskManagementFunction::AbortTaskSet;
        let itt = self.on(cid, |one| {
            one.task_management(function, lun, None, Delivery::Ordered)
        })?;
        self.until("a task management response", |many| {
            many.managed.contains_key(&itt) || many.lost.contains(&itt)
        })?;
        let response = self.managed.remove(&itt);
        let complete = TaskManagementResponseCode::FunctionComplete;
        ensure!(
            response.is_none_or(|response| response == complete),
            "ABORT TASK SET: {response:?}"
        );
        Ok(())
    }

    /// Closes the session in order.
    ///
    /// # Errors
    /// The target does not answer it.
    pub fn logout(mut self) -> Result<()> {
        let cid = self.cid(0);
        let itt = self.on(cid, |one| {
            one.logout(LogoutReason::CloseSession, Delivery::Immediate)
        })?;
        self.leaves = true;
        self.wait_answered(itt)
    }

    /// Closes one connection in order.
    ///
    /// # Errors
    /// The target does not answer it.
    pub fn leave(&mut self, cid: Cid) -> Result<()> {
        let itt = self.on(cid, |one| {
            one.logout(LogoutReason::CloseConnection, Delivery::Ordered)
        })?;
        self.wait_answered(itt)?;
        self.session.forget(cid);
        self.links.remove(&cid.0);
        Ok(())
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// The login is refused or not answered.
    pub fn join(&mut self, cid: Cid) -> Result<()> {
        self.connect(cid)?;
        self.session.join(cid);
        self.until("a login", |many| many.is_up(cid))
    }

    /// Ends a connection as a broken network would.
    pub fn cut(&mut self, cid: Cid) {
        self.links.remove(&cid.0);
        self.fail(cid);
    }

    /// Lets some time pass, in which the session does what is due.
    ///
    /// # Errors
    /// The session is lost.
    pub fn idle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Connections again as at the start, and nothing that waits.
    ///
    /// # Errors
    /// They cannot be had.
    pub fn settle(&mut self) -> Result<()> {
        self.until("recovery's end", |many| {
            many.session.lost().next().is_none() && many.session.cids().any(|cid| many.is_up(cid))
        })?;
        for cid in 0..u16::MAX {
            let up = self.session.cids().filter(|cid| self.is_up(*cid)).count();
            if up >= usize::from(self.who.connections) {
                break;
            }
            if !self.is_up(Cid(cid)) {
                self.join(Cid(cid))?;
            }
        }
        let mut waiting = self.session.cids().filter_map(|cid| {
            let connection = self.session.connection(cid)?;
            connection.outstanding().next()
        });
        let left = waiting.next();
        ensure!(left.is_none(), "a request is never answered");
        Ok(())
    }

    fn is_up(&self, cid: Cid) -> bool {
        self.links.contains_key(&cid.0)
            && self
                .session
                .connection(cid)
                .is_some_and(Initiator::is_full_feature)
    }

    fn connect(&mut self, cid: Cid) -> Result<()> {
        self.next_link += 1;
        let link = Link::connect(self.who.portal, cid, self.next_link, self.sender.clone())?;
        self.links.insert(cid.0, link);
        Ok(())
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let start = Instant::now();
        while !is_so(self) {
            ensure!(start.elapsed() < self.who.patience, "{what} does not come");
            self.turn()?;
        }
        Ok(())
    }

    /// Sends what there is, takes what has come, and does what is due.
    fn turn(&mut self) -> Result<()> {
        self.send();
        let first = self.received.recv_timeout(TICK).ok();
        let rest: Vec<Received> = self.received.try_iter().collect();
        for received in first.into_iter().chain(rest) {
            self.take(received)?;
        }
        for (_, event) in self.session.handle_time(self.started.elapsed()) {
            self.handle(event)?;
        }
        if !self.leaves {
            self.fail_closed();
            self.recover()?;
        }
        self.send();
        Ok(())
    }

    fn send(&mut self) {
        let cids: Vec<u16> = self.links.keys().copied().collect();
        for cid in cids {
            if self.session.connection(Cid(cid)).is_none() {
                continue;
            }
            let bytes = self.session.on(Cid(cid), Initiator::take_output);
            if let Some(link) = self.links.get_mut(&cid) {
                // A socket that is closed tells so by its end.
                let _closed = link.send(&bytes);
            }
        }
    }

    fn take(&mut self, received: Received) -> Result<()> {
        let cid = received.cid;
        let is_current = self
            .links
            .get(&cid.0)
            .is_some_and(|link| link.number == received.number);
        if !is_current || self.session.connection(cid).is_none() {
            return Ok(());
        }
        match received.bytes {
            Some(bytes) => {
                let events = self.session.on(cid, |one| one.handle_bytes(&bytes));
                for event in events {
                    self.handle(event)?;
                }
            }
            None => self.fail(cid),
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::CommandDone(done) => {
                self.done.insert(done.itt, done);
            }
            Event::Ponged { itt, .. } | Event::TextDone { itt, .. } => {
                self.answered.insert(itt);
            }
            Event::TaskManaged { itt, response, .. } => {
                self.managed.insert(itt, response);
            }
            Event::Lost { itt } => {
                self.lost.insert(itt);
            }
            Event::Reassigned { itt, response } => {
                if response != TaskManagementResponseCode::FunctionComplete {
                    self.remarks.insert(format!("TASK REASSIGN: {response:?}"));
                    self.lost.insert(itt);
                }
            }
            Event::LoggedOut(response) => {
                self.answered.insert(response.itt);
                if response.response != LogoutResponseCode::Closed {
                    self.remarks
                        .insert(format!("logout: {:?}", response.response));
                }
                let over = response.itt;
                self.logging_out.retain(|_, (_, itt, _)| *itt != over);
            }
            Event::LoginFailed { status, .. } => {
                if self.session.tsih().0 == 0 || self.session.lost().next().is_none() {
                    bail!("the login is refused: {status}");
                }
                self.remarks
                    .insert(format!("a login was refused: {status}"));
                self.not_before = Instant::now() + Duration::from_secs(1);
            }
            Event::Rejected { reject, .. } => {
                self.remarks.insert(format!("Reject: {:?}", reject.reason));
            }
            Event::Violation(violation) => {
                self.remarks.insert(without_tags(&violation.to_string()));
            }
            Event::Unmatched(pdu, _) => {
                let pdu = format!("{pdu:?}");
                let name = pdu.split('(').next().unwrap_or_default();
                self.remarks.insert(format!("an answer to nothing: {name}"));
            }
            Event::Async { message, .. } => {
                self.remarks
                    .insert(format!("Async: {:?}", message.async_event));
            }
            Event::LoggedIn | Event::Pinged { .. } | Event::R2t(_) | Event::Received(_) => {}
        }
        Ok(())
    }

    /// Connections that the session has given up are closed.
    fn fail_closed(&mut self) {
        let cids: Vec<Cid> = self.session.cids().collect();
        for cid in cids {
            let closed = self
                .session
                .connection(cid)
                .is_some_and(Initiator::is_closed);
            if closed {
                self.fail(cid);
            }
        }
        let hung = |link: &Link| link.since.elapsed() > LOGIN;
        let hanging: Vec<u16> = self
            .links
            .iter()
            .filter(|(cid, link)| hung(link) && !self.is_up(Cid(**cid)))
            .map(|(cid, _)| *cid)
            .collect();
        for cid in hanging {
            self.remarks.insert("a login was not answered".to_owned());
            self.fail(Cid(cid));
        }
    }

    fn fail(&mut self, cid: Cid) {
        self.links.remove(&cid.0);
        self.logging_out.retain(|_, (over, ..)| *over != cid.0);
        if self.session.connection(cid).is_some() {
            self.session.lose(cid);
            let wait = Duration::from_secs(self.params().default_time2wait);
            self.not_before = self.not_before.max(Instant::now() + wait);
        }
    }

    /// RFC 7143 §7.1.4.3: what is lost is logged out and taken over.
    fn recover(&mut self) -> Result<()> {
        let lost: Vec<Cid> = self.session.lost().collect();
        let level = self.params().error_recovery_level;
        let is_up = self.session.cids().any(|cid| self.is_up(cid));
        let is_joining = self.links.keys().any(|cid| !self.is_up(Cid(*cid)));
        ensure!(
            is_up || is_joining || level == 2,
            "the session's last connection is lost at level {level}: {:?}",
            self.remarks
        );
        if lost.is_empty() || is_joining || Instant::now() < self.not_before {
            return Ok(());
        }
        let heir = match self.heir {
            Heir::Another if !is_up => Heir::SameCid,
            heir => heir,
        };
        let over = self.cid(0);
        // A logout is immediate: one that was dropped on its way is missed by nobody but us.
        self.logging_out
            .retain(|_, (.., since)| since.elapsed() < LOGOUT);
        match heir {
            Heir::SameCid => {
                self.connect(lost[0])?;
                self.session.join(lost[0]);
            }
            Heir::NewCid if !is_up => {
                let new = Cid(lost.iter().map(|cid| cid.0).max().unwrap_or(0) + 1);
                self.connect(new)?;
                self.session.join(new);
            }
            Heir::Another | Heir::NewCid => {
                for cid in lost {
                    if !self.logging_out.contains_key(&cid.0) {
                        let itt = self.session.recover(over, cid);
                        self.logging_out
                            .insert(cid.0, (over.0, itt, Instant::now()));
                    }
                }
            }
        }
        Ok(())
    }

    /// TEST UNIT READY until it is, then the capacity.
    fn become_ready(&mut self) -> Result<()> {
        let lun = lun64(self.who.lun);
        for _ in 0..8 {
            let itt = self.on(Cid(0), |one| one.command(lun, &[0; 6], Vec::new(), 0))?;
            self.until("a status", |many| many.done.contains_key(&itt))?;
            if self.done.remove(&itt).is_some_and(|done| done.status == 0) {
                let mut cdb = [0; 16];
                (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
                let itt = self.on(Cid(0), |one| one.command(lun, &cdb, Vec::new(), 32))?;
                let capacity = self.wait(itt)?.data;
                let field = capacity.get(8..12).context("short capacity data")?;
                self.block_bytes = u32::from_be_bytes(field.try_into()?).try_into()?;
                ensure!(self.block_bytes != 0, "blocks of no bytes");
                return Ok(());
            }
        }
        bail!("the unit does not get ready")
    }
}

/// What was broken, whichever task it was.
fn without_tags(text: &str) -> String {
    text.split(|c: char| c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("n")
}
