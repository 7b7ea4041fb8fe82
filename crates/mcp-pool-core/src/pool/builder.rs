//! Builds a pool.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{LastHandle, SessionPool};
use crate::{
    backoff::Backoff,
    budget::{Budget, Demand},
    connect::{Connector, Handshake},
    event::PoolObserver,
    inner::{Counts, Inner, State, TaskFns},
    maintenance, opener,
    options::{InvalidOptions, PoolOptions, SharingMode},
    redact::Redactor,
    router::Router,
    runtime::CurrentRuntime,
    session::Session,
    slots::Slots,
    waiters::Waiters,
};

/// Makes a [`SessionPool`].
pub struct PoolBuilder {
    pub(super) name: Arc<str>,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) handshake: Handshake,
    pub(super) options: PoolOptions,
    pub(super) observer: Option<Arc<dyn PoolObserver>>,
    pub(super) budget: Option<Budget>,
    pub(super) redactor: Redactor,
}

impl PoolBuilder {
    /// The settings. Default: [`PoolOptions::default`].
    #[must_use]
    pub fn options(mut self, options: PoolOptions) -> Self {
        self.options = options;
        self
    }

    /// How sessions introduce themselves. Default: whichever way the server understands.
    #[must_use]
    pub fn handshake(mut self, handshake: Handshake) -> Self {
        self.handshake = handshake;
        self
    }

    /// Receives what happens in the pool. Default: nothing does.
    #[must_use]
    pub fn observer(mut self, observer: impl PoolObserver) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Limits shared with other pools. Default: none but the pool's own.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Takes secrets out of all that the server may say back: the text of errors, stderr, status and log. A cause
    /// beneath an [`OpenError`](crate::OpenError) that would change is left out. Default: nothing is changed.
    ///
    /// Called on the path of openings, and for a line of stderr when it is logged or shown. If it panics, the text is replaced as a whole.
    #[must_use]
    pub fn redact(mut self, redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.redactor = Redactor::new(redact);
        self
    }

    /// Makes the pool. Opens nothing.
    ///
    /// # Errors
    /// Settings that contradict themselves.
    pub fn build(self) -> Result<SessionPool, InvalidOptions> {
        self.options.validate()?;
        let limits = self.options.limits();
        let budget = self
            .budget
            .unwrap_or_else(|| Budget::new(usize::MAX, usize::MAX));
        let pinned = self.options.sharing == SharingMode::Pinned;
        let exclusive = self.options.sharing == SharingMode::Exclusive;
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let inner = Arc::new_cyclic(|this: &Weak<Inner>| Inner {
            connector: self.connector,
            handshake: self
                .handshake
                .in_pool(Arc::clone(&self.name), tasks.clone(), self.redactor),
            slots: Slots::new(),
            name: self.name,
            options: Mutex::new(Arc::new(self.options)),
            pinned,
            exclusive: AtomicBool::new(exclusive),
            budget: budget.clone(),
            demand: Demand::default(),
            awaiting_place: AtomicU32::new(0),
            observer: self.observer,
            observer_panicked: AtomicBool::new(false),
            state: Mutex::new(State {
                router: {
                    let mut router: Router<Arc<Session>, _> = Router::new(limits);
                    router.holds_state = |session| session.may_hold_state();
                    router
                },
                waiters: Waiters::default(),
                counts: Counts::default(),
                backoff: Backoff::default(),
                failure: None,
                backing_off_until: None,
                initializing: Vec::new(),
                maintaining: false,
                runtime: CurrentRuntime::default(),
                lost_probes: Vec::new(),
                promised: None,
                promises: 0,
            }),
            task_fns: TaskFns {
                open: |inner, scope, generation, cause| {
                    Box::pin(opener::open(inner, scope, generation, cause))
                },
                maintain: |inner, guard| Box::pin(maintenance::run(inner, guard)),
            },
            tasks,
            closing,
            unlimited_grace: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            changed: Notify::new(),
            this: this.clone(),
        });
        let weak = Arc::downgrade(&inner);
        budget.join(weak);
        Ok(SessionPool(Arc::new(LastHandle(inner))))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
