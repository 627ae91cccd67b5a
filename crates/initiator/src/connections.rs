//! A session of several connections: what they number together, and how one joins (RFC 7143 §4.2.2, §4.2.3, §6.3.1).

use std::collections::BTreeMap;
use std::time::Duration;

use iscsi_wire::{
    Cid, Itt, LogoutReason, LogoutResponseCode, Lun64, SerialNumber, TaskManagementFunction, Tsih,
};

use crate::recovery::Orphans;
use crate::session::Numbers;
use crate::{Config, Delivery, Event, Initiator, Params, Repairs};

/// A session with its connections, by CID. Each is driven as an [`Initiator`] of its own, within [`Session::on`].
#[derive(Clone, Debug)]
pub struct Session {
    config: Config,
    numbers: Numbers,
    /// As the leading login settled them.
    tsih: Tsih,
    params: Params,
    connections: BTreeMap<u16, Initiator>,
    /// What lost connections have left, until those are logged out.
    orphans: Vec<Orphans>,
    now: Duration,
    /// What was repaired on connections that are gone.
    repairs: Repairs,
}

/// Keys that a connection which joins may negotiate: all others belong to the leading one (RFC 7143 §13, "LO").
const PER_CONNECTION: [&str; 3] = ["HeaderDigest", "DataDigest", "MaxRecvDataSegmentLength"];

impl Session {
    /// A session whose leading connection has not said anything yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let leading = Initiator::new(config.clone());
        Self {
            numbers: leading.numbers,
            tsih: config.tsih,
            params: Params::default(),
            connections: BTreeMap::from([(config.cid.0, leading)]),
            config,
            orphans: Vec::new(),
            now: Duration::ZERO,
            repairs: Repairs::default(),
        }
    }

    /// Has one connection do something with the session's numbers. What the window then lets out on the others leaves, and
    /// what a task management function ended there is over.
    ///
    /// # Panics
    /// Where no connection has this CID: the caller's mistake.
    pub fn on<R>(&mut self, cid: Cid, act: impl FnOnce(&mut Initiator) -> R) -> R {
        let connection = self.connections.get_mut(&cid.0).expect("a connection");
        connection.numbers = self.numbers;
        let result = act(connection);
        for (of, response) in core::mem::take(&mut connection.logged_out) {
            // A CID that is not found may have been logged out before, by a request whose answer is lost: whether a task is
            // there, its reassignment tells.
            let continues = matches!(
                response,
                LogoutResponseCode::Closed | LogoutResponseCode::CidNotFound
            ) && self.params.error_recovery_level == 2;
            adopt(&mut self.orphans, connection, of, continues);
        }
        let leaves = |orphans: &Orphans| orphans.cid == cid;
        if connection.is_full_feature() && self.orphans.iter().any(leaves) {
            // RFC 7143 §6.3.4: a login with its CID is a connection's logout, at ErrorRecoveryLevel 2 one for recovery.
            let continues = self.params.error_recovery_level == 2;
            // The login's own numbers may be older than that logout. What it has discarded, an answer after it tells.
            if connection.has_heard() {
                adopt(&mut self.orphans, connection, cid, continues);
            } else {
                connection.probe();
            }
        }
        self.numbers = connection.numbers;
        if self.tsih == Tsih(0) && connection.is_full_feature() {
            self.tsih = connection.tsih();
            self.params = connection.params().clone();
        }
        let managed = core::mem::take(&mut connection.managed);
        for (other, connection) in &mut self.connections {
            for request in managed.iter().filter(|_| *other != cid.0) {
                connection.forget_managed(request);
            }
            connection.numbers = self.numbers;
            connection.send_held();
            self.numbers = connection.numbers;
        }
        result
    }

    /// The session's handle: 0 before the leading login is done.
    #[must_use]
    pub const fn tsih(&self) -> Tsih {
        self.tsih
    }

    /// Begins the login of a further connection, or of one in the place of that with its CID, which is lost
    /// ([`Self::lose`]).
    pub fn join(&mut self, cid: Cid) {
        self.lose(cid);
        let mut config = self.config.clone();
        config.tsih = self.tsih;
        config.cid = cid;
        config.initial_cmd_sn = self.numbers.cmd_sn;
        // RFC 7143 §11.12.9: of the connection that is lost, where it takes the place of one.
        if let Some(exp_stat_sn) = self.exp_stat_sn_of_lost(cid) {
            config.initial_exp_stat_sn = exp_stat_sn;
        }
        config
            .operational
            .retain(|(key, _)| PER_CONNECTION.contains(&key.as_str()));
        let mut connection = Initiator::new(config);
        connection.joins = Some(self.params.clone());
        connection.now = self.now;
        self.connections.insert(cid.0, connection);
        self.on(cid, Initiator::start_login);
    }

    /// What the leading login settled.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// Queues a task management function on one connection for a command that any of them brought.
    pub fn task_management(
        &mut self,
        cid: Cid,
        function: TaskManagementFunction,
        lun: Lun64,
        referenced: Option<Itt>,
        delivery: Delivery,
    ) -> Itt {
        let found = referenced.and_then(|itt| {
            let mut all = self.connections.values();
            all.find_map(|one| one.cmd_sn_of(itt))
        });
        let referenced = (referenced, found.unwrap_or_default());
        self.on(cid, |one| one.manage(function, lun, referenced, delivery))
    }

    /// A connection, to be looked at.
    #[must_use]
    pub fn connection(&self, cid: Cid) -> Option<&Initiator> {
        self.connections.get(&cid.0)
    }

    /// The CIDs of all connections.
    pub fn cids(&self) -> impl Iterator<Item = Cid> {
        self.connections.keys().map(|cid| Cid(*cid))
    }

    /// Forgets a connection with all that is outstanding on it, as when it was logged out.
    pub fn forget(&mut self, cid: Cid) {
        if let Some(gone) = self.connections.remove(&cid.0) {
            self.repairs = self.repairs.and(gone.repairs());
        }
    }

    /// A connection has failed. Below ErrorRecoveryLevel 1 what was outstanding on it is forgotten; else it waits until the
    /// connection is logged out, by [`Self::recover`] on another or by [`Self::join`] with its CID.
    pub fn lose(&mut self, cid: Cid) {
        let Some(lost) = self.connections.remove(&cid.0) else {
            return;
        };
        self.repairs = self.repairs.and(lost.repairs());
        // One that never was in the full feature phase has left nothing.
        if lost.recovery.is_some() {
            self.orphans.push(lost.into_orphans());
        }
    }

    /// Connections that are lost and not logged out.
    pub fn lost(&self) -> impl Iterator<Item = Cid> {
        let is_back = |cid: &Cid| {
            let connection = self.connections.get(&cid.0);
            connection.is_some_and(Initiator::is_full_feature)
        };
        let all = self.orphans.iter().map(|orphans| orphans.cid);
        all.filter(move |cid| !is_back(cid))
    }

    /// Queues the logout of a lost connection on another, which takes over what was outstanding once that is done: at
    /// ErrorRecoveryLevel 2 by reassignment, below what the target has not acknowledged (RFC 7143 §7.14).
    pub fn recover(&mut self, over: Cid, lost: Cid) -> Itt {
        let reason = if self.params.error_recovery_level == 2 {
            LogoutReason::RemoveConnectionForRecovery
        } else {
            LogoutReason::CloseConnection
        };
        let exp_stat_sn = self.exp_stat_sn_of_lost(lost);
        self.on(over, |one| {
            one.queue_logout(lost, reason, Delivery::Immediate, exp_stat_sn)
        })
    }

    fn exp_stat_sn_of_lost(&self, cid: Cid) -> Option<SerialNumber> {
        let mut all = self.orphans.iter();
        let lost = all.find(|orphans| orphans.cid == cid)?;
        Some(lost.exp_stat_sn)
    }

    /// Tells all connections the time. What came of it, with the CID.
    pub fn handle_time(&mut self, now: Duration) -> Vec<(Cid, Event)> {
        self.now = now;
        let cids: Vec<Cid> = self.cids().collect();
        let mut events = Vec::new();
        for cid in cids {
            let of_one = self.on(cid, |one| one.handle_time(now));
            events.extend(of_one.into_iter().map(|event| (cid, event)));
        }
        events
    }

    /// What recovery has done on all connections, those that are gone too.
    #[must_use]
    pub fn repairs(&self) -> Repairs {
        let all = self.connections.values();
        all.fold(self.repairs, |sum, one| sum.and(one.repairs()))
    }
}

/// Has a connection take over what another has left, where it has left something.
fn adopt(orphans: &mut Vec<Orphans>, connection: &mut Initiator, of: Cid, continues: bool) {
    while let Some(at) = orphans.iter().position(|orphans| orphans.cid == of) {
        connection.adopt(orphans.remove(at), continues);
    }
}
