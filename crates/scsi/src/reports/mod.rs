//! Commands that are answered at once from the LU's snapshot, with data that the device server makes itself.
//!
//! It knows no I/O and no task state: snapshot and CDB in, bytes out.

mod buffer;
mod capacity;
mod copies;
mod defects;
mod diagnostics;
mod identifying;
mod inquiry;
mod log;
mod luns;
mod mode;
mod operation_codes;
mod request_sense;
mod target_ports;
mod task_management;
mod third_party_copy;
mod timestamp;
mod vpd;

pub(crate) use buffer::read_buffer;
pub(crate) use capacity::{read_capacity_10, read_capacity_16};
pub(crate) use copies::{
    copy_failure_details, copy_operating_parameters, copy_status_lid1, copy_status_lid4,
    rod_token_information,
};
pub(crate) use defects::{read_defect_data_10, read_defect_data_12};
pub(crate) use diagnostics::{SUPPORTED_PAGES, receive_diagnostic_results};
pub(crate) use identifying::report_identifying_information;
pub(crate) use inquiry::{Features, PeripheralQualifier, inquiry, standard_inquiry};
pub(crate) use log::{LogPageRow, PAGES as LOG_PAGES, log_sense};
pub(crate) use luns::report_luns;
pub(crate) use mode::{
    ModeSelectList, PAGES as MODE_PAGES, PageRow as ModePageRow, mode_sense, plain_page,
    restored_fields, saved_fields,
};
pub(crate) use operation_codes::report_operation_codes;
pub(crate) use request_sense::request_sense;
pub(crate) use target_ports::report_target_port_groups;
pub(crate) use task_management::report_task_management;
pub(crate) use timestamp::report_timestamp;
pub(crate) use vpd::{PAGES as VPD_PAGES, PAGES_OF_ALL as VPD_PAGES_OF_ALL, VpdRow};

use crate::command::Command;
use crate::reply::Reply;
use crate::sense::Refusal;
use crate::snapshot::LuSnapshot;
use crate::step::Done;
use crate::view::LunView;

/// What a report is made from.
pub(crate) struct Asked<'a> {
    pub(crate) lu: &'a LuSnapshot,
    pub(crate) view: &'a LunView<'a>,
    pub(crate) command: &'a Command,
}

/// How a report is made: the reply ends in a status of its own, or the command is refused.
pub(crate) type Reported = Result<Done, Refusal>;

impl Asked<'_> {
    /// A reply to the command, with the CDB's ALLOCATION LENGTH.
    pub(crate) fn reply<'o>(&self, allocation_bytes: u32, out: &'o mut Vec<u8>) -> Reply<'o> {
        Reply::new(out, allocation_bytes, self.command.data_in_bytes)
    }
}
