//! An initiator that recovers connections, PDU by PDU: what is under way can be looked at, and lost.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use iscsi_wire::{
    BHS_BYTES, Bhs, Cid, DataIn, DataOut, Itt, LogoutReason, LogoutRequest, LogoutResponseCode,
    NopOut, ReadyToTransfer, ScsiCommand, ScsiResponse, SerialNumber, SnackRequest, SnackType,
    TargetPdu, TaskAttribute, TaskManagementFunction, TaskManagementRequest,
    TaskManagementResponseCode, Ttt,
};

use super::super::pair::cdb;
use super::super::target::{Target, WRITE, Way};
use crate::login::{Established, SessionType};
use crate::negotiate::NegotiatedParams;
use crate::session::fixture::{C0, established, limits};
use crate::session::{ConnectionIndex, JoinError, Session};

/// What a level 2 session of these tests has agreed on: small bursts, so that short exchanges have every kind of PDU.
pub(super) fn params() -> NegotiatedParams {
    NegotiatedParams {
        error_recovery_level: 2,
        max_connections: 4,
        default_time2wait: 2,
        default_time2retain: 20,
        initial_r2t: false,
        immediate_data: true,
        first_burst_length: 1024,
        max_burst_length: 1024,
        max_outstanding_r2t: 2,
        max_send_data_segment_length: 768,
        max_recv_data_segment_length: 512,
        ..NegotiatedParams::default()
    }
}

/// From when to when what is lost is kept.
pub(super) const RETAINED: Duration = Duration::from_secs(22);

/// One connection, and what is under way on it.
pub(super) struct Wire {
    pub(super) c: ConnectionIndex,
    pub(super) exp_stat_sn: SerialNumber,
    to_target: VecDeque<Vec<u8>>,
    to_peer: VecDeque<Vec<u8>>,
}

/// A command without its status, or with it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) cid: u16,
    pub(super) cmd_sn: SerialNumber,
    pub(super) immediate: bool,
    opcode: u8,
    offset: u32,
    bytes: u32,
    out: Vec<u8>,
    /// What has been read.
    pub(super) data: Vec<u8>,
    /// The next DataSN or R2TSN.
    pub(super) exp_data_sn: u32,
    pub(super) status: Option<u8>,
    /// Of the SCSI Response.
    pub(super) snack_tag: u32,
}

pub(super) struct Peer {
    pub(super) target: Target,
    params: NegotiatedParams,
    pub(super) wires: BTreeMap<u16, Wire>,
    /// ExpStatSN of connections that were lost.
    pub(super) lost: BTreeMap<u16, SerialNumber>,
    pub(super) cmd_sn: SerialNumber,
    pub(super) exp_cmd_sn: SerialNumber,
    next_itt: u32,
    pub(super) jobs: BTreeMap<Itt, Job>,
    /// What came that is no command's.
    pub(super) answers: Vec<(u16, TargetPdu)>,
    /// Data-In is acknowledged where the target asks for it.
    pub(super) acknowledges_data: bool,
}

impl Peer {
    /// A session with its leading connection, CID 0.
    pub(super) fn new(params: NegotiatedParams) -> Self {
        let mut leading = established(SessionType::Normal, params.clone());
        leading.identity.cid = Cid(0);
        let mut target = Target::new(Session::new(&leading, limits(), Duration::ZERO));
        target.grant_bytes = 2048;
        let mut peer = Self {
            target,
            params,
            wires: BTreeMap::new(),
            lost: BTreeMap::new(),
            cmd_sn: SerialNumber(1),
            exp_cmd_sn: SerialNumber(1),
            next_itt: 0x100,
            jobs: BTreeMap::new(),
            answers: Vec::new(),
            acknowledges_data: true,
        };
        peer.wire(0, C0, &leading);
        peer
    }

    fn wire(&mut self, cid: u16, c: ConnectionIndex, established: &Established) {
        let wire = Wire {
            c,
            exp_stat_sn: established.stat_sn,
            to_target: VecDeque::new(),
            to_peer: VecDeque::new(),
        };
        self.wires.insert(cid, wire);
    }

    /// Adds a connection, whose segments towards the initiator may have this length.
    pub(super) fn join(&mut self, cid: u16, segment_bytes: u32) -> Result<(), JoinError> {
        let (exp_cmd_sn, max_cmd_sn) = self.target.session.command_window();
        let mut login = established(SessionType::Normal, self.params.clone());
        login.identity.cid = Cid(cid);
        login.params.max_send_data_segment_length = segment_bytes;
        login.exp_cmd_sn = exp_cmd_sn;
        login.max_cmd_sn = max_cmd_sn;
        login.stat_sn = SerialNumber(u32::from(cid) * 1000);
        let c = self.target.session.join(&login, self.target.now)?;
        self.wire(cid, c, &login);
        Ok(())
    }

    /// As an engine does it: a login with the CID of a connection that was lost.
    pub(super) fn reinstate(&mut self, cid: u16, segment_bytes: u32) {
        let session = &mut self.target.session;
        let c = session.find_connection(Cid(cid)).expect("it is known");
        session.acknowledge(c, self.lost[&cid]);
        self.target.poll();
        self.target.session.end_allegiance(c, self.target.now);
        self.join(cid, segment_bytes).expect("its place is free");
    }

    pub(super) fn allocate(&mut self) -> Itt {
        self.next_itt += 1;
        Itt(self.next_itt)
    }

    /// Queues a read, or what moves nothing where `bytes` is 0.
    pub(super) fn read(&mut self, cid: u16, opcode: u8, offset: u32, bytes: u32) -> Itt {
        self.start(cid, opcode, (offset, bytes), Vec::new(), false)
    }

    /// Queues a write.
    pub(super) fn write(&mut self, cid: u16, offset: u32, out: Vec<u8>) -> Itt {
        let bytes = out.len() as u32;
        self.start(cid, WRITE, (offset, bytes), out, false)
    }

    pub(super) fn immediate(&mut self, cid: u16, opcode: u8) -> Itt {
        self.start(cid, opcode, (0, 0), Vec::new(), true)
    }

    fn start(
        &mut self,
        cid: u16,
        opcode: u8,
        (offset, bytes): (u32, u32),
        out: Vec<u8>,
        immediate: bool,
    ) -> Itt {
        let itt = self.allocate();
        let job = Job {
            cid,
            cmd_sn: self.cmd_sn,
            immediate,
            opcode,
            offset,
            bytes,
            out,
            data: Vec::new(),
            exp_data_sn: 0,
            status: None,
            snack_tag: 0,
        };
        if !immediate {
            self.cmd_sn = self.cmd_sn.next();
        }
        self.jobs.insert(itt, job);
        self.send_command(itt);
        itt
    }

    /// Sends a command, for the first time or once more, over the connection it has.
    pub(super) fn send_command(&mut self, itt: Itt) {
        let job = self.jobs[&itt].clone();
        let write = !job.out.is_empty();
        let segment = self.params.max_recv_data_segment_length as usize;
        let unsolicited = job.out.len().min(self.params.first_burst_length as usize);
        let now = if self.params.immediate_data {
            unsolicited.min(segment)
        } else {
            0
        };
        let command = ScsiCommand {
            immediate: job.immediate,
            r#final: now == unsolicited || self.params.initial_r2t,
            read: !write && job.bytes > 0,
            write,
            attribute: TaskAttribute::Simple,
            data_segment_length: now as u32,
            itt,
            cmd_sn: job.cmd_sn,
            expected_data_transfer_length: job.bytes,
            cdb: {
                let mut long = [0; 16];
                long[..10].copy_from_slice(&cdb(job.opcode, job.offset));
                long
            },
            ..ScsiCommand::default()
        };
        self.push(job.cid, command.emit(), &job.out[..now]);
        if !self.params.initial_r2t && now < unsolicited {
            let rest = (now as u32, (unsolicited - now) as u32);
            self.send_data(itt, Ttt::RESERVED, rest);
        }
    }

    fn send_data(&mut self, itt: Itt, ttt: Ttt, (start, bytes): (u32, u32)) {
        let job = self.jobs[&itt].clone();
        let segment = self.params.max_recv_data_segment_length;
        let (mut at, end, mut data_sn) = (start, start + bytes, 0);
        while at < end {
            let count = segment.min(end - at);
            let data = DataOut {
                r#final: at + count == end,
                data_segment_length: count,
                itt,
                ttt,
                data_sn,
                buffer_offset: at,
                ..DataOut::default()
            };
            let payload = &job.out[at as usize..(at + count) as usize];
            self.push(job.cid, data.emit(), payload);
            at += count;
            data_sn += 1;
        }
    }

    /// Queues a PDU. Its ExpStatSN is filled in where it leaves.
    fn push(&mut self, cid: u16, bhs: Bhs, data: &[u8]) {
        let mut bytes = bhs.0.to_vec();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let wire = self.wires.get_mut(&cid).expect("the connection is there");
        wire.to_target.push_back(bytes);
    }

    /// Queues a logout of `cid` over `over`, with the ExpStatSN that the connection had.
    pub(super) fn log_out(&mut self, over: u16, cid: u16, reason: LogoutReason) -> Itt {
        let itt = self.allocate();
        // Nothing is read any more on a connection that another logs out.
        let gone = (over != cid).then(|| self.wires.remove(&cid)).flatten();
        if let Some(gone) = gone {
            self.lost.insert(cid, gone.exp_stat_sn);
        }
        let known = self.wires.get(&cid).map(|wire| wire.exp_stat_sn);
        let exp_stat_sn = known.or_else(|| self.lost.get(&cid).copied());
        let request = LogoutRequest {
            immediate: true,
            reason,
            itt,
            cid: Cid(cid),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: exp_stat_sn.unwrap_or_default(),
            ..LogoutRequest::default()
        };
        self.push(over, request.emit(), &[]);
        itt
    }

    /// Logs a connection out for recovery: the answer.
    pub(super) fn remove(&mut self, over: u16, cid: u16) -> LogoutResponseCode {
        let itt = self.log_out(over, cid, LogoutReason::RemoveConnectionForRecovery);
        self.run();
        self.logged_out(itt)
    }

    pub(super) fn logged_out(&self, itt: Itt) -> LogoutResponseCode {
        let answer = self.answers.iter().find_map(|(_, pdu)| match pdu {
            TargetPdu::LogoutResponse(response) if response.itt == itt => Some(response.response),
            _ => None,
        });
        answer.expect("a logout is answered")
    }

    pub(super) fn manage(
        &mut self,
        over: u16,
        function: TaskManagementFunction,
        referenced: Itt,
        exp_data_sn: u32,
    ) -> Itt {
        let itt = self.allocate();
        let request = TaskManagementRequest {
            immediate: true,
            function,
            itt,
            referenced_task_tag: referenced,
            ref_cmd_sn: self
                .jobs
                .get(&referenced)
                .map_or(self.cmd_sn, |job| job.cmd_sn),
            cmd_sn: self.cmd_sn,
            exp_data_sn,
            ..TaskManagementRequest::default()
        };
        self.push(over, request.emit(), &[]);
        itt
    }

    /// The answer to a task management request, if it has come.
    pub(super) fn managed(&self, itt: Itt) -> Option<TaskManagementResponseCode> {
        self.answers.iter().find_map(|(_, pdu)| match pdu {
            TargetPdu::TaskManagementResponse(response) if response.itt == itt => {
                Some(response.response)
            }
            _ => None,
        })
    }

    /// TASK REASSIGN of a command to this connection, from where its data stands.
    pub(super) fn reassign(&mut self, over: u16, itt: Itt) -> TaskManagementResponseCode {
        let exp_data_sn = self.jobs.get(&itt).map_or(0, |job| job.exp_data_sn);
        let function = TaskManagementFunction::TaskReassign;
        let request = self.manage(over, function, itt, exp_data_sn);
        if let Some(job) = self.jobs.get_mut(&itt) {
            job.cid = over;
        }
        while self.managed(request).is_none() {
            assert!(self.step(), "TASK REASSIGN is answered");
        }
        self.managed(request).expect("it is there")
    }

    /// Discards what has been read, and asks for it anew.
    pub(super) fn ask_anew(&mut self, itt: Itt, snack_tag: u32) {
        let snack = SnackRequest {
            r#type: SnackType::RData,
            itt,
            ttt: Ttt(snack_tag),
            ..SnackRequest::default()
        };
        let job = self.jobs.get_mut(&itt).expect("it is there");
        job.data.clear();
        job.exp_data_sn = 0;
        let cid = job.cid;
        self.wires
            .get_mut(&cid)
            .expect("it is there")
            .to_peer
            .clear();
        self.push(cid, snack.emit(), &[]);
    }

    /// Has the target learn what has arrived.
    pub(super) fn acknowledge(&mut self) {
        let cids: Vec<u16> = self.wires.keys().copied().collect();
        for cid in cids {
            let nop = NopOut {
                immediate: true,
                itt: Itt::RESERVED,
                ttt: Ttt::RESERVED,
                cmd_sn: self.cmd_sn,
                ..NopOut::default()
            };
            self.push(cid, nop.emit(), &[]);
        }
        self.run();
    }

    /// The connection breaks: what is under way on it is lost.
    pub(super) fn cut(&mut self, cid: u16) {
        let wire = self.wires.remove(&cid).expect("it is there");
        self.lost.insert(cid, wire.exp_stat_sn);
        self.target.lose(wire.c);
    }

    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    /// Carries one PDU. Whether there was one.
    pub(super) fn step(&mut self) -> bool {
        for cid in self.wires.keys().copied().collect::<Vec<u16>>() {
            let wire = self.wires.get_mut(&cid).expect("it is there");
            if let Some(mut bytes) = wire.to_target.pop_front() {
                let bhs = Bhs(*bytes.first_chunk().expect("a header"));
                if bhs.opcode() != iscsi_wire::opcode::LOGOUT_REQUEST {
                    bytes[28..32].copy_from_slice(&wire.exp_stat_sn.0.to_be_bytes());
                }
                let c = wire.c;
                self.target.receive_on(c, &bytes, Way::Staging(usize::MAX));
                return true;
            }
        }
        for cid in self.wires.keys().copied().collect::<Vec<u16>>() {
            let wire = self.wires.get_mut(&cid).expect("it is there");
            if wire.to_peer.is_empty() {
                let bytes = self.target.send_on(wire.c);
                wire.to_peer = pdus(&bytes);
            }
            if let Some(bytes) = wire.to_peer.pop_front() {
                self.receive(cid, &bytes);
                return true;
            }
        }
        false
    }

    fn receive(&mut self, cid: u16, bytes: &[u8]) {
        let bhs = Bhs(*bytes.first_chunk().expect("a header"));
        let data = &bytes[BHS_BYTES..][..bhs.data_segment_length() as usize];
        let exp_cmd_sn = SerialNumber(u32::from_be_bytes([
            bhs.0[28], bhs.0[29], bhs.0[30], bhs.0[31],
        ]));
        if self.exp_cmd_sn.lt(exp_cmd_sn) {
            self.exp_cmd_sn = exp_cmd_sn;
        }
        let pdu = TargetPdu::parse(&bhs).expect("a legal PDU");
        let numbered = match &pdu {
            TargetPdu::DataIn(data_in) => data_in.status_present,
            TargetPdu::ReadyToTransfer(_) => false,
            TargetPdu::NopIn(nop) => nop.itt != Itt::RESERVED,
            _ => true,
        };
        let wire = self.wires.get_mut(&cid).expect("it is there");
        if numbered {
            let stat_sn = u32::from_be_bytes([bhs.0[24], bhs.0[25], bhs.0[26], bhs.0[27]]);
            assert_eq!(SerialNumber(stat_sn), wire.exp_stat_sn, "{pdu:?}");
            wire.exp_stat_sn = wire.exp_stat_sn.next();
        }
        match pdu {
            TargetPdu::DataIn(pdu) => self.data_in(cid, &pdu, data),
            TargetPdu::ReadyToTransfer(r2t) => self.asked(cid, &r2t),
            TargetPdu::ScsiResponse(response) => self.answered(cid, &response),
            TargetPdu::NopIn(nop) if nop.ttt != Ttt::RESERVED => {
                let answer = NopOut {
                    immediate: true,
                    itt: Itt::RESERVED,
                    ttt: nop.ttt,
                    cmd_sn: self.cmd_sn,
                    ..NopOut::default()
                };
                self.push(cid, answer.emit(), &[]);
            }
            other => self.answers.push((cid, other)),
        }
    }

    fn data_in(&mut self, cid: u16, pdu: &DataIn, data: &[u8]) {
        let job = self.jobs.get_mut(&pdu.itt).expect("data of a command");
        assert_eq!(job.cid, cid, "data keeps to its connection");
        assert_eq!(pdu.data_sn, job.exp_data_sn, "{pdu:?}");
        assert_eq!(pdu.buffer_offset as usize, job.data.len());
        job.data.extend(data);
        job.exp_data_sn += 1;
        if pdu.status_present {
            assert_eq!(job.status.replace(pdu.status), None);
        }
        if pdu.acknowledge && self.acknowledges_data {
            let snack = SnackRequest {
                r#type: SnackType::DataAck,
                lun: pdu.lun,
                itt: Itt::RESERVED,
                ttt: pdu.ttt,
                beg_run: pdu.data_sn + 1,
                ..SnackRequest::default()
            };
            self.push(cid, snack.emit(), &[]);
        }
    }

    fn asked(&mut self, cid: u16, r2t: &ReadyToTransfer) {
        let job = self.jobs.get_mut(&r2t.itt).expect("an R2T of a command");
        assert_eq!(job.cid, cid, "an R2T keeps to its connection");
        assert_eq!(r2t.r2t_sn, job.exp_data_sn, "{r2t:?}");
        job.exp_data_sn += 1;
        let range = (r2t.buffer_offset, r2t.desired_data_transfer_length);
        self.send_data(r2t.itt, r2t.ttt, range);
    }

    fn answered(&mut self, cid: u16, response: &ScsiResponse) {
        let job = self
            .jobs
            .get_mut(&response.itt)
            .expect("a command's status");
        assert_eq!(job.cid, cid, "a status keeps to its connection");
        if job.out.is_empty() && job.bytes > 0 {
            assert_eq!(response.exp_data_sn, job.exp_data_sn, "all data has come");
        }
        assert_eq!(job.status.replace(response.status), None, "one status");
        job.snack_tag = response.snack_tag;
    }

    /// Commands without a status.
    pub(super) fn open(&self) -> Vec<Itt> {
        let open = self.jobs.iter().filter(|(_, job)| job.status.is_none());
        open.map(|(itt, _)| *itt).collect()
    }

    /// Whether nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        self.open().is_empty()
    }

    /// Every command has ended well with the right data, and the target has forgotten all of them.
    pub(super) fn check(&mut self) {
        assert_eq!(self.open(), []);
        for (itt, job) in &self.jobs {
            assert_eq!(job.status, Some(0), "{itt}");
            let range = job.offset as usize..(job.offset + job.bytes) as usize;
            let expected = if job.out.is_empty() {
                &job.data
            } else {
                &job.out
            };
            assert_eq!(&self.target.disk[range], &expected[..], "{itt}");
        }
        self.acknowledge();
        // What has arrived and was not acknowledged before its connection went is forgotten in time.
        self.target.now += RETAINED;
        self.target.time_out();
        self.run();
        assert_eq!(self.target.tasks(), 0);
        assert_eq!(self.target.session.outstanding_tasks().count(), 0);
        let (exp_cmd_sn, max_cmd_sn) = self.target.session.command_window();
        assert_eq!(exp_cmd_sn, self.cmd_sn);
        let width = max_cmd_sn.next().distance_from(exp_cmd_sn);
        assert_eq!(width, u32::from(limits().window), "no place is lost");
    }
}

fn pdus(mut bytes: &[u8]) -> VecDeque<Vec<u8>> {
    let mut pdus = VecDeque::new();
    while let Some(header) = bytes.first_chunk::<BHS_BYTES>() {
        let length = Bhs(*header).data_segment_length() as usize;
        let (pdu, rest) = bytes.split_at(BHS_BYTES + length.next_multiple_of(4));
        pdus.push_back(pdu.to_vec());
        bytes = rest;
    }
    pdus
}
