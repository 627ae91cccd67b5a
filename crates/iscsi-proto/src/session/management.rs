//! Task management requests and their responses (RFC 7143 §11.5, §11.6).
//!
//! What a function does to tasks is the engine's; here a request is put in order, its Referenced Task Tag is resolved,
//! and its response is kept behind the statuses that were decided before it.
//!
//! The response of a function that may end several tasks waits until the initiator has acknowledged what other connections,
//! and for some its own, had sent: see `fence`; and for the Data-Out that its R2Ts asked for: see `awaited`.

use iscsi_wire::{
    Bhs, Itt, Lun64, RejectReason, TaskManagementFunction, TaskManagementRequest,
    TaskManagementResponse, TaskManagementResponseCode,
};

use super::fence::Fencing;
use super::input::Admission;
use super::task::RequestSlot;
use super::window::HeldRequest;
use super::{ConnectionIndex, Event, Session, TaskId, TmfEvent, TmfHandle, TmfReference};
use crate::connection::{Reassignment, Reply};

/// A request that the engine has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    handle: TmfHandle,
    pub(super) connection: ConnectionIndex,
    pub(super) itt: Itt,
    pub(super) slot: RequestSlot,
    function: TaskManagementFunction,
    /// The logical unit that it is about; `None`: all.
    lun: Option<Lun64>,
    /// It is immediate, and waits for commands before it.
    waiting: Option<TaskManagementRequest>,
}

impl Pending {
    /// Whether its response waits for the data that tasks of this logical unit still expect (RFC 7143 §4.2.3.3).
    pub(super) fn awaits_data_of(&self, lun: Lun64) -> bool {
        let ends_them = matches!(
            self.function,
            TaskManagementFunction::AbortTaskSet
                | TaskManagementFunction::ClearTaskSet
                | TaskManagementFunction::LogicalUnitReset
                | TaskManagementFunction::TargetWarmReset
                | TaskManagementFunction::TargetColdReset
        );
        ends_them && self.lun.is_none_or(|of| of == lun)
    }
}

impl Session {
    pub(super) fn handle_management_request(
        &mut self,
        c: ConnectionIndex,
        bhs: &Bhs,
    ) -> Option<Event> {
        let request = match TaskManagementRequest::parse(bhs) {
            Ok(request) => request,
            Err(error) => return self.malformed(c, bhs, error),
        };
        if self.is_managing(request.itt) {
            return self.refuse(c, RejectReason::TaskInProgress, bhs);
        }
        let held = HeldRequest::Management(c, request);
        match self.admit(c, bhs, RequestSlot::ImmediateManagement, held) {
            Admission::Now(slot) => {
                self.skip_segment(c, bhs);
                self.manage(c, &request, slot)
            }
            Admission::Later => {
                self.skip_segment(c, bhs);
                None
            }
            Admission::Refused(event) => event,
        }
    }

    /// A request in its turn.
    pub(super) fn manage(
        &mut self,
        c: ConnectionIndex,
        request: &TaskManagementRequest,
        slot: RequestSlot,
    ) -> Option<Event> {
        let handle = TmfHandle(self.take_handle());
        let waits = request.immediate && self.has_to_wait(request);
        self.management.push(Pending {
            handle,
            connection: c,
            itt: request.itt,
            slot,
            function: request.function,
            lun: (!is_of_target(request.function)).then_some(request.lun),
            waiting: waits.then_some(*request),
        });
        if ends_several(request.function) {
            let lun = (!is_of_target(request.function)).then_some(request.lun);
            let concerned = self.tasks.iter();
            let concerned = concerned.filter(|(_, task)| lun.is_none_or(|lun| lun == task.lun));
            let concerned: Vec<TaskId> = concerned.map(|(id, _)| id).collect();
            concerned.into_iter().for_each(|id| self.answer_at_once(id));
        }
        if waits {
            return None;
        }
        self.act_on(handle, c, request)
    }

    /// RFC 7143 §4.2.3.3 b, §4.2.3.4 a: an immediate function on a task set waits for the commands before it that have not
    /// come; one on the target has them count as received.
    fn has_to_wait(&mut self, request: &TaskManagementRequest) -> bool {
        match request.function {
            function if is_of_target(function) => {
                self.window.plug_before(request.cmd_sn);
                false
            }
            function => ends_several(function) && self.window.lacks_before(request.cmd_sn),
        }
    }

    /// The first request that has waited for commands before it, once they have come.
    pub(super) fn take_waiting_management(&mut self) -> Option<Event> {
        while let Some((handle, c, request)) = self.next_waiting() {
            let event = self.act_on(handle, c, &request);
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn next_waiting(&mut self) -> Option<(TmfHandle, ConnectionIndex, TaskManagementRequest)> {
        let window = &self.window;
        let ready = |request: &TaskManagementRequest| !window.lacks_before(request.cmd_sn);
        let mut pending = self.management.iter_mut();
        let pending = pending.find(|one| one.waiting.as_ref().is_some_and(ready))?;
        let request = pending.waiting.take()?;
        Some((pending.handle, pending.connection, request))
    }

    /// Has the engine do it, or refuses it.
    fn act_on(
        &mut self,
        handle: TmfHandle,
        c: ConnectionIndex,
        request: &TaskManagementRequest,
    ) -> Option<Event> {
        let refused = match request.function {
            TaskManagementFunction::TaskReassign => match self.task_reassign(c, request) {
                Ok(reassignment) => {
                    self.answer_reassignment(handle, reassignment);
                    return None;
                }
                Err(refused) => refused,
            },
            // RFC 7143 §11.5.1, RFC 7144 §6.3: neither is for a task management request.
            TaskManagementFunction::AbortTask | TaskManagementFunction::QueryTask
                if self.is_other_management(request) =>
            {
                TaskManagementResponseCode::FunctionRejected
            }
            TaskManagementFunction::Other(_) => TaskManagementResponseCode::FunctionNotSupported,
            function if self.params.iscsi_protocol_level < first_level_of(function) => {
                TaskManagementResponseCode::FunctionNotSupported
            }
            function => {
                return Some(Event::TaskManagement(TmfEvent {
                    handle,
                    connection: c,
                    function,
                    lun: request.lun,
                    referenced: self.referenced(c, request),
                    immediate: request.immediate,
                    cmd_sn: request.cmd_sn,
                }));
            }
        };
        self.complete_task_management(handle, refused);
        None
    }

    /// Whether it names a task management request other than itself.
    fn is_other_management(&self, request: &TaskManagementRequest) -> bool {
        let tag = request.referenced_task_tag;
        tag != request.itt && self.is_managing(tag)
    }

    /// Whether a tag is that of a task management request without an answer.
    fn is_managing(&self, itt: Itt) -> bool {
        self.management.iter().any(|pending| pending.itt == itt)
    }

    fn referenced(&mut self, c: ConnectionIndex, request: &TaskManagementRequest) -> TmfReference {
        let aborts = match request.function {
            TaskManagementFunction::AbortTask => true,
            TaskManagementFunction::QueryTask => false,
            _ => return TmfReference::None,
        };
        let found = self.tasks.find(request.referenced_task_tag);
        if let Some(id) = found {
            self.adopt(c, id);
        }
        let task = found.and_then(|id| Some((id, self.tasks.get(id)?)));
        if let Some((_, task)) = task
            && task.lun != request.lun
        {
            // RFC 7143 §4.2.5.3, §11.5.3: the logical unit that it names has no such task.
            return TmfReference::NotFound;
        }
        // One whose data is under way to it has not been received.
        let task = task.filter(|(_, task)| !task.is_unproved());
        match task {
            Some((id, task)) if task.completion.is_none() => TmfReference::Task(id),
            // Its status leaves before the response does.
            Some((id, _)) => {
                if aborts {
                    self.answer_at_once(id);
                }
                TmfReference::NotFound
            }
            // RFC 7143 §11.6.1: a task that is not known, but whose CmdSN is in the window and before that of the
            // request, counts as received; the answer is "Function complete". Else the task does not exist.
            None if aborts && self.window.plug(request.ref_cmd_sn, request.cmd_sn) => {
                TmfReference::NotYetReceived
            }
            None => TmfReference::NotFound,
        }
    }

    /// Answers a task management request. The response leaves after the status of every command that was completed
    /// before this call. A handle that has been answered is ignored.
    pub fn complete_task_management(
        &mut self,
        handle: TmfHandle,
        response: TaskManagementResponseCode,
    ) {
        self.complete_query(handle, response, [0; 3]);
    }

    /// Answers a TASK REASSIGN that can be done, and is once the answer has been sent.
    fn answer_reassignment(&mut self, handle: TmfHandle, reassignment: Reassignment) {
        let complete = TaskManagementResponseCode::FunctionComplete;
        let Some((c, mut reply, _)) = self.take_management(handle, complete, [0; 3]) else {
            return;
        };
        reply.reassigns = Some(reassignment);
        if let Some(connection) = self.connection_mut(c) {
            connection.replies.push_back(reply);
        }
    }

    /// The same, with what a query has found: SAM-5's additional response information (RFC 7144).
    pub fn complete_query(
        &mut self,
        handle: TmfHandle,
        response: TaskManagementResponseCode,
        additional_response_information: [u8; 3],
    ) {
        let taken = self.take_management(handle, response, additional_response_information);
        let Some((c, mut reply, fencing)) = taken else {
            return;
        };
        let Some(connection) = self.connection_mut(c) else {
            return;
        };
        reply.after_completion = connection.completions;
        if let Some(fencing) = fencing {
            self.fence(c, reply, fencing);
        } else {
            connection.replies.push_back(reply);
        }
    }

    /// The response to a request, which is answered with it; its connection; and, where it is to be fenced, how.
    fn take_management(
        &mut self,
        handle: TmfHandle,
        response: TaskManagementResponseCode,
        additional_response_information: [u8; 3],
    ) -> Option<(ConnectionIndex, Reply, Option<Fencing>)> {
        let mut pending = self.management.iter();
        let at = pending.position(|pending| pending.handle == handle)?;
        let Pending {
            connection,
            itt,
            slot,
            function,
            lun,
            ..
        } = self.management.remove(at);
        let response = TaskManagementResponse {
            response,
            additional_response_information,
            itt,
            ..TaskManagementResponse::default()
        };
        let fencing = ends_several(function).then_some(Fencing {
            lun,
            // RFC 7143 §11.6.1: on all connections of the session, its own too. Not where that is the only one: there it comes behind them on
            // the stream, and libiscsi, and with it QEMU, never acknowledges the response of an earlier function.
            own: self.connections.len() > 1
                && matches!(
                    function,
                    TaskManagementFunction::AbortTaskSet | TaskManagementFunction::ClearTaskSet
                ),
        });
        Some((connection, Reply::new(response.emit(), slot), fencing))
    }
}

/// The iSCSIProtocolLevel that a function comes with.
fn first_level_of(function: TaskManagementFunction) -> u8 {
    match function {
        // RFC 7144 §5: these are for sessions that have agreed on level 2.
        TaskManagementFunction::QueryTask
        | TaskManagementFunction::QueryTaskSet
        | TaskManagementFunction::ItNexusReset
        | TaskManagementFunction::QueryAsynchronousEvent => 2,
        _ => 0,
    }
}

/// Whether a function concerns every logical unit that the session has.
fn is_of_target(function: TaskManagementFunction) -> bool {
    matches!(
        function,
        TaskManagementFunction::TargetWarmReset
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::ItNexusReset
    )
}

/// Whether a function may have ended more tasks than one, or (RFC 7143 §4.2.2.3.4) has to be fenced for another reason.
fn ends_several(function: TaskManagementFunction) -> bool {
    matches!(
        function,
        TaskManagementFunction::AbortTaskSet
            | TaskManagementFunction::ClearAca
            | TaskManagementFunction::ClearTaskSet
            | TaskManagementFunction::LogicalUnitReset
            | TaskManagementFunction::TargetWarmReset
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::ItNexusReset
    )
}
