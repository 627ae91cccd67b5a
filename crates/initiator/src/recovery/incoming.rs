//! Which Data-In and R2T PDUs of one command have come, in whatever order (RFC 7143 §4.2.2.4, §7.9, §11.16).

use std::collections::BTreeMap;
use std::time::Duration;

use iscsi_wire::{Itt, Lun64, Ttt};

use crate::{Params, Violation};

/// A Data-In or an R2T, as far as one that is sent again must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    /// F of a Data-In; the tag of an R2T.
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data { ends_sequence: bool },
    R2t(Ttt),
}

/// What a PDU with a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    /// It came before, or was acknowledged.
    Again,
    /// It came before, and was another.
    Differs,
}

/// A DataACK that the target has asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) ttt: Ttt,
    pub(crate) lun: Lun64,
    /// DataSN of the PDU with the A bit.
    pub(crate) data_sn: u32,
}

/// The input numbering of one command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    /// All numbers below it have come.
    pub(crate) next: u32,
    /// One past the last number known to be sent.
    pub(crate) until: u32,
    /// Whether more than that is missing, and nobody knows how much.
    pub(crate) wants_rest: bool,
    pieces: BTreeMap<u32, Piece>,
    /// BegRun of the last DataACK.
    pub(crate) acknowledged: u32,
    pub(crate) ack_wanted: Option<Asked>,
    asked: BTreeMap<u32, Duration>,
    rest_asked: Option<Duration>,
    /// SNACK Tag of the last R-Data SNACK; 0 for none.
    pub(crate) snack_tag: u32,
    /// Whether MaxRecvDataSegmentLength has changed since the data was sent: then it is asked for by R-Data SNACK.
    pub(crate) old_segments: bool,
    /// Whether what is missing will not come any more.
    pub(crate) lost: bool,
    /// Whether the target may have begun anew: counts do not tell any more, and R2Ts come again.
    pub(crate) restarted: bool,
}

impl Incoming {
    /// Takes a PDU with this number.
    pub(crate) fn take(&mut self, number: u32, piece: Piece) -> Arrival {
        self.until = self.until.max(number.saturating_add(1));
        match self.pieces.get(&number) {
            Some(before) if *before != piece => return Arrival::Differs,
            Some(_) => return Arrival::Again,
            None if number < self.next => return Arrival::Again,
            None => {}
        }
        self.pieces.insert(number, piece);
        self.asked.remove(&number);
        while self.pieces.contains_key(&self.next) {
            self.next += 1;
        }
        Arrival::New
    }

    /// Whether a number below those that came is missing.
    pub(crate) const fn has_holes(&self) -> bool {
        self.next < self.until
    }

    pub(crate) fn count(&self) -> usize {
        self.pieces.len()
    }

    /// Data-In PDUs and their bytes.
    pub(crate) fn data(&self) -> (u32, u32) {
        let data = self.pieces.values().filter(|piece| piece.is_data());
        data.fold((0, 0), |(pdus, bytes), piece| {
            (pdus + 1, piece.bytes.saturating_add(bytes))
        })
    }

    /// The DataACK to send, where one was asked for and no hole is before it.
    pub(crate) fn acknowledge(&mut self) -> Option<Asked> {
        let asked = self.ack_wanted.take_if(|asked| asked.data_sn < self.next)?;
        self.acknowledged = self.next;
        Some(asked)
    }

    /// Runs of missing numbers, each with its length, that were not asked for within `patience`. A length of 0 stands for all.
    pub(crate) fn ask(&mut self, now: Duration, patience: Duration) -> Vec<(u32, u32)> {
        let is_due = |asked: Option<&Duration>| asked.is_none_or(|at| now >= *at + patience);
        let missing: Vec<u32> = (self.next..self.until)
            .filter(|number| !self.pieces.contains_key(number))
            .filter(|number| is_due(self.asked.get(number)))
            .take(MAX_ASKED)
            .collect();
        self.asked
            .extend(missing.iter().map(|number| (*number, now)));
        let mut runs = runs(&missing);
        if self.wants_rest && runs.is_empty() && is_due(self.rest_asked.as_ref()) {
            self.rest_asked = Some(now);
            runs.push((self.next, 0));
        }
        runs
    }

    /// More is missing, and has been asked for now.
    pub(crate) const fn want_rest_from(&mut self, now: Duration) {
        (self.wants_rest, self.rest_asked) = (true, Some(now));
    }

    /// What is missing is not asked for anew before the status has come, or a time from now on.
    pub(crate) const fn wait_from(&mut self, now: Duration) {
        self.rest_asked = Some(now);
    }

    /// Whether nothing has been asked for this long.
    pub(crate) fn is_overdue(&self, now: Duration, patience: Duration) -> bool {
        self.rest_asked.is_none_or(|at| now >= at + patience)
    }

    /// Forgets what came and was not acknowledged, from this number on.
    pub(crate) fn forget_from(&mut self, number: u32) {
        self.pieces.split_off(&number);
        if let Some(Piece {
            kind: Kind::Data { ends_sequence },
            ..
        }) = self.pieces.values_mut().next_back()
        {
            // What comes now is a sequence of its own.
            *ends_sequence = true;
        }
        (self.next, self.until) = (number, number);
        (self.wants_rest, self.restarted) = (false, true);
        self.asked.clear();
        self.rest_asked = None;
        self.ack_wanted = None;
    }

    /// RFC 7143 §13.13, §13.18, §13.19: the data in the order of its numbers, once all of it is there.
    pub(crate) fn check_sequences(&self, itt: Itt, params: &Params, broken: &mut Vec<Violation>) {
        let (mut burst_bytes, mut end) = (0u32, 0);
        for piece in self.pieces.values() {
            let Kind::Data { ends_sequence } = piece.kind else {
                continue;
            };
            let ordered = if burst_bytes == 0 {
                params.data_sequence_in_order
            } else {
                params.data_pdu_in_order
            };
            burst_bytes = burst_bytes.saturating_add(piece.bytes);
            let mut hold = |holds: bool, rule| {
                if !holds {
                    broken.push(Violation::Data { itt, rule });
                }
            };
            hold(!ordered || piece.offset == end, "Data-In is out of order");
            hold(
                burst_bytes <= params.max_burst_length,
                "Data-In sequence passes MaxBurstLength",
            );
            end = piece.offset.saturating_add(piece.bytes);
            if ends_sequence {
                burst_bytes = 0;
            }
        }
        if burst_bytes > 0 {
            let rule = "Data-In sequence has no final PDU";
            broken.push(Violation::Data { itt, rule });
        }
    }
}

impl Piece {
    const fn is_data(&self) -> bool {
        matches!(self.kind, Kind::Data { .. })
    }
}

/// Numbers in rising order as runs: the first and how many.
pub(crate) fn runs(numbers: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, length)) if first.wrapping_add(*length) == *number => *length += 1,
            _ => runs.push((*number, 1)),
        }
    }
    runs
}

/// Numbers asked for at a time.
const MAX_ASKED: usize = 4096;
