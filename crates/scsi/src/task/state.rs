//! The states of a task, and who takes which event in which.

use crate::copy::PartAsk;
use crate::lu::{HomeAction, Traffic};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::Io;

use super::access_states::AccessStates;
use super::compare_and_write::CompareAndWrite;
use super::copy::Copy;
use super::format::Format;
use super::identifying::SetIdentifying;
use super::lba_status::LbaStatus;
use super::list::List;
use super::or_write::OrWrite;
use super::persistent_reserve_out::ReserveOut;
use super::protected::Protected;
use super::sanitize::Sanitize;
use super::self_test::SelfTest;
use super::settings::{Flush, ModeSelect, Setting};
use super::transfer::{Read, Verify, Write};
use super::zero::{Unmap, WriteSame};

/// How far the command is; the data of each are valid only in it.
#[derive(Debug)]
pub(super) enum State {
    New,
    Read(Read),
    Write(Write),
    Verify(Verify),
    WriteSame(WriteSame),
    /// UNMAP, its parameter list still to come.
    UnmapList {
        bytes: u32,
    },
    Unmap(Unmap),
    CompareAndWrite(CompareAndWrite),
    OrWrite(OrWrite),
    /// Any of those that move blocks, where there is protection information.
    Protected(Box<Protected>),
    Format(Format),
    Sanitize(Box<Sanitize>),
    LbaStatus(LbaStatus),
    SelfTest(SelfTest),
    /// A short parameter list.
    List(List),
    ModeSelect(ModeSelect),
    Setting(Setting),
    Identifying(SetIdentifying),
    ReserveOut(ReserveOut),
    Flush(Flush),
    Copy(Box<Copy>),
    AccessStates(AccessStates),
    Ended,
}

/// What a state wants next. It says the same each time it is asked, until an event is handled.
#[derive(Clone, Debug)]
pub(super) enum Next {
    DataOut {
        offset: u32,
        bytes: u32,
    },
    Io(Io),
    /// Two I/Os that are one to others: this is the first, [`Next::Last`] has to follow.
    First(Io),
    Last(Io),
    /// Nothing that the store is asked.
    Within(Io),
    Part(PartAsk),
    Home(HomeAction),
    Done(Ending),
}

/// A command that ends in GOOD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) transfer_bytes: u64,
    pub(super) data_in_bytes: u32,
}

impl Ending {
    /// Of a command without Data-In.
    pub(super) fn of_data_out(transfer_bytes: u64) -> Self {
        Self {
            transfer_bytes,
            data_in_bytes: 0,
        }
    }
}

impl State {
    /// Whether a window has been written, and others may use its blocks again.
    pub(super) fn is_between_windows(&self) -> bool {
        match self {
            Self::OrWrite(or) => or.is_between_windows(),
            Self::Protected(work) => work.is_between_windows(),
            _ => false,
        }
    }

    /// How the command counts in the log pages, if it does.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        match self {
            Self::Read(_) => Some(Traffic::Read),
            Self::Write(_) | Self::WriteSame(_) | Self::CompareAndWrite(_) | Self::OrWrite(_) => {
                Some(Traffic::Write)
            }
            Self::Verify(_) => Some(Traffic::Verify),
            Self::Protected(work) => Some(work.traffic()),
            _ => None,
        }
    }

    pub(super) fn next(&self, lu: &LuSnapshot) -> Next {
        match self {
            Self::Read(read) => read.next(),
            Self::Write(write) => write.next(lu),
            Self::Verify(verify) => verify.next(),
            Self::WriteSame(same) => same.next(lu),
            Self::UnmapList { bytes } => Next::DataOut {
                offset: 0,
                bytes: *bytes,
            },
            Self::Unmap(unmap) => unmap.next(lu),
            Self::CompareAndWrite(compare) => compare.next(lu),
            Self::OrWrite(or) => or.next(lu),
            Self::Protected(work) => work.next(lu),
            Self::Format(format) => format.next(lu),
            Self::Sanitize(sanitize) => sanitize.next(),
            Self::LbaStatus(status) => status.next(),
            Self::SelfTest(test) => test.next(),
            Self::List(list) => list.next(),
            Self::ModeSelect(select) => select.next(),
            Self::Setting(setting) => setting.next(),
            Self::Identifying(set) => set.next(),
            Self::ReserveOut(reserve) => reserve.next(),
            Self::Flush(flush) => flush.next(),
            Self::Copy(copy) => copy.next(lu),
            Self::AccessStates(states) => states.next(),
            Self::New | Self::Ended => Next::Done(Ending::default()),
        }
    }

    /// The Data-Out asked for is here.
    pub(super) fn handle_data_out(&mut self, bytes: &[u8], lu: &LuSnapshot) -> Result<(), Refusal> {
        match self {
            Self::Write(write) => write.handle_data_out(bytes),
            Self::Verify(verify) => verify.handle_data_out(bytes),
            Self::WriteSame(same) => same.handle_data_out(bytes),
            Self::UnmapList { .. } => {
                *self = Self::Unmap(Unmap::parse(bytes, lu)?);
                Ok(())
            }
            Self::CompareAndWrite(compare) => compare.handle_data_out(bytes),
            Self::Format(format) => format.handle_data_out(bytes, lu),
            Self::Sanitize(sanitize) => sanitize.handle_data_out(bytes, lu),
            Self::OrWrite(or) => or.handle_data_out(bytes),
            Self::Identifying(set) => set.handle_data_out(bytes),
            Self::Protected(work) => work.handle_data_out(bytes),
            Self::ModeSelect(select) => select.handle_data_out(bytes, lu),
            Self::ReserveOut(reserve) => reserve.handle_data_out(bytes),
            Self::AccessStates(states) => states.handle_data_out(bytes, lu),
            _ => Err(Sense::INTERNAL_TARGET_FAILURE.into()),
        }
    }

    /// The I/O asked for has succeeded.
    pub(super) fn handle_io(&mut self, data_out: &[u8], scratch: &[u8]) -> Result<(), Refusal> {
        match self {
            Self::Read(read) => read.handle_io(),
            Self::Write(write) => return write.handle_io(data_out, scratch),
            Self::Verify(verify) => return verify.handle_io(data_out, scratch),
            Self::WriteSame(same) => same.handle_io(),
            Self::Unmap(unmap) => unmap.handle_io(),
            Self::CompareAndWrite(compare) => return compare.handle_io(data_out, scratch),
            Self::Format(format) => format.handle_io(),
            Self::SelfTest(test) => test.handle_io(),
            Self::OrWrite(or) => return or.handle_io(data_out, scratch),
            Self::Protected(work) => return work.handle_io(data_out, scratch),
            Self::ModeSelect(select) => select.handle_io(),
            Self::Flush(flush) => flush.handle_io(),
            Self::New
            | Self::UnmapList { .. }
            | Self::LbaStatus(_)
            | Self::List(_)
            | Self::Setting(_)
            | Self::Identifying(_)
            | Self::Sanitize(_)
            | Self::ReserveOut(_)
            | Self::Copy(_)
            | Self::AccessStates(_)
            | Self::Ended => {
                return Err(Sense::INTERNAL_TARGET_FAILURE.into());
            }
        }
        Ok(())
    }

    /// The home has granted, or done, what was asked for.
    pub(super) fn handle_granted(&mut self) -> Result<(), Refusal> {
        match self {
            Self::CompareAndWrite(compare) => compare.handle_granted(),
            Self::Format(format) => format.handle_granted(),
            Self::Sanitize(sanitize) => sanitize.handle_granted(),
            Self::OrWrite(or) => or.handle_granted(),
            Self::Protected(work) => work.handle_granted(),
            Self::Unmap(unmap) => unmap.handle_granted(),
            Self::List(list) => list.handle_granted(),
            Self::ModeSelect(select) => select.handle_granted(),
            Self::Setting(setting) => setting.handle_granted(),
            Self::Identifying(set) => set.handle_granted(),
            Self::ReserveOut(reserve) => reserve.handle_granted(),
            Self::AccessStates(states) => states.handle_granted(),
            _ => return Err(Sense::INTERNAL_TARGET_FAILURE.into()),
        }
        Ok(())
    }
}
