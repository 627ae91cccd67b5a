//! The control plane's one inner face: what every outer one (HTTP, signals, tests) asks the daemon to do.
//!
//! Calls block: a change returns when it is committed and what it took away has drained. Who the caller is was settled
//! outside; an implementer still refuses what [`Caller::role`] does not allow where that depends on the question (secrets).

use std::fmt;
use std::path::Path;
use std::sync::mpsc::Receiver;

use control_api::{
    AttributeInfo, AuditEntry, Event, ExplainQuery, Explanation, ExportFormat, HistoryEntry,
    Outcome, Problem, Refusal, Rollback, Session, Status, Terms, Transaction, TreeAnswer,
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The peer's user.
    pub uid: u32,
    /// The peer's primary group.
    pub gid: u32,
    /// The peer's process when it connected; 0 where it is not known.
    pub pid: i32,
    /// What it may do.
    pub role: Role,
}

/// What a caller may do: each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look, but at no secret.
    Viewer,
    /// End sessions; enable, disable and resize what is there.
    Operator,
    /// Everything.
    Admin,
}

impl Caller {
    /// The daemon itself: boot, signals, timers.
    #[must_use]
    pub fn daemon(uid: u32, gid: u32, pid: i32) -> Self {
        Self {
            uid,
            gid,
            pid,
            role: Role::Admin,
        }
    }
}

impl fmt::Display for Caller {
    /// As it stands in the audit log and the history.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} (pid {})", self.uid, self.pid)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// The daemon as its faces see it. Paths are canonical and not percent-encoded.
pub trait Control: Send + Sync {
    /// How the daemon is.
    fn status(&self) -> Status;

    /// An object and what stands below it, `depth` levels deep.
    ///
    /// # Errors
    /// 404 where there is no such object.
    fn tree(&self, path: &str, depth: u32) -> Result<TreeAnswer, Problem>;

    /// Makes all changes, or none.
    ///
    /// # Errors
    /// 409 for another generation, 404 and 422 with every mistake, 503 while the daemon stops.
    fn transact(
        &self,
        caller: &Caller,
        transaction: &Transaction,
        dry_run: bool,
    ) -> Result<Outcome, Problem>;

    /// Makes the tree what a desired-state file says; relative paths in it are relative to `base`.
    ///
    /// # Errors
    /// 409 for another generation, 422 with every mistake at its line, 503 while the daemon stops.
    fn apply(
        &self,
        caller: &Caller,
        text: &str,
        base: Option<&Path>,
        terms: Terms,
    ) -> Result<Outcome, Problem>;

    /// The tree as a file's text.
    ///
    /// # Errors
    /// 403 for secrets where the caller is no admin.
    fn export(
        &self,
        caller: &Caller,
        format: ExportFormat,
        with_secrets: bool,
    ) -> Result<String, Problem>;

    /// Who is logged in.
    fn sessions(&self) -> Vec<Session>;

    /// Ends a session.
    ///
    /// # Errors
    /// 404 where it is gone.
    fn end_session(&self, caller: &Caller, id: u64) -> Result<(), Problem>;

    /// Would this login work, and which rules decide it.
    ///
    /// # Errors
    /// 422 for a name or a portal that is none.
    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, Problem>;

    /// The last generations, oldest first.
    fn history(&self) -> Vec<HistoryEntry>;

    /// Makes the tree what it was in a generation.
    ///
    /// # Errors
    /// 404 where the history does not reach back to it, 409 for another generation than the terms name, 422 where it cannot be
    /// made so.
    fn rollback(&self, caller: &Caller, back: Rollback) -> Result<Outcome, Problem>;

    /// The last refused logins, newest last.
    fn refused(&self) -> Vec<Refusal>;

    /// What attributes there are, of one kind of object or of all; none for a kind that there is not.
    fn attributes(&self, kind: Option<&str>) -> Vec<AttributeInfo>;

    /// The last lines of the audit log, newest last.
    fn audit(&self) -> Vec<AuditEntry>;

    /// Counters and gauges as OpenMetrics text, with its `# EOF`.
    fn metrics(&self) -> String;

    /// Every event from now on. The implementer bounds what waits for a reader and drops one that is too slow: its receiver
    /// is disconnected. A receiver that is dropped ends the subscription.
    fn subscribe(&self) -> Receiver<Event>;
}
