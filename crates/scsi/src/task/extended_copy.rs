//! EXTENDED COPY. SPC-5 r22 "EXTENDED COPY(LID4) command", SPC-4 "EXTENDED COPY(LID1) command"; see [`crate::copy`] for how a
//! command works on two logical units.

use super::state::{Ending, Next};
use super::transfer::check_complete;

use crate::command::Command;
use crate::copy::{
    CopyList, CopyRecord, Cscd, End, ListForm, MAX_DESCRIPTOR_LIST_BYTES, Place, Segment, Stretch,
};
use crate::lu::{LuShard, NexusId, TaskKey};
use crate::sense::{Refusal, Sense};
use crate::snapshot::LuSnapshot;
use crate::step::Status;
use crate::view::LunView;

/// EXTENDED COPY.
#[derive(Debug)]
pub(super) struct ExtendedCopy {
    form: ListForm,
    list_bytes: u32,
    /// Read when it is here.
    list: Option<CopyList>,
    /// The segment that is worked on.
    segment: usize,
    stretch: Option<Stretch>,
}

impl ExtendedCopy {
    /// The work of a command; `None`: it has no parameter list, and that is no error.
    pub(super) fn plan(form: ListForm, command: &Command) -> Result<Option<Self>, Refusal> {
        let list_bytes = command.cdb.be32::<10>();
        if list_bytes == 0 {
            return Ok(None);
        }
        let most = form.header_bytes() + MAX_DESCRIPTOR_LIST_BYTES;
        if list_bytes < form.header_bytes()
            || list_bytes > most
            || command.data_out_bytes < list_bytes
        {
            let sense = Sense::PARAMETER_LIST_LENGTH_ERROR;
            return Err(sense.pointing(true, 10, None).into());
        }
        Ok(Some(Self {
            form,
            list_bytes,
            list: None,
            segment: 0,
            stretch: None,
        }))
    }

    pub(super) fn next(&self) -> Next {
        if self.list.is_none() {
            return Next::DataOut {
                offset: 0,
                bytes: self.list_bytes,
            };
        }
        match self.stretch.as_ref().and_then(Stretch::next) {
            Some(part) => Next::Part(part),
            None => Next::Done(Ending {
                transfer_bytes: u64::from(self.list_bytes),
                data_in_bytes: 0,
            }),
        }
    }

    /// The list is here: the copy begins.
    pub(super) fn handle_data_out(
        &mut self,
        bytes: &[u8],
        (nexus, task): (NexusId, TaskKey),
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        check_complete(bytes, self.list_bytes)?;
        let list = CopyList::parse(self.form, bytes)?;
        if let Some(list_identifier) = list.identifier {
            let action = self.form.service_action();
            shard.begin_copy(nexus, CopyRecord::new(list_identifier, task, action))?;
        }
        self.list = Some(list);
        self.begin_segments(shard.snapshot(), view)
    }

    /// A part has ended.
    pub(super) fn handle_part(
        &mut self,
        result: Result<(), Refusal>,
        (nexus, task): (NexusId, TaskKey),
        shard: &mut LuShard,
        view: &LunView<'_>,
    ) -> Result<(), Refusal> {
        let Some(stretch) = &mut self.stretch else {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        };
        result.map_err(|refusal| failure(refusal, self.segment))?;
        let copied = stretch.handle_done();
        if stretch.next().is_none() {
            self.stretch = None;
            self.segment += 1;
            self.begin_segments(shard.snapshot(), view)?;
        }
        if let Some(record) = shard.copy_of_task(nexus, task) {
            record.bytes += copied;
            record.segments = number(self.segment);
        }
        Ok(())
    }

    /// Finds the next segment that has anything to copy.
    fn begin_segments(&mut self, lu: &LuSnapshot, view: &LunView<'_>) -> Result<(), Refusal> {
        let Some(list) = &self.list else {
            return Err(Sense::INTERNAL_TARGET_FAILURE.into());
        };
        while let Some(segment) = list.segments.get(self.segment) {
            let stretch = stretch(list, segment, lu, view)
                .map_err(|sense| sense.at_segment(number(self.segment)))?;
            if stretch.next().is_some() {
                self.stretch = Some(stretch);
                break;
            }
            self.segment += 1;
        }
        Ok(())
    }
}

/// What a segment copies, from where and to where.
fn stretch(
    list: &CopyList,
    segment: &Segment,
    lu: &LuSnapshot,
    view: &LunView<'_>,
) -> Result<Stretch, Sense> {
    let end = |identifier, lba| -> Result<End, Sense> {
        let cscd = list
            .cscd(identifier)
            .ok_or(Sense::UNREACHABLE_COPY_TARGET)?;
        let (place, block_size_bytes) = reach(cscd, lu, view)?;
        Ok(End {
            place,
            lba,
            block_size_bytes,
        })
    };
    let from = end(segment.source, segment.source_lba)?;
    let to = end(segment.destination, segment.destination_lba)?;
    let bytes = segment
        .bytes(from.block_size_bytes, to.block_size_bytes)
        .ok_or(Sense::UNEXPECTED_INEXACT_SEGMENT)?;
    Ok(Stretch::new(from, to, bytes))
}

/// Finds a logical unit that the nexus can use, and the size of its blocks.
fn reach(cscd: Cscd, lu: &LuSnapshot, view: &LunView<'_>) -> Result<(Place, u32), Sense> {
    let own = lu.geometry().block_size_bytes;
    let Cscd::Named(named) = cscd else {
        return Ok((Place::Here, own));
    };
    let naa = named.naa().ok_or(Sense::COPY_TARGET_NOT_REACHABLE)?;
    let (place, size) = if naa == lu.identity.naa_designator() {
        (Place::Here, own)
    } else {
        let reached = view
            .luns
            .find(naa)
            .ok_or(Sense::COPY_TARGET_NOT_REACHABLE)?;
        (Place::There(reached.lun), reached.block_size_bytes)
    };
    if named.peripheral_device_type != 0 {
        return Err(Sense::INCORRECT_COPY_TARGET_TYPE);
    }
    if named.block_size_bytes != 0 && named.block_size_bytes != size {
        let at = named.at.saturating_add(29);
        return Err(Sense::COPY_INVALID_FIELD.pointing(false, at, None));
    }
    Ok((place, size))
}

/// SPC-5 "Errors detected during processing of segment descriptors": what the command ends in when a part ends so.
fn failure(refusal: Refusal, segment: usize) -> Refusal {
    let sense = match refusal {
        // It may be sent again, as the command would have been that met it.
        Refusal::Status(Status::Busy) => return refusal,
        Refusal::Check(Sense::LBA_OUT_OF_RANGE) => Sense::COPY_OUT_OF_RANGE,
        Refusal::Check(sense @ Sense::COPY_TARGET_NOT_REACHABLE) => sense,
        _ => Sense::THIRD_PARTY_DEVICE_FAILURE,
    };
    sense.at_segment(number(segment)).into()
}

/// A segment's number: there are at most [`MAX_SEGMENTS`](crate::copy::MAX_SEGMENTS).
fn number(segment: usize) -> u16 {
    u16::try_from(segment).unwrap_or(u16::MAX)
}
