//! The parts of a session, each written and read in one order.

use std::collections::VecDeque;

use iscsi_wire::{BHS_BYTES, Cid, Itt, Lun64, MAX_DATA_SEGMENT_BYTES, SerialNumber, Ttt};

use super::ImageError;
use super::codec::{Reader, Writer};
use crate::connection::{Connection, Ping, Receive, TextExchange, TextNegotiation};
use crate::login::SessionType;
use crate::negotiate::{NegotiatedParams, TaskReporting};
use crate::session::ranges::{MAX_RUNS, Ranges};
use crate::session::task::{Decision, MAX_R2TS, R2t, R2ts, RequestSlot, Task, Unsolicited};
use crate::session::window::{Held, HeldRequest};
use crate::session::{
    ConnectionIndex, DataFault, RecoveryLimits, SessionCounters, SessionLimits, TaskId,
};

/// The smallest data segment and burst that can be negotiated (RFC 7143 §13.12, §13.13, §13.14).
const MIN_SEGMENT_BYTES: u32 = 512;

impl Writer {
    pub(super) fn session_type(&mut self, kind: SessionType) {
        self.flag(kind == SessionType::Discovery);
    }

    pub(super) fn params(&mut self, params: &NegotiatedParams) {
        self.flag(params.header_digest);
        self.flag(params.data_digest);
        self.u16(params.max_connections);
        self.flag(params.initial_r2t);
        self.flag(params.immediate_data);
        self.u32(params.max_send_data_segment_length);
        self.u32(params.max_recv_data_segment_length);
        self.u32(params.max_burst_length);
        self.u32(params.first_burst_length);
        self.u16(params.default_time2wait);
        self.u16(params.default_time2retain);
        self.u16(params.max_outstanding_r2t);
        self.flag(params.data_pdu_in_order);
        self.flag(params.data_sequence_in_order);
        self.u8(params.error_recovery_level);
        self.u8(match params.task_reporting {
            TaskReporting::Rfc3720 => 0,
            TaskReporting::ResponseFence => 1,
            TaskReporting::FastAbort => 2,
        });
        self.u8(params.iscsi_protocol_level);
    }

    pub(super) fn limits(&mut self, limits: &SessionLimits) {
        self.u16(limits.window);
        self.u16(limits.immediate_allowance);
        self.u32(limits.max_text_bytes);
        self.flag(limits.nop_interval.is_some());
        self.duration(limits.nop_interval.unwrap_or_default());
        self.duration(limits.nop_timeout);
        self.duration(limits.late_data_timeout);
        self.u32(limits.in_place_threshold);
        self.duration(limits.recovery.data_out_timeout);
        self.duration(limits.recovery.status_timeout);
        self.duration(limits.recovery.data_in_timeout);
    }

    pub(super) fn counters(&mut self, counters: &SessionCounters) {
        self.u64(counters.late_data_pdus);
        self.u64(counters.late_data_bytes);
        self.u64(counters.ignored_requests);
        self.u64(counters.rejects);
        self.u64(counters.header_digest_errors);
        self.u64(counters.data_digest_errors);
        self.u64(counters.data_faults);
        self.u64(counters.recovery_r2ts);
        self.u64(counters.pings);
        self.u64(counters.ping_bytes_cut);
    }

    pub(super) fn connection(&mut self, connection: &Connection) {
        self.u16(connection.cid.0);
        self.flag(connection.header_digest);
        self.flag(connection.data_digest);
        self.u32(connection.max_recv_data_segment_length);
        self.u32(connection.max_send_data_segment_length);
        self.list(connection.receive.partial_header());
        self.u32(connection.stat_sn.0);
        self.u32(connection.acknowledged.0);
        self.u64(connection.completions);
        self.u16(connection.immediate_management);
        self.u16(connection.immediate);
        self.flag(connection.ping.is_some());
        if let Some(ping) = connection.ping {
            self.u32(ping.ttt.0);
            self.duration(ping.sent);
            self.u8(ping.again);
        }
        self.duration(connection.last_heard);
        self.u32(connection.told_max_cmd_sn.0);
        self.flag(connection.spoke);
    }

    pub(super) fn task(&mut self, task: &Task) {
        self.u32(task.itt.0);
        self.u64(task.lun.0);
        self.u32(task.cmd_sn.0);
        self.u8(task.connection.0);
        self.flag(task.slot == RequestSlot::Immediate);
        self.flag(task.read);
        self.flag(task.write);
        self.u32(task.expected_data_transfer_length);
        self.u8(match task.decision {
            Decision::Pending => 0,
            Decision::Accepted => 1,
            Decision::Discarded => 2,
        });
        self.flag(task.unsolicited.open);
        self.u32(task.unsolicited.limit);
        self.u32(task.unsolicited.data_sn);
        self.ranges(&task.received);
        self.u32(task.granted);
        self.u32(task.next_r2t_offset);
        self.count(task.r2ts.len());
        for r2t in task.r2ts.as_slice() {
            self.u32(r2t.ttt.0);
            self.u32(r2t.offset);
            self.u32(r2t.bytes);
            self.u32(r2t.got);
            self.u32(r2t.data_sn);
        }
        self.u8(match task.fault {
            None => 0,
            Some(DataFault::UnexpectedUnsolicitedData) => 1,
            Some(DataFault::IncorrectAmountOfData) => 2,
            Some(DataFault::ProtocolServiceCrcError) => 3,
            Some(DataFault::DataOffset) => 4,
            Some(DataFault::SnackRejected) => 5,
        });
        self.flag(task.fault_told);
        self.u32(task.next_data_sn);
        if let Some(recovery) = &task.recovery {
            self.task_recovery(recovery);
        }
    }

    fn ranges(&mut self, ranges: &Ranges) {
        self.u32(ranges.contiguous());
        self.count(ranges.ahead().len());
        for (start, end) in ranges.ahead() {
            self.u32(*start);
            self.u32(*end);
        }
    }

    pub(super) fn held(&mut self, held: &Held) {
        self.u32(held.cmd_sn.0);
        match held.request {
            HeldRequest::Command(task) => {
                self.flag(true);
                self.u32(task.0);
            }
            _ => self.flag(false),
        }
    }
}

impl Reader<'_> {
    pub(super) fn session_type(&mut self) -> Result<SessionType, ImageError> {
        Ok(if self.flag()? {
            SessionType::Discovery
        } else {
            SessionType::Normal
        })
    }

    /// A segment or burst length.
    fn length(&mut self, field: &'static str) -> Result<u32, ImageError> {
        let bytes = self.u32()?;
        let legal = (MIN_SEGMENT_BYTES..=MAX_DATA_SEGMENT_BYTES).contains(&bytes);
        if legal {
            Ok(bytes)
        } else {
            Err(ImageError::Invalid(field))
        }
    }

    pub(super) fn params(&mut self) -> Result<NegotiatedParams, ImageError> {
        Ok(NegotiatedParams {
            header_digest: self.flag()?,
            data_digest: self.flag()?,
            max_connections: self.u16()?,
            initial_r2t: self.flag()?,
            immediate_data: self.flag()?,
            max_send_data_segment_length: self.length("max_send_data_segment_length")?,
            max_recv_data_segment_length: self.length("max_recv_data_segment_length")?,
            max_burst_length: self.length("max_burst_length")?,
            first_burst_length: self.length("first_burst_length")?,
            default_time2wait: self.u16()?,
            default_time2retain: self.u16()?,
            max_outstanding_r2t: self.u16()?,
            data_pdu_in_order: self.flag()?,
            data_sequence_in_order: self.flag()?,
            error_recovery_level: self.u8()?,
            task_reporting: match self.u8()? {
                0 => TaskReporting::Rfc3720,
                1 => TaskReporting::ResponseFence,
                2 => TaskReporting::FastAbort,
                _ => return Err(ImageError::Invalid("task_reporting")),
            },
            iscsi_protocol_level: self.u8()?,
        })
    }

    pub(super) fn limits(&mut self) -> Result<SessionLimits, ImageError> {
        let limits = SessionLimits {
            window: self.u16()?,
            immediate_allowance: self.u16()?,
            max_text_bytes: self.u32()?,
            nop_interval: {
                let some = self.flag()?;
                let interval = self.duration()?;
                some.then_some(interval)
            },
            nop_timeout: self.duration()?,
            late_data_timeout: self.duration()?,
            in_place_threshold: self.u32()?,
            recovery: RecoveryLimits {
                data_out_timeout: self.duration()?,
                status_timeout: self.duration()?,
                data_in_timeout: self.duration()?,
            },
        };
        let legal = limits.window >= 1 && limits.immediate_allowance >= 2;
        if legal {
            Ok(limits)
        } else {
            Err(ImageError::Invalid("limits"))
        }
    }

    pub(super) fn counters(&mut self) -> Result<SessionCounters, ImageError> {
        Ok(SessionCounters {
            late_data_pdus: self.u64()?,
            late_data_bytes: self.u64()?,
            ignored_requests: self.u64()?,
            rejects: self.u64()?,
            header_digest_errors: self.u64()?,
            data_digest_errors: self.u64()?,
            data_faults: self.u64()?,
            recovery_r2ts: self.u64()?,
            pings: self.u64()?,
            ping_bytes_cut: self.u64()?,
        })
    }

    pub(super) fn connection(&mut self) -> Result<Connection, ImageError> {
        let cid = Cid(self.u16()?);
        let (header_digest, data_digest) = (self.flag()?, self.flag()?);
        let max_recv_data_segment_length = self.length("max_recv_data_segment_length")?;
        let max_send_data_segment_length = self.length("max_send_data_segment_length")?;
        let mut receive = Receive::new();
        let partial = self.list(BHS_BYTES)?;
        if !receive.restore_partial_header(partial) {
            return Err(ImageError::Invalid("partial header"));
        }
        Ok(Connection {
            cid,
            header_digest,
            data_digest,
            max_send_data_segment_length,
            max_recv_data_segment_length,
            declares: None,
            receive,
            collected: Vec::new(),
            stat_sn: SerialNumber(self.u32()?),
            acknowledged: SerialNumber(self.u32()?),
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            completions: self.u64()?,
            immediate_management: self.u16()?,
            immediate: self.u16()?,
            text: TextExchange::Idle,
            negotiation: TextNegotiation::default(),
            logging_out: false,
            ping: if self.flag()? {
                Some(Ping {
                    ttt: Ttt(self.u32()?),
                    sent: self.duration()?,
                    again: self.u8()?,
                })
            } else {
                None
            },
            last_heard: self.duration()?,
            ending: None,
            suspended: false,
            retained_until: None,
            released: false,
            told_max_cmd_sn: SerialNumber(self.u32()?),
            spoke: self.flag()?,
        })
    }

    pub(super) fn task(
        &mut self,
        params: &NegotiatedParams,
        recovers: bool,
    ) -> Result<Task, ImageError> {
        let mut task = Task {
            itt: Itt(self.u32()?),
            lun: Lun64(self.u64()?),
            cmd_sn: SerialNumber(self.u32()?),
            connection: ConnectionIndex(self.u8()?),
            slot: if self.flag()? {
                RequestSlot::Immediate
            } else {
                RequestSlot::Numbered
            },
            read: self.flag()?,
            write: self.flag()?,
            expected_data_transfer_length: self.u32()?,
            decision: match self.u8()? {
                0 => Decision::Pending,
                1 => Decision::Accepted,
                2 => Decision::Discarded,
                _ => return Err(ImageError::Invalid("decision")),
            },
            unsolicited: Unsolicited {
                open: self.flag()?,
                limit: self.u32()?,
                data_sn: self.u32()?,
            },
            received: self.ranges()?,
            granted: self.u32()?,
            next_r2t_offset: self.u32()?,
            r2ts: self.r2ts()?,
            fault: self.fault()?,
            fault_told: self.flag()?,
            next_data_sn: self.u32()?,
            sent: 0,
            available: 0,
            burst: 0,
            completion: None,
            queued: false,
            internal: false,
            recovery: None,
        };
        if recovers {
            task.recovery = Some(Box::new(self.task_recovery()?));
        }
        let most = task.expected_data_transfer_length;
        let last = task.received.ahead().last().map_or(0, |(_, end)| *end);
        let bounded = [
            last,
            task.received.contiguous(),
            task.granted,
            task.next_r2t_offset,
            task.unsolicited.limit,
        ];
        let named =
            task.itt != Itt::RESERVED && task.unsolicited.limit <= params.first_burst_length;
        let legal = named && bounded.iter().all(|offset| *offset <= most);
        if legal {
            Ok(task)
        } else {
            Err(ImageError::Invalid("task"))
        }
    }

    fn fault(&mut self) -> Result<Option<DataFault>, ImageError> {
        Ok(match self.u8()? {
            0 => None,
            1 => Some(DataFault::UnexpectedUnsolicitedData),
            2 => Some(DataFault::IncorrectAmountOfData),
            3 => Some(DataFault::ProtocolServiceCrcError),
            4 => Some(DataFault::DataOffset),
            5 => Some(DataFault::SnackRejected),
            _ => return Err(ImageError::Invalid("fault")),
        })
    }

    fn ranges(&mut self) -> Result<Ranges, ImageError> {
        let mut ranges = Ranges::from_start(self.u32()?);
        let mut last = ranges.contiguous();
        for _ in 0..self.count(MAX_RUNS)? {
            let (start, end) = (self.u32()?, self.u32()?);
            let apart = last < start && start < end;
            if !(apart && ranges.add(start, end)) {
                return Err(ImageError::Invalid("received"));
            }
            last = end;
        }
        Ok(ranges)
    }

    fn r2ts(&mut self) -> Result<R2ts, ImageError> {
        let mut r2ts = R2ts::default();
        for _ in 0..self.count(MAX_R2TS)? {
            r2ts.push(R2t {
                ttt: Ttt(self.u32()?),
                offset: self.u32()?,
                bytes: self.u32()?,
                got: self.u32()?,
                data_sn: self.u32()?,
            });
        }
        Ok(r2ts)
    }

    pub(super) fn held(&mut self) -> Result<Held, ImageError> {
        let cmd_sn = SerialNumber(self.u32()?);
        let request = if self.flag()? {
            HeldRequest::Command(TaskId(self.u32()?))
        } else {
            HeldRequest::Nothing
        };
        Ok(Held { cmd_sn, request })
    }
}
