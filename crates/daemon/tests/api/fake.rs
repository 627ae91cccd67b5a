//! A control in memory: objects by path, generations, and gates that hold a change for as long as a test wants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard};

use control_api::{
    AttributeInfo, AuditEntry, Change, ConnectionState, Effect, EffectAction, Event, ExplainLun,
    ExplainOutcome, ExplainQuery, ExplainStep, Explanation, ExportFormat, HistoryEntry, Object,
    Outcome, Problem, ProblemItem, Refusal, Rollback, Session, SessionAuthentication,
    SessionConnection, SessionCounters, SessionKind, SessionState, Status, Terms, Transaction,
    TreeAnswer,
};
use daemon::control::{Caller, Control};
use serde_json::json;

/// See the module.
#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) objects: BTreeMap<String, Object>,
    /// Who changed something.
    pub(crate) callers: Vec<Caller>,
    /// What was applied, with its base.
    pub(crate) applied: Vec<(String, Option<String>, bool)>,
    pub(crate) ended: Vec<u64>,
    pub(crate) not_ready: bool,
    /// The next changes panic.
    pub(crate) is_broken: bool,
    /// Bytes of an export.
    pub(crate) export_bytes: usize,
    watchers: Vec<SyncSender<Event>>,
    is_held: bool,
    held: usize,
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A change that panics on purpose poisons it.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes wait from now on.
    pub(crate) fn hold(&self) {
        self.state().is_held = true;
    }

    pub(crate) fn release(&self) {
        self.state().is_held = false;
        self.moved.notify_all();
    }

    /// Until so many changes wait.
    pub(crate) fn wait_for_held(&self, count: usize) {
        drop(
            self.moved
                .wait_while(self.state(), |state| state.held != count)
                .unwrap(),
        );
    }

    /// Tells every watcher; how many are left.
    pub(crate) fn emit(&self, event: &Event) -> usize {
        let mut state = self.state();
        state
            .watchers
            .retain(|watcher| watcher.try_send(event.clone()).is_ok());
        state.watchers.len()
    }

    pub(crate) fn watchers(&self) -> usize {
        self.state().watchers.len()
    }

    fn pass_gate(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if state.is_held {
            state.held += 1;
            self.moved.notify_all();
            state = self.moved.wait_while(state, |state| state.is_held).unwrap();
            state.held -= 1;
            self.moved.notify_all();
        }
        state
    }
}

impl State {
    fn check_terms(&self, terms: Terms) -> Result<(), Problem> {
        match terms.if_generation {
            Some(asked) if asked != self.generation => {
                Err(Problem::stale_generation(asked, self.generation))
            }
            _ => Ok(()),
        }
    }

    fn make(&mut self, change: &Change) -> Result<Effect, Problem> {
        let path = change.path().to_owned();
        let effect = |action, attributes| Effect {
            path: path.clone(),
            action,
            attributes,
        };
        match change {
            Change::Create { attributes, .. } => {
                if self.objects.contains_key(&path) {
                    return Err(Problem::new(422, "exists", format!("{path} exists")));
                }
                let kind = if path.starts_with("/backstores/") {
                    "backstore"
                } else {
                    "target"
                };
                let set = attributes.keys().cloned().collect::<Vec<_>>();
                let object = Object {
                    path: path.clone(),
                    kind: kind.to_owned(),
                    id: Some(self.objects.len() as u64),
                    attributes: attributes.clone(),
                    set: set.clone(),
                    ..Object::default()
                };
                self.objects.insert(path.clone(), object);
                Ok(effect(EffectAction::Create, set))
            }
            Change::Set { attributes, .. } => {
                let object = self.objects.get_mut(&path);
                let object = object.ok_or_else(|| Problem::no_such_object(&path))?;
                for (name, value) in attributes {
                    if name == "alais" {
                        return Err(Problem::invalid(vec![ProblemItem {
                            path: path.clone(),
                            code: "unknown_attribute".to_owned(),
                            reason: "there is no attribute alais".to_owned(),
                            hint: "did you mean alias?".to_owned(),
                            ..ProblemItem::default()
                        }]));
                    }
                    if value.is_null() {
                        object.attributes.remove(name);
                        object.set.retain(|set| set != name);
                    } else {
                        object.attributes.insert(name.clone(), value.clone());
                        if !object.set.contains(name) {
                            object.set.push(name.clone());
                        }
                    }
                }
                Ok(effect(
                    EffectAction::Modify,
                    attributes.keys().cloned().collect(),
                ))
            }
            Change::Delete { cascade, .. } => {
                let below = format!("{path}/");
                if !cascade && self.objects.keys().any(|other| other.starts_with(&below)) {
                    return Err(Problem::new(
                        422,
                        "not_empty",
                        format!("{path} has children"),
                    ));
                }
                self.objects
                    .remove(&path)
                    .ok_or_else(|| Problem::no_such_object(&path))?;
                self.objects.retain(|other, _| !other.starts_with(&below));
                Ok(effect(EffectAction::Delete, Vec::new()))
            }
        }
    }
}

pub(crate) fn session(id: u64) -> Session {
    Session {
        id,
        initiator: "iqn.2026-11.org.example:host1".to_owned(),
        initiator_alias: None,
        isid: "400001370000".to_owned(),
        tsih: 1,
        target: "iqn.2026-11.org.example:vm1".to_owned(),
        tpg: 1,
        kind: SessionKind::Normal,
        worker: 0,
        connections: vec![SessionConnection {
            cid: 0,
            local: "[::1]:3260".to_owned(),
            peer: "[::1]:40000".to_owned(),
            portal: "[::]:3260".to_owned(),
            state: ConnectionState::FullFeature,
        }],
        parameters: [("MaxBurstLength".to_owned(), "262144".to_owned())].into(),
        authentication: SessionAuthentication::ChapMutual,
        luns: 2,
        since_s: 5,
        counters: SessionCounters {
            commands: 7,
            ..SessionCounters::default()
        },
        state: SessionState::FullFeature,
    }
}

pub(crate) fn refusal() -> Refusal {
    Refusal {
        unix_time_ms: 1,
        peer: "[::1]:1".to_owned(),
        local: "[::1]:3260".to_owned(),
        initiator: "iqn.2026-11.org.example:h".to_owned(),
        target: String::new(),
        status: "0202h".to_owned(),
        rule: "acl".to_owned(),
        text: "no ACL".to_owned(),
    }
}

impl Control for Fake {
    fn status(&self) -> Status {
        let state = self.state();
        Status {
            version: "1".to_owned(),
            generation: state.generation,
            ready: !state.not_ready,
            ..Status::default()
        }
    }

    fn tree(&self, path: &str, depth: u32) -> Result<TreeAnswer, Problem> {
        let state = self.state();
        let generation = state.generation;
        if path == "/" {
            let children: Vec<Object> = state.objects.values().cloned().collect();
            let child_count = children.len();
            let children = if depth == 0 { Vec::new() } else { children };
            let (path, kind) = ("/".to_owned(), "daemon".to_owned());
            let object = Object {
                path,
                kind,
                children,
                child_count,
                ..Object::default()
            };
            return Ok(TreeAnswer { generation, object });
        }
        let object = state
            .objects
            .get(path)
            .ok_or_else(|| Problem::no_such_object(path))?;
        Ok(TreeAnswer {
            generation,
            object: object.clone(),
        })
    }

    fn transact(
        &self,
        caller: &Caller,
        transaction: &Transaction,
        dry_run: bool,
    ) -> Result<Outcome, Problem> {
        let mut state = self.pass_gate();
        assert!(!state.is_broken, "broken on purpose");
        if let Some(asked) = transaction.if_generation
            && asked != state.generation
        {
            return Err(Problem::stale_generation(asked, state.generation));
        }
        let before = state.objects.clone();
        let made: Result<Vec<_>, _> = transaction.changes.iter().map(|c| state.make(c)).collect();
        if dry_run || made.is_err() {
            state.objects = before;
        } else {
            state.generation += 1;
            state.callers.push(*caller);
        }
        let generation = state.generation;
        Ok(Outcome {
            generation,
            dry_run,
            effects: made?,
            ..Outcome::default()
        })
    }

    fn apply(
        &self,
        caller: &Caller,
        text: &str,
        base: Option<&Path>,
        terms: Terms,
    ) -> Result<Outcome, Problem> {
        let mut state = self.pass_gate();
        state.check_terms(terms)?;
        let dry_run = terms.dry_run;
        if text.contains("mistake") {
            let item = |line| ProblemItem {
                path: "target".to_owned(),
                code: "unknown_key".to_owned(),
                reason: "mistake".to_owned(),
                line: Some(line),
                file: Some("a.toml".to_owned()),
                ..ProblemItem::default()
            };
            return Err(Problem::invalid(vec![item(1), item(7)]));
        }
        let base = base.map(|base| base.to_str().unwrap().to_owned());
        state.applied.push((text.to_owned(), base, dry_run));
        state.callers.push(*caller);
        Ok(Outcome {
            generation: state.generation,
            dry_run,
            ..Outcome::default()
        })
    }

    fn export(
        &self,
        _: &Caller,
        format: ExportFormat,
        with_secrets: bool,
    ) -> Result<String, Problem> {
        let filler = "#".repeat(self.state().export_bytes);
        Ok(format!("{} {with_secrets}{filler}", format.as_str()))
    }

    fn sessions(&self) -> Vec<Session> {
        vec![session(1), session(u64::MAX)]
    }

    fn end_session(&self, _: &Caller, id: u64) -> Result<(), Problem> {
        if self.sessions().iter().any(|session| session.id == id) {
            self.state().ended.push(id);
            return Ok(());
        }
        Err(Problem::new(404, "no_such_session", "gone"))
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explanation, Problem> {
        let text = format!("{} {} {:?}", query.initiator, query.target, query.portal);
        let rule = "acl".to_owned();
        let step = ExplainStep {
            rule,
            path: None,
            outcome: ExplainOutcome::Passes,
            text,
        };
        let backstore = "ram/a".to_owned();
        let lun = ExplainLun {
            lun: 0,
            backstore,
            write_protect: true,
        };
        Ok(Explanation {
            admitted: true,
            login_status: None,
            steps: vec![step],
            luns: vec![lun],
        })
    }

    fn history(&self) -> Vec<HistoryEntry> {
        let (who, what) = ("boot".to_owned(), vec!["create /x".to_owned()]);
        vec![HistoryEntry {
            generation: 3,
            unix_time_ms: 9,
            who,
            what,
        }]
    }

    fn rollback(&self, _: &Caller, back: Rollback) -> Result<Outcome, Problem> {
        let Rollback {
            generation, terms, ..
        } = back;
        self.state().check_terms(terms)?;
        if generation > 3 {
            return Err(Problem::new(
                404,
                "no_such_generation",
                "the history does not know it",
            ));
        }
        Ok(Outcome {
            generation,
            dry_run: terms.dry_run,
            ..Outcome::default()
        })
    }

    fn refused(&self) -> Vec<Refusal> {
        vec![refusal()]
    }

    fn attributes(&self, kind: Option<&str>) -> Vec<AttributeInfo> {
        let info = |kind: &str, name: &str, create_only| AttributeInfo {
            kind: kind.to_owned(),
            name: name.to_owned(),
            value_type: "string".to_owned(),
            range: None,
            choices: Vec::new(),
            default: json!(""),
            lio_default: None,
            help: "helps".to_owned(),
            origin: "Quintain".to_owned(),
            secret: false,
            create_only,
            effective: true,
        };
        let mut table = vec![
            info("target", "alias", false),
            info("backstore", "path", true),
        ];
        table.retain(|info| kind.is_none_or(|kind| kind == info.kind));
        table
    }

    fn audit(&self) -> Vec<AuditEntry> {
        let (who, action) = ("uid 0 (pid 1)".to_owned(), "apply".to_owned());
        vec![AuditEntry {
            unix_time_ms: 9,
            who,
            generation: 4,
            action,
            paths: vec!["/x".to_owned()],
        }]
    }

    fn metrics(&self) -> String {
        "# TYPE quintain_sessions gauge\nquintain_sessions 2\n# EOF\n".to_owned()
    }

    fn subscribe(&self) -> Receiver<Event> {
        let (sender, receiver) = sync_channel(10_000);
        self.state().watchers.push(sender);
        receiver
    }
}
