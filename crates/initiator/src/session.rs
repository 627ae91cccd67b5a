//! The initiator as its caller sees it: requests in, bytes out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use iscsi_wire::text::TextWriter;
use iscsi_wire::{
    Cid, InitiatorPdu, Itt, LogoutReason, LogoutRequest, LogoutResponseCode, Lun64, NopOut,
    ScsiCommand, SerialNumber, TaskAttribute, TaskManagementFunction, TaskManagementRequest,
    TextRequest, Tsih, Ttt, push_bidirectional_read_length, push_extended_cdb,
};

use crate::framing::Framer;
use crate::login::Login;
use crate::recovery::Recovery;
use crate::task::Task;
use crate::transmit::Outgoing;
use crate::{Config, Params};

/// Whether a request waits its turn in the command window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Takes the next CmdSN, and is held back while the window is closed.
    #[default]
    Ordered,
    /// Has the I bit, takes no CmdSN and leaves at once.
    Immediate,
}

/// A SCSI command in full. [`Initiator::command`] covers the usual one.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Addressed logical unit.
    pub lun: Lun64,
    /// Up to 16 bytes, shorter ones padded with zeroes; more go into an Extended CDB.
    pub cdb: Vec<u8>,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Whether it waits its turn.
    pub delivery: Delivery,
    /// What is written; sets W unless empty.
    pub data_out: Vec<u8>,
    /// Bytes to be read; sets R unless 0.
    pub data_in_bytes: u32,
    /// Another ExpectedDataTransferLength than follows from these, in bytes.
    pub expected_data_transfer_length: Option<u32>,
}

/// One initiator with one connection.
#[derive(Clone, Debug)]
pub struct Initiator {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) framer: Framer,
    pub(crate) params: Params,
    pub(crate) tsih: Tsih,
    /// The session's numbers: this connection's own, where it is the only one.
    pub(crate) numbers: Numbers,
    pub(crate) exp_stat_sn: SerialNumber,
    /// ExpCmdSN and MaxCmdSN as this connection was told last.
    pub(crate) told: (SerialNumber, SerialNumber),
    /// What the session it joins has negotiated.
    pub(crate) joins: Option<Params>,
    pub(crate) pending: BTreeMap<Itt, Pending>,
    pub(crate) held: VecDeque<Outgoing>,
    /// Functions that were complete, for the other connections of the session.
    pub(crate) managed: Vec<TaskManagementRequest>,
    /// Other connections that were logged out by this one.
    pub(crate) logged_out: Vec<(Cid, LogoutResponseCode)>,
    /// There at ErrorRecoveryLevel 1 and above.
    pub(crate) recovery: Option<Box<Recovery>>,
    /// As it was told last.
    pub(crate) now: Duration,
    /// A MaxRecvDataSegmentLength that is being declared, in bytes.
    pub(crate) declares: Option<(Itt, u32)>,
    pub(crate) out: Vec<u8>,
}

/// What all connections of a session number together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) cmd_sn: SerialNumber,
    pub(crate) exp_cmd_sn: SerialNumber,
    pub(crate) max_cmd_sn: SerialNumber,
    next_itt: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    Idle,
    Login(Box<Login>),
    FullFeature,
    Closed,
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Command(Box<Task>),
    TaskManagement(TaskManagementRequest),
    Text {
        received: Vec<u8>,
        rounds: u32,
    },
    Ping(Vec<u8>),
    /// A ping of recovery's own.
    Probe,
    Logout(Leaving),
    /// A command of a lost connection that is to go on over this one.
    Reassign {
        itt: Itt,
        task: Box<Task>,
        /// The target had too many immediate requests at the time.
        refused: bool,
    },
}

/// A logout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) reason: LogoutReason,
    /// Whether it closes this connection.
    pub(crate) closes: bool,
    /// The connection that it names.
    pub(crate) of: Cid,
    /// The last ExpStatSN of a lost connection.
    pub(crate) exp_stat_sn: Option<SerialNumber>,
}

impl Initiator {
    /// An initiator that has not said anything yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (cmd_sn, exp_stat_sn) = (config.initial_cmd_sn, config.initial_exp_stat_sn);
        Self {
            tsih: config.tsih,
            config,
            state: State::Idle,
            // RFC 7143 §13.12: a declaration holds from the full feature phase on; a login has the default.
            framer: Framer::new(Params::default().max_recv_data_segment_length),
            params: Params::default(),
            numbers: Numbers {
                cmd_sn,
                exp_cmd_sn: cmd_sn,
                max_cmd_sn: cmd_sn,
                next_itt: 1,
            },
            exp_stat_sn,
            told: (cmd_sn, cmd_sn),
            joins: None,
            pending: BTreeMap::new(),
            held: VecDeque::new(),
            managed: Vec::new(),
            logged_out: Vec::new(),
            recovery: None,
            now: Duration::ZERO,
            declares: None,
            out: Vec::new(),
        }
    }

    /// Queues the first login request.
    pub fn start_login(&mut self) {
        let mut login = Box::new(Login::new(self.allocate_itt(), &self.config));
        self.send_login(&mut login);
        self.state = State::Login(login);
    }

    /// Queues a simple-tagged command and gives its tag. It reads where `data_in_bytes` is not 0, and writes where
    /// `data_out` is not empty.
    pub fn command(
        &mut self,
        lun: Lun64,
        cdb: &[u8],
        data_out: Vec<u8>,
        data_in_bytes: u32,
    ) -> Itt {
        self.submit(Request {
            lun,
            cdb: cdb.to_vec(),
            attribute: TaskAttribute::Simple,
            data_out,
            data_in_bytes,
            ..Request::default()
        })
    }

    /// Queues a command and gives its tag.
    pub fn submit(&mut self, request: Request) -> Itt {
        let itt = self.allocate_itt();
        let (read, write) = (request.data_in_bytes > 0, !request.data_out.is_empty());
        let natural = if write {
            length_of(&request.data_out)
        } else {
            request.data_in_bytes
        };
        let expected = request.expected_data_transfer_length.unwrap_or(natural);
        let mut ahs = Vec::new();
        let (head, tail) = request.cdb.split_at(request.cdb.len().min(16));
        let mut cdb = [0; 16];
        cdb[..head.len()].copy_from_slice(head);
        if !tail.is_empty() {
            push_extended_cdb(&mut ahs, tail);
        }
        if read && write {
            push_bidirectional_read_length(&mut ahs, request.data_in_bytes);
        }
        let reads = if write {
            request.data_in_bytes
        } else {
            expected
        };
        let mut task = Box::new(Task::new(request.lun, request.data_out));
        task.expect(
            if write { expected } else { 0 },
            if read { reads } else { 0 },
        );
        task.is_immediate = request.delivery == Delivery::Immediate;
        let unsolicited = task.plan_first_burst(&self.config, &self.params);
        let immediate_data = task.out_bytes(0, unsolicited.immediate_bytes);
        let command = ScsiCommand {
            immediate: request.delivery == Delivery::Immediate,
            r#final: unsolicited.data_out_bytes == 0,
            read,
            write,
            attribute: request.attribute,
            total_ahs_length: u8::try_from(ahs.len() / 4).unwrap_or(u8::MAX),
            data_segment_length: length_of(&immediate_data),
            lun: request.lun,
            itt,
            expected_data_transfer_length: expected,
            cdb,
            ..ScsiCommand::default()
        };
        self.pending.insert(itt, Pending::Command(task));
        let pdu = InitiatorPdu::ScsiCommand(command);
        self.queue(
            Outgoing {
                pdu,
                ahs,
                data: immediate_data,
            },
            request.delivery,
        );
        itt
    }

    /// Queues a task management function and gives its own tag. The CmdSN of a referenced command is looked up.
    pub fn task_management(
        &mut self,
        function: TaskManagementFunction,
        lun: Lun64,
        referenced: Option<Itt>,
        delivery: Delivery,
    ) -> Itt {
        let ref_cmd_sn = referenced.and_then(|itt| self.cmd_sn_of(itt));
        self.manage(
            function,
            lun,
            (referenced, ref_cmd_sn.unwrap_or_default()),
            delivery,
        )
    }

    /// The CmdSN of a command that has left and has no status yet.
    #[must_use]
    pub fn cmd_sn_of(&self, itt: Itt) -> Option<SerialNumber> {
        match self.pending.get(&itt) {
            Some(Pending::Command(task)) => task.cmd_sn,
            _ => None,
        }
    }

    /// As [`Self::task_management`], for a command that another connection of the session brought.
    pub(crate) fn manage(
        &mut self,
        function: TaskManagementFunction,
        lun: Lun64,
        (referenced, ref_cmd_sn): (Option<Itt>, SerialNumber),
        delivery: Delivery,
    ) -> Itt {
        let itt = self.allocate_itt();
        let request = TaskManagementRequest {
            immediate: delivery == Delivery::Immediate,
            function,
            lun,
            itt,
            referenced_task_tag: referenced.unwrap_or(Itt::RESERVED),
            ref_cmd_sn,
            ..TaskManagementRequest::default()
        };
        self.pending.insert(itt, Pending::TaskManagement(request));
        self.queue_bare(InitiatorPdu::TaskManagementRequest(request), delivery);
        itt
    }

    /// Queues a text request with these pairs and gives its tag. Answers that go on in further responses are asked for
    /// and put together.
    pub fn text(&mut self, pairs: &[(&str, &str)], delivery: Delivery) -> Itt {
        let itt = self.allocate_itt();
        let mut data = Vec::new();
        let mut writer = TextWriter::new(&mut data);
        for (key, value) in pairs {
            writer.push(key, value);
        }
        let request = TextRequest {
            immediate: delivery == Delivery::Immediate,
            r#final: true,
            data_segment_length: length_of(&data),
            itt,
            ttt: Ttt::RESERVED,
            ..TextRequest::default()
        };
        self.pending.insert(
            itt,
            Pending::Text {
                received: Vec::new(),
                rounds: 0,
            },
        );
        let pdu = InitiatorPdu::TextRequest(request);
        self.queue(
            Outgoing {
                pdu,
                ahs: Vec::new(),
                data,
            },
            delivery,
        );
        itt
    }

    /// Queues SendTargets: `All`, a target's name, or nothing for the session's own target.
    pub fn send_targets(&mut self, which: &str) -> Itt {
        self.text(&[("SendTargets", which)], Delivery::Ordered)
    }

    /// Queues a NOP-Out that wants `data` back, and gives its tag.
    pub fn ping(&mut self, data: &[u8], delivery: Delivery) -> Itt {
        let itt = self.allocate_itt();
        let nop = NopOut {
            immediate: delivery == Delivery::Immediate,
            data_segment_length: length_of(data),
            itt,
            ttt: Ttt::RESERVED,
            ..NopOut::default()
        };
        self.pending.insert(itt, Pending::Ping(data.to_vec()));
        let pdu = InitiatorPdu::NopOut(nop);
        self.queue(
            Outgoing {
                pdu,
                ahs: Vec::new(),
                data: data.to_vec(),
            },
            delivery,
        );
        itt
    }

    /// Queues a logout and gives its tag. A connection that is to be closed is this one.
    pub fn logout(&mut self, reason: LogoutReason, delivery: Delivery) -> Itt {
        self.logout_of(self.config.cid, reason, delivery)
    }

    /// Queues a logout of a connection of the session and gives its tag.
    pub fn logout_of(&mut self, cid: Cid, reason: LogoutReason, delivery: Delivery) -> Itt {
        self.queue_logout(cid, reason, delivery, None)
    }

    pub(crate) fn queue_logout(
        &mut self,
        cid: Cid,
        reason: LogoutReason,
        delivery: Delivery,
        exp_stat_sn: Option<SerialNumber>,
    ) -> Itt {
        let itt = self.allocate_itt();
        let request = LogoutRequest {
            immediate: delivery == Delivery::Immediate,
            reason,
            itt,
            cid,
            ..LogoutRequest::default()
        };
        let closes = reason == LogoutReason::CloseSession || cid == self.config.cid;
        let leaving = Leaving {
            reason,
            closes,
            of: cid,
            exp_stat_sn,
        };
        self.pending.insert(itt, Pending::Logout(leaving));
        self.queue_bare(InitiatorPdu::LogoutRequest(request), delivery);
        itt
    }

    /// What the login settled; the defaults before its end.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// The session's handle, from the target's last login response on.
    #[must_use]
    pub const fn tsih(&self) -> Tsih {
        self.tsih
    }

    /// Whether requests may be made: the login is done, and nothing has ended the connection.
    #[must_use]
    pub const fn is_full_feature(&self) -> bool {
        matches!(self.state, State::FullFeature)
    }

    /// Whether the connection is over: refused, logged out or broken.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The CmdSN the next ordered request will have.
    #[must_use]
    pub const fn cmd_sn(&self) -> SerialNumber {
        self.numbers.cmd_sn
    }

    /// Sets the CmdSN of the next ordered request, to skip or repeat some.
    pub const fn set_cmd_sn(&mut self, cmd_sn: SerialNumber) {
        self.numbers.cmd_sn = cmd_sn;
    }

    /// The next StatSN expected.
    #[must_use]
    pub const fn exp_stat_sn(&self) -> SerialNumber {
        self.exp_stat_sn
    }

    /// The target's ExpCmdSN and MaxCmdSN.
    #[must_use]
    pub const fn window(&self) -> (SerialNumber, SerialNumber) {
        (self.numbers.exp_cmd_sn, self.numbers.max_cmd_sn)
    }

    /// Tags of requests without their answer, those held back included.
    pub fn outstanding(&self) -> impl Iterator<Item = Itt> {
        let all = self.pending.iter();
        all.filter_map(|(itt, pending)| match pending {
            Pending::Probe => None,
            Pending::Reassign { itt, .. } => Some(*itt),
            _ => Some(*itt),
        })
    }

    /// How many requests the closed window holds back.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.held.len()
    }

    /// A tag no other request has, for `push_raw`.
    pub const fn allocate_itt(&mut self) -> Itt {
        let next = self.numbers.next_itt;
        let itt = Itt(next);
        // Past the last tag but the reserved one it starts again.
        self.numbers.next_itt = if next >= Itt::RESERVED.0 - 1 {
            1
        } else {
            next + 1
        };
        itt
    }
}

pub(crate) fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
