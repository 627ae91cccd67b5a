//! A session of several connections: what they number together, and how one joins (RFC 7143 §4.2.2, §4.2.3, §6.3.1).

use std::collections::BTreeMap;

use iscsi_wire::{Cid, Itt, Lun64, TaskManagementFunction, Tsih};

use crate::session::Numbers;
use crate::{Config, Delivery, Initiator, Params};

/// A session with its connections, by CID. Each is driven as an [`Initiator`] of its own, within [`Session::on`].
#[derive(Clone, Debug)]
pub struct Session {
    config: Config,
    numbers: Numbers,
    /// As the leading login settled them.
    tsih: Tsih,
    params: Params,
    connections: BTreeMap<u16, Initiator>,
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

    /// Begins the login of a further connection, or of one in the place of that with its CID, which is forgotten with all
    /// that was outstanding on it.
    pub fn join(&mut self, cid: Cid) {
        let mut config = self.config.clone();
        config.tsih = self.tsih;
        config.cid = cid;
        config.initial_cmd_sn = self.numbers.cmd_sn;
        config
            .operational
            .retain(|(key, _)| PER_CONNECTION.contains(&key.as_str()));
        let mut connection = Initiator::new(config);
        connection.joins = Some(self.params.clone());
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

    /// Forgets a connection, as when its socket has closed.
    pub fn forget(&mut self, cid: Cid) {
        self.connections.remove(&cid.0);
    }
}
