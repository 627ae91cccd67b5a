//! Every change goes through here, whoever asks for it: planned, carried out, saved, told, and seen off.

use std::path::Path;
use std::time::Duration;

use control_api::{Event, Outcome, Problem, ProblemItem};
use engine::{ApplyError, Missing, Release, UnitReport};
use model::{Change, Desired, FileError, Mistake, ObjectPath, Plan, Tree};

use super::convert::{brief_of, effects_of, problem_of, problem_of_apply};
use super::saved::fingerprint;
use super::{Core, lock};
use crate::secret_file::fill_secrets;

/// A change that lost a race is planned anew, so many times; then its caller hears of it.
const ATTEMPTS: usize = 8;

/// Lines of a change that history shows.
const LINES: usize = 64;

/// Who asks for a change, and how.
pub(super) struct Wish<'a> {
    pub(super) who: &'a str,
    /// For the audit log: `transaction`, `apply`, `rollback`, `boot`.
    pub(super) action: &'a str,
    pub(super) if_generation: Option<u64>,
    pub(super) dry_run: bool,
    pub(super) missing: Missing,
    /// The fingerprint of the desired-state file, where it comes from one.
    pub(super) config: Option<String>,
}

impl Core {
    /// Makes changes that `of` finds for the tree in force.
    pub(super) fn commit(
        &self,
        wish: &Wish<'_>,
        of: impl Fn(&Tree) -> Vec<Change>,
    ) -> Result<Outcome, Problem> {
        self.commit_told(wish, of, problem_of)
    }

    /// As [`Self::commit`], with mistakes told by `tell`.
    pub(super) fn commit_told(
        &self,
        wish: &Wish<'_>,
        of: impl Fn(&Tree) -> Vec<Change>,
        tell: impl Fn(Vec<Mistake>) -> Problem,
    ) -> Result<Outcome, Problem> {
        for _ in 0..ATTEMPTS {
            let tree = self.tree();
            if let Some(asked) = wish.if_generation.filter(|asked| *asked != tree.generation) {
                return Err(Problem::stale_generation(asked, tree.generation));
            }
            let changes = of(&tree);
            let plan = tree.plan(&changes).map_err(&tell)?;
            if wish.dry_run {
                return Ok(self.foresee(&plan));
            }
            if plan.is_empty() {
                return Ok(Outcome {
                    generation: tree.generation,
                    warnings: plan.warnings,
                    ..Outcome::default()
                });
            }
            let what: Vec<String> = told(&changes);
            match self.carry_out(&plan, wish, what) {
                Ok((release, plan)) => return Ok(self.see_off(&release, &plan, wish)),
                Err(ApplyError::Stale { current }) => {
                    if let Some(asked) = wish.if_generation {
                        return Err(Problem::stale_generation(asked, current));
                    }
                }
                Err(error) => return Err(problem_of_apply(error, &plan)),
            }
        }
        let current = self.tree().generation;
        Err(Problem::stale_generation(current, current)
            .with_reason("other changes came first, again and again"))
    }

    fn foresee(&self, plan: &Plan) -> Outcome {
        let sessions = self.engine.touches(plan);
        Outcome {
            generation: plan.base,
            dry_run: true,
            effects: effects_of(plan),
            sessions: sessions.iter().map(brief_of).collect(),
            warnings: plan.warnings.clone(),
            remnants: Vec::new(),
        }
    }

    /// Carries a plan out, and has it saved at its commit point. Returns the plan as it was saved.
    fn carry_out(
        &self,
        plan: &Plan,
        wish: &Wish<'_>,
        what: Vec<String>,
    ) -> Result<(Release, Plan), ApplyError> {
        let within = self.drain_timeout();
        let mut saved = lock(&self.saved);
        let mut kept = None;
        let config = wish.config.as_deref();
        let mut save = |plan: &Plan| {
            saved.append(plan, wish.who, what.clone(), config)?;
            kept = Some(plan.clone());
            Ok(())
        };
        let release = self.engine.apply(plan, wish.missing, within, &mut save)?;
        let plan = kept.unwrap_or_else(|| plan.clone());
        saved.checkpoint(&plan.tree);
        drop(saved);
        self.follow(&plan, &release);
        Ok((release, plan))
    }

    /// What the daemon itself keeps of the tree.
    pub(super) fn follow(&self, plan: &Plan, release: &Release) {
        let mut sizes = lock(&self.sizes);
        for report in &release.units {
            sizes.insert(report.backstore, report.size_bytes);
        }
        for touched in &plan.touched {
            match (&touched.before, &touched.after) {
                (Some(model::Node::Backstore(gone)), None) => {
                    sizes.remove(&gone.id);
                }
                (_, Some(model::Node::Backstore(store))) if touched.changed().contains("size") => {
                    if let Some(bytes) = store.size_bytes() {
                        sizes.insert(store.id, bytes);
                    }
                }
                _ => {}
            }
        }
        drop(sizes);
        let of_helpers = |touched: &model::Touched| {
            let changed = touched.changed();
            changed.contains("auth_helper") || changed.contains("auth_helper_timeout_ms")
        };
        if plan.touched.iter().any(of_helpers) {
            self.configure_helpers(&plan.tree);
        }
        self.isns.configure(&plan.tree);
        for (path, reason) in &release.degraded {
            tracing::error!(%path, %reason, "degraded: its LUNs are not ready until the device comes");
            self.bus.tell(Event::Degraded {
                path: path.clone(),
                reason: reason.clone(),
            });
        }
    }

    pub(super) fn configure_helpers(&self, tree: &Tree) {
        let timeout = tree.daemon_setting("auth_helper_timeout_ms");
        let timeout = timeout
            .and_then(|value| value.as_integer())
            .unwrap_or(5_000);
        let timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or(5_000));
        let sockets = tree.auth_helpers();
        self.helpers
            .configure(sockets.iter().map(String::as_str), timeout);
    }

    fn see_off(&self, release: &Release, plan: &Plan, wish: &Wish<'_>) -> Outcome {
        let effects = effects_of(plan);
        let paths = effects.iter().map(|effect| effect.path.clone()).collect();
        self.bus
            .note(wish.who, wish.action, release.generation, paths);
        self.bus.tell(Event::Committed {
            generation: release.generation,
            who: wish.who.to_owned(),
            effects: effects.clone(),
        });
        let left = release.wait();
        let mut warnings = plan.warnings.clone();
        warnings.extend(copies(release, plan));
        let mut remnants = Vec::new();
        if !left.is_nothing() {
            let found = self.engine.remnants();
            remnants = found.into_iter().map(|remnant| remnant.path).collect();
            if remnants.is_empty() {
                warnings.push(format!(
                    "not everything has left by the deadline: {} sessions, {} LUNs and {} changes wait for a backstore",
                    left.sessions, left.luns, left.changes
                ));
            }
        }
        self.bus.tell(Event::Drained {
            generation: release.generation,
            remnants: remnants.clone(),
        });
        Outcome {
            generation: release.generation,
            dry_run: false,
            effects,
            sessions: release.touched.iter().map(brief_of).collect(),
            warnings,
            remnants,
        }
    }

    /// Makes the tree what a desired-state text says.
    pub(super) fn apply_text(
        &self,
        wish: &Wish<'_>,
        text: &str,
        base: &Path,
        file: Option<&Path>,
    ) -> Result<Outcome, Problem> {
        let mistakes = |errors| problem_of_file(errors, file);
        let desired = model::desired::parse(text, base)
            .and_then(fill_secrets)
            .map_err(mistakes)?;
        let wish = Wish {
            config: Some(fingerprint(text)),
            ..*wish
        };
        // What is wrong with the file alone is told at its lines.
        desired.rehearse().map_err(mistakes)?;
        // What cannot be made of the running tree is told there too.
        let located = |found| mistakes(desired.locate(found));
        let of = |tree: &Tree| desired.changes_for(tree);
        let outcome = self
            .commit_told(&wish, of, located)
            .map_err(|problem| at_its_line(problem, &desired, file))?;
        let mut warnings = desired.warnings;
        warnings.extend(outcome.warnings);
        Ok(Outcome {
            warnings,
            ..outcome
        })
    }
}

/// Backstores whose files are copies of other disks: multipath would take the two for one.
fn copies(release: &Release, plan: &Plan) -> Vec<String> {
    let line = |unit: &UnitReport| {
        let (of, serial) = (unit.copy_of.as_deref()?, &unit.serial);
        let store = plan.tree.backstore_by_id(unit.backstore)?;
        let path = ObjectPath::Backstore(store.kind, store.name.clone());
        Some(format!(
            "{path}: the file is a copy of the disk with serial {of}, so it has an identity of its own: serial {serial}; make it with serial={of} to keep the old one, for a disk that was moved"
        ))
    };
    release.units.iter().filter_map(line).collect()
}

fn told(changes: &[Change]) -> Vec<String> {
    let mut lines: Vec<String> = changes
        .iter()
        .take(LINES)
        .map(ToString::to_string)
        .collect();
    if changes.len() > LINES {
        lines.push(format!("and {} more", changes.len() - LINES));
    }
    lines
}

/// A problem with one object of a file, at that object's line.
fn at_its_line(mut problem: Problem, desired: &Desired, file: Option<&Path>) -> Problem {
    let line = problem
        .path
        .as_deref()
        .and_then(|path| desired.line_of(path));
    if problem.errors.is_empty() && line.is_some() {
        let item = ProblemItem {
            path: problem.path.clone().unwrap_or_default(),
            code: problem.code.clone().unwrap_or_default(),
            reason: problem.reason.clone().unwrap_or_default(),
            hint: problem.hint.clone().unwrap_or_default(),
            line,
            file: file.map(|path| path.display().to_string()),
        };
        problem.errors.push(item);
    }
    problem
}

fn problem_of_file(errors: Vec<FileError>, file: Option<&Path>) -> Problem {
    let file = file.map(|path| path.display().to_string());
    let item = |error: FileError| ProblemItem {
        path: error.path.unwrap_or_default(),
        code: error.code.as_str().to_owned(),
        reason: error.reason,
        hint: error.hint,
        line: error.line,
        file: file.clone(),
    };
    Problem::invalid(errors.into_iter().map(item).collect())
}
