//! Calls of [`Control`] block: they run on threads of the runtime's pool, a bounded number at once.

use std::sync::Arc;
use std::time::Duration;

use control_api::Problem;
use tokio::sync::Semaphore;

use super::Limits;
use crate::control::Control;

/// The control behind its two gates.
pub(super) struct Calls {
    control: Arc<dyn Control>,
    looks: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    turn_timeout: Duration,
}

impl Calls {
    pub(super) fn new(control: Arc<dyn Control>, limits: &Limits) -> Self {
        Self {
            control,
            looks: Arc::new(Semaphore::new(limits.looks)),
            changes: Arc::new(Semaphore::new(limits.changes)),
            turn_timeout: limits.turn_timeout,
        }
    }

    /// A question that changes nothing.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Control) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.run(&self.looks, question).await
    }

    /// A change. Once begun it goes on to its end, also when the caller hangs up.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&dyn Control) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.run(&self.changes, change).await
    }

    async fn run<T: Send + 'static>(
        &self,
        gate: &Arc<Semaphore>,
        work: impl FnOnce(&dyn Control) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(self.turn_timeout, Arc::clone(gate).acquire_owned());
        let Ok(Ok(permit)) = turn.await else {
            return Err(
                Problem::new(503, "busy", "the daemon works on too many requests at once")
                    .with_hint("try again in a moment"),
            );
        };
        let control = Arc::clone(&self.control);
        let call = tokio::task::spawn_blocking(move || {
            // The permit lives as long as the call, not as long as the caller's patience.
            let _permit = permit;
            work(control.as_ref())
        });
        call.await.map_err(|error| {
            tracing::error!(%error, "a control call ended in a panic");
            Problem::internal("the daemon failed at this request")
        })
    }
}
