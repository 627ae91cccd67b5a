//! The start: saved state or file, which wins, and what becomes of devices that are not there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{Engine, EngineConfig, Missing};
use model::{Plan, Tree};

use super::bus::Bus;
use super::commit::Wish;
use super::saved::{BootError, ConfigFile, Saved};
use super::{Core, CoreConfig, Pool};
use crate::helper::HelperPool;
use crate::isns::IsnsClient;

/// Who the audit log names for what the daemon does by itself.
const BOOT: &str = "boot";

/// In the state directory: persistent reservations that outlast the process.
const RESERVATIONS: &str = "reservations";

impl Core {
    /// Starts serving what is saved, and applies the file where that is due. When it returns, every portal serves.
    ///
    /// # Errors
    /// The saved state is damaged, the file has mistakes, or nothing can be served.
    pub fn start(config: CoreConfig) -> Result<Self, BootError> {
        let (saved, tree) = Saved::open(config.state_dir.as_deref(), config.recover)?;
        let file = match &config.config {
            Some(path) => Some(ConfigFile::read(path)?),
            None => None,
        };
        let (bus, helpers) = (Arc::new(Bus::default()), Arc::new(HelperPool::default()));
        let engine = EngineConfig {
            helpers: Some(Arc::new(Pool(Arc::clone(&helpers)))),
            observer: Some(Arc::clone(&bus) as Arc<dyn engine::Observer>),
            reservations: config.state_dir.as_ref().map(|dir| dir.join(RESERVATIONS)),
            ..config.engine
        };
        let engine = Engine::idle(engine, None).map_err(|e| BootError::Problem(e.to_string()))?;
        let core = Self {
            driver: format!("{:?}", engine.driver().kind).to_lowercase(),
            workers: engine.workers(),
            engine,
            saved: Mutex::new(saved),
            sizes: Mutex::new(BTreeMap::new()),
            bus,
            helpers,
            isns: IsnsClient::default(),
            config: config.config,
        };
        let due = match (&tree, &file) {
            (_, None) => None,
            (None, Some(file)) => Some((file, "nothing is saved")),
            (Some(_), Some(file)) if super::lock(&core.saved).is_news(file) => {
                Some((file, "it differs from the one that was applied last"))
            }
            (Some(_), Some(file)) => {
                tracing::info!(file = %file.path.display(), "the saved state holds: the file was applied before");
                None
            }
        };
        if let Some(tree) = tree {
            core.serve_saved(tree)?;
        }
        if let Some((file, why)) = due {
            tracing::info!(file = %file.path.display(), "the file is applied: {why}");
            core.apply_file(file, BOOT, false)
                .map_err(|problem| BootError::Problem(with_errors(&problem)))?;
        }
        Ok(core)
    }

    /// Serves what was committed before. A device that is not there degrades what stands on it.
    fn serve_saved(&self, tree: Tree) -> Result<(), BootError> {
        let plan = Plan::start(tree);
        tracing::info!(
            generation = plan.tree.generation,
            "the saved state is served"
        );
        let missing = Missing::Degrade;
        let save = &mut |_: &Plan| Ok(());
        let applied = self.engine.apply(&plan, missing, Duration::ZERO, save);
        let release = applied.map_err(|error| BootError::Problem(error.to_string()))?;
        self.follow(&plan, &release);
        Ok(())
    }

    fn apply_file(
        &self,
        file: &ConfigFile,
        who: &str,
        dry_run: bool,
    ) -> Result<control_api::Outcome, control_api::Problem> {
        let wish = Wish {
            who,
            action: "apply",
            if_generation: None,
            dry_run,
            missing: Missing::Refuse,
            config: None,
        };
        let whole = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
        let base = whole.parent().unwrap_or_else(|| Path::new("/"));
        let outcome = self.apply_text(&wish, &file.text, base, Some(&file.path))?;
        for warning in &outcome.warnings {
            tracing::warn!("{warning}");
        }
        Ok(outcome)
    }

    /// Reads the desired-state file again and applies it: SIGHUP. Problems go to the log; what runs stays.
    pub fn reload(&self) {
        let Some(path) = &self.config else {
            tracing::warn!("there is no --config to read again");
            return;
        };
        let applied = ConfigFile::read(path)
            .map_err(|error| error.to_string())
            .and_then(|file| {
                self.apply_file(&file, "SIGHUP", false)
                    .map_err(|problem| with_errors(&problem))
            });
        match applied {
            Ok(outcome) => tracing::info!(
                generation = outcome.generation,
                changes = outcome.effects.len(),
                "the file is applied"
            ),
            Err(error) => tracing::error!("the file is not applied, and what runs stays: {error}"),
        }
    }
}

/// A problem with each of its mistakes on a line of its own.
fn with_errors(problem: &control_api::Problem) -> String {
    if problem.errors.is_empty() {
        return problem.to_string();
    }
    let lines: Vec<String> = problem.errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
