//! What every outer face asks of the daemon.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::Receiver;

use control_api::{
    AttributeInfo, AuditEntry, Event, ExplainQuery, Explanation, ExportFormat, HistoryEntry,
    Outcome, Problem, Refusal, Rollback, Session, Status, Terms, Transaction, TreeAnswer,
};
use engine::{Missing, SessionId};

use super::commit::Wish;
use super::convert::{kind_named, parse_changes, problem_of};
use super::explain::explain;
use super::metrics::metrics;
use super::sessions::session_of;
use super::view::{Facts, attribute_infos, view};
use super::{Core, lock};
use crate::control::{Caller, Control, Role};

impl Core {
    fn facts(&self) -> Facts {
        let mut sessions: BTreeMap<_, usize> = BTreeMap::new();
        let live = self.engine.sessions();
        for session in live {
            if let Some(target) = session.target {
                *sessions.entry((target, session.tag)).or_default() += 1;
            }
        }
        Facts {
            sizes: lock(&self.sizes).clone(),
            degraded: self.engine.degraded(),
            sessions,
        }
    }

    fn degraded_paths(&self) -> Vec<String> {
        let tree = self.tree();
        let degraded = self.engine.degraded();
        let path = |id| {
            let store = tree.backstore_by_id(id)?;
            Some(model::ObjectPath::Backstore(store.kind, store.name.clone()).to_string())
        };
        degraded.into_iter().filter_map(path).collect()
    }
}

fn wish<'a>(who: &'a str, action: &'a str, terms: Terms) -> Wish<'a> {
    Wish {
        who,
        action,
        if_generation: terms.if_generation,
        dry_run: terms.dry_run,
        missing: Missing::Refuse,
        config: None,
    }
}

/// Why a generation cannot be had back. Growth is in the way of it like nothing else, and has a way round.
fn rollback_problem(mut mistakes: Vec<model::Mistake>) -> Problem {
    for mistake in &mut mistakes {
        if mistake.error.code == model::ConfigCode::WouldShrink {
            mistake.error.hint =
                "keep the sizes of now, and have the rest back: --keep-sizes, or keep_sizes=true in the API"
                    .into();
        }
    }
    problem_of(mistakes)
}

impl Control for Core {
    fn status(&self) -> Status {
        let portals = self.engine.portals();
        let remnants = self.engine.remnants();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: Self::tree(self).generation,
            // A core is there only once every portal serves.
            ready: true,
            portals: portals.iter().map(ToString::to_string).collect(),
            sessions: self.engine.sessions().len(),
            degraded: self.degraded_paths(),
            remnants: remnants.into_iter().map(|one| one.path).collect(),
            driver: self.driver.clone(),
            workers: self.workers,
        }
    }

    fn tree(&self, path: &str, depth: u32) -> Result<TreeAnswer, Problem> {
        let tree = Self::tree(self);
        let object = view(&tree, &self.facts(), path, depth)?;
        Ok(TreeAnswer {
            generation: tree.generation,
            object,
        })
    }

    fn transact(
        &self,
        caller: &Caller,
        transaction: &Transaction,
        dry_run: bool,
    ) -> Result<Outcome, Problem> {
        let changes = parse_changes(&transaction.changes)?;
        let who = caller.to_string();
        let terms = Terms {
            dry_run,
            if_generation: transaction.if_generation,
        };
        self.commit(&wish(&who, "transaction", terms), |_| changes.clone())
    }

    fn apply(
        &self,
        caller: &Caller,
        text: &str,
        base: Option<&Path>,
        terms: Terms,
    ) -> Result<Outcome, Problem> {
        let who = caller.to_string();
        let wish = wish(&who, "apply", terms);
        self.apply_text(&wish, text, base.unwrap_or_else(|| Path::new("/")), None)
    }

    fn export(
        &self,
        caller: &Caller,
        format: ExportFormat,
        with_secrets: bool,
    ) -> Result<String, Problem> {
        if with_secrets && caller.role != Role::Admin {
            return Err(Problem::forbidden("secrets are told to an admin only"));
        }
        let tree = Self::tree(self);
        if with_secrets {
            self.bus.note(
                &caller.to_string(),
                "export_secrets",
                tree.generation,
                Vec::new(),
            );
        }
        Ok(match format {
            ExportFormat::Toml => model::desired::to_toml(&tree, with_secrets),
            ExportFormat::Saveconfig => model::saveconfig::write(&tree, with_secrets),
        })
    }

    fn sessions(&self) -> Vec<Session> {
        let tree = Self::tree(self);
        let live = self.engine.sessions();
        live.iter().map(|info| session_of(&tree, info)).collect()
    }

    fn end_session(&self, caller: &Caller, id: u64) -> Result<(), Problem> {
        let within = self.drain_timeout();
        if self.engine.end_session(SessionId(id), within).is_none() {
            return Err(
                Problem::new(404, "no_such_session", format!("there is no session {id}"))
                    .with_hint("look at the sessions; it may have ended"),
            );
        }
        let generation = Self::tree(self).generation;
        let what = vec![format!("session {id}")];
        self.bus
            .note(&caller.to_string(), "end_session", generation, what);
        Ok(())
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, Problem> {
        explain(&Self::tree(self), query)
    }

    fn history(&self) -> Vec<HistoryEntry> {
        lock(&self.saved).history()
    }

    fn rollback(&self, caller: &Caller, back: Rollback) -> Result<Outcome, Problem> {
        let generation = back.generation;
        let old = lock(&self.saved).tree_of(generation).ok_or_else(|| {
            let text = format!("generation {generation} is not remembered");
            Problem::new(404, "no_such_generation", text).with_hint("look at the history")
        })?;
        let desired = old.as_desired();
        let who = caller.to_string();
        let kept = RefCell::new(Vec::new());
        let of = |tree: &model::Tree| {
            let mut desired = desired.clone();
            if back.keep_sizes {
                *kept.borrow_mut() = tree.keep_sizes(&mut desired);
            }
            tree.changes_to(&desired)
        };
        let wish = wish(&who, "rollback", back.terms);
        let outcome = self.commit_told(&wish, of, rollback_problem)?;
        let note = |path: &model::ObjectPath| {
            format!("{path} keeps its size: it has grown since, and no disk ever shrinks")
        };
        let mut warnings: Vec<String> = kept.borrow().iter().map(note).collect();
        warnings.extend(outcome.warnings);
        Ok(Outcome {
            warnings,
            ..outcome
        })
    }

    fn refused(&self) -> Vec<Refusal> {
        self.bus.refused()
    }

    fn attributes(&self, kind: Option<&str>) -> Vec<AttributeInfo> {
        match kind {
            None => attribute_infos(None),
            Some(name) => {
                kind_named(name).map_or_else(Vec::new, |kind| attribute_infos(Some(kind)))
            }
        }
    }

    fn audit(&self) -> Vec<AuditEntry> {
        self.bus.audit()
    }

    fn metrics(&self) -> String {
        metrics(&self.engine, &self.isns)
    }

    fn subscribe(&self) -> Receiver<Event> {
        self.bus.subscribe()
    }
}
