//! What the commands and the shell ask of a daemon, whatever stands behind it: the client of the control socket, or in tests
//! a tree in memory.

use std::path::Path;

use control_api::{
    AttributeInfo, Client, ClientError, ExplainQuery, Explanation, ExportFormat, HistoryEntry,
    Outcome, Refusal, Rollback, Session, Status, Terms, Transaction, TreeAnswer,
};

/// An answer of the daemon, or why there is none.
pub(crate) type Answer<T> = Result<T, ClientError>;

/// The control plane. Calls block; each is told in `control_api::Client`.
pub(crate) trait Plane {
    fn status(&self) -> Answer<Status>;
    fn tree(&self, path: &str, depth: u32) -> Answer<TreeAnswer>;
    fn transact(&self, transaction: &Transaction, dry_run: bool) -> Answer<Outcome>;
    fn apply(&self, text: &str, base: Option<&Path>, terms: Terms) -> Answer<Outcome>;
    fn export(&self, format: ExportFormat, with_secrets: bool) -> Answer<String>;
    fn sessions(&self) -> Answer<Vec<Session>>;
    fn end_session(&self, id: u64) -> Answer<()>;
    fn explain(&self, query: &ExplainQuery) -> Answer<Explanation>;
    fn history(&self) -> Answer<Vec<HistoryEntry>>;
    fn rollback(&self, back: Rollback) -> Answer<Outcome>;
    fn refused(&self) -> Answer<Vec<Refusal>>;
    fn attributes(&self, kind: Option<&str>) -> Answer<Vec<AttributeInfo>>;
}

impl Plane for Client {
    fn status(&self) -> Answer<Status> {
        Self::status(self)
    }

    fn tree(&self, path: &str, depth: u32) -> Answer<TreeAnswer> {
        Self::tree(self, path, depth)
    }

    fn transact(&self, transaction: &Transaction, dry_run: bool) -> Answer<Outcome> {
        Self::transact(self, transaction, dry_run)
    }

    fn apply(&self, text: &str, base: Option<&Path>, terms: Terms) -> Answer<Outcome> {
        Self::apply(self, text, base, terms)
    }

    fn export(&self, format: ExportFormat, with_secrets: bool) -> Answer<String> {
        Self::export(self, format, with_secrets)
    }

    fn sessions(&self) -> Answer<Vec<Session>> {
        Self::sessions(self)
    }

    fn end_session(&self, id: u64) -> Answer<()> {
        Self::end_session(self, id)
    }

    fn explain(&self, query: &ExplainQuery) -> Answer<Explanation> {
        Self::explain(self, query)
    }

    fn history(&self) -> Answer<Vec<HistoryEntry>> {
        Self::history(self)
    }

    fn rollback(&self, back: Rollback) -> Answer<Outcome> {
        Self::rollback(self, back)
    }

    fn refused(&self) -> Answer<Vec<Refusal>> {
        Self::refused(self)
    }

    fn attributes(&self, kind: Option<&str>) -> Answer<Vec<AttributeInfo>> {
        Self::attributes(self, kind)
    }
}
