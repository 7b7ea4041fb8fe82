//! The manager's part in its aggregators.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
};

use mcp_config::EffectiveAggregator;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::{ConnectionManager, Inner};
use crate::{
    aggregator::{Aggregator, Disk, Hub, follow},
    error::Error,
};

/// What aggregators share, made when there is a first one.
#[derive(Debug, Default)]
pub(super) struct Aggregate {
    settings: Arc<RwLock<EffectiveAggregator>>,
    /// Where lists are kept on disk.
    catalogue: Option<PathBuf>,
    hub: OnceLock<Arc<Hub>>,
}

impl Aggregate {
    pub(super) fn new(settings: EffectiveAggregator, catalogue: Option<PathBuf>) -> Self {
        Self {
            settings: Arc::new(RwLock::new(settings)),
            catalogue,
            hub: OnceLock::new(),
        }
    }

    /// Takes over other settings. Returns whether they differ.
    pub(super) fn reconfigure(&self, settings: EffectiveAggregator) -> bool {
        let mut current = self.settings.write();
        let differs = *current != settings;
        *current = settings;
        differs
    }
}

/// A manager that may be gone.
#[derive(Clone)]
pub(crate) struct WeakManager(Weak<Inner>);

impl WeakManager {
    pub(crate) fn upgrade(&self) -> Option<ConnectionManager> {
        self.0.upgrade().map(ConnectionManager)
    }
}

impl ConnectionManager {
    /// All servers as one client, under names that never clash. Opens nothing yet.
    #[must_use]
    pub fn aggregator(&self) -> Aggregator {
        let aggregate = &self.0.aggregate;
        let mut is_first = false;
        let hub = aggregate.hub.get_or_init(|| {
            is_first = true;
            let disk = aggregate.catalogue.as_ref().map(Disk::new);
            Arc::new(Hub::new(Arc::clone(&aggregate.settings), disk))
        });
        if is_first {
            // Events from here on, not from when the task runs.
            self.spawn(follow(WeakManager(Arc::downgrade(&self.0)), self.events()));
        }
        Aggregator::new(self.clone(), Arc::clone(hub))
    }

    /// What aggregators share, if there has been one.
    pub(crate) fn hub(&self) -> Option<&Arc<Hub>> {
        self.0.aggregate.hub.get()
    }

    /// Cancelled when the manager is shut down or gone.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.monitor.stopping()
    }

    /// # Errors
    /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown).
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.stopping().is_cancelled() {
            return Err(Error::shutting_down_all());
        }
        Ok(())
    }

    /// Does something beside the callers; shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }
}
