//! One server of a manager: its settings, and a pool for every identity.

use std::{collections::HashMap, sync::Arc};

use mcp_config::{EffectiveSettings, Entry, PoolSettings};
use mcp_pool_core::{AcquireError, Budget, Lease, PoolOptions, SessionPool, Sharing};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    dial::{Dialer, Setup, WithSetup},
    error::{Error, ErrorKind, Secrets},
    identity::Identity,
    scope::{ScopeHandle, ScopeRegistry},
};

/// Pools of identities kept for when they come back. Beyond that, the longest unused idle ones are let go.
const KEPT_IDENTITIES: usize = 64;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    pub(crate) dialer: Dialer,
    budget: Budget,
    tasks: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entry: Entry,
    pools: HashMap<Option<Identity>, Arc<ServerPool>>,
    shut: bool,
}

/// The pool of a server for one identity. The pool proper is exchanged when settings change that it cannot change.
#[derive(Debug)]
pub(crate) struct ServerPool {
    pub(crate) server: Arc<str>,
    pub(crate) identity: Option<Identity>,
    pub(crate) secrets: Secrets,
    pub(crate) setup: Setup,
    pub(crate) scopes: ScopeRegistry,
    current: Mutex<Current>,
    asked_for: Mutex<Instant>,
}

/// A pool and the settings it was made with.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) pool: SessionPool,
    pub(crate) settings: Arc<EffectiveSettings>,
    /// Tells scopes of this pool from those of one before it.
    pub(crate) generation: u64,
}

impl Server {
    pub(crate) fn new(entry: Entry, dialer: Dialer, budget: Budget, tasks: TaskTracker) -> Self {
        let state = State {
            entry,
            pools: HashMap::new(),
            shut: false,
        };
        Self {
            name: Arc::clone(&dialer.name),
            dialer,
            budget,
            tasks,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn settings(&self) -> EffectiveSettings {
        self.state.lock().entry.settings().clone()
    }

    /// Why the server cannot be used, if it cannot.
    pub(crate) fn disabled(&self) -> Option<String> {
        self.state.lock().entry.disabled().map(ToString::to_string)
    }

    /// The pool for an identity, made on first use. Opens nothing.
    pub(crate) fn pool(&self, identity: Option<&Identity>) -> Result<Arc<ServerPool>, Error> {
        let mut state = self.state.lock();
        if state.shut {
            return Err(Error::shutting_down(&self.name));
        }
        if let Some(reason) = state.entry.disabled() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the server is disabled: {reason}"),
            )
            .of(&self.name));
        }
        if let Some(pool) = state.pools.get(&identity.cloned()) {
            *pool.asked_for.lock() = Instant::now();
            return Ok(Arc::clone(pool));
        }
        let settings = Arc::new(state.entry.settings().clone());
        let setup = Setup::default();
        let pool = self.make_pool(identity, &settings, &setup)?;
        let pool = Arc::new(ServerPool {
            server: Arc::clone(&self.name),
            identity: identity.cloned(),
            secrets: self.dialer.secrets(identity),
            setup,
            scopes: ScopeRegistry::default(),
            current: Mutex::new(Current {
                pool,
                settings,
                generation: 0,
            }),
            asked_for: Mutex::new(Instant::now()),
        });
        state.pools.insert(identity.cloned(), Arc::clone(&pool));
        let_go_of_the_longest_unused(&mut state.pools);
        Ok(pool)
    }

    /// Lays settings over those there are, for pools that exist and those to come.
    pub(crate) fn configure(&self, settings: PoolSettings) -> Result<(), Error> {
        let mut state = self.state.lock();
        let settings = Arc::new(state.entry.configure(settings)?.clone());
        for pool in state.pools.values() {
            let mut current = pool.current.lock();
            if can_change(&current.settings, &settings) {
                let options = options(&settings, pool.identity.as_ref());
                current
                    .pool
                    .configure(options)
                    .map_err(|error| self.invalid(&error))?;
                current.settings = Arc::clone(&settings);
                continue;
            }
            let fresh = self.make_pool(pool.identity.as_ref(), &settings, &pool.setup)?;
            let generation = current.generation + 1;
            let old = std::mem::replace(
                &mut *current,
                Current {
                    pool: fresh,
                    settings: Arc::clone(&settings),
                    generation,
                },
            );
            self.tasks.spawn(async move {
                // First without a limit, so that no call is cut short; then for good.
                old.pool.drain().await;
                old.pool.close().await;
            });
        }
        Ok(())
    }

    pub(crate) fn pools(&self) -> Vec<Arc<ServerPool>> {
        self.state.lock().pools.values().cloned().collect()
    }

    /// A pool of one session at the most, for one call.
    pub(crate) fn temporary_pool(
        &self,
        identity: Option<&Identity>,
    ) -> Result<(SessionPool, Secrets), Error> {
        if self.state.lock().shut {
            return Err(Error::shutting_down(&self.name));
        }
        if let Some(reason) = self.disabled() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the server is disabled: {reason}"),
            )
            .of(&self.name));
        }
        let settings = self.settings();
        let mut options = options(&settings, identity);
        options.min_connections = 0;
        options.max_connections = 1;
        let connector = self.connector(identity, &settings)?;
        let pool = self.build(connector, &settings, options)?;
        Ok((pool, self.dialer.secrets(identity)))
    }

    /// Closes a temporary pool off the caller's path; shutdown waits for it.
    pub(crate) fn dispose(&self, pool: SessionPool) {
        self.tasks.spawn(async move { pool.close().await });
    }

    /// No more pools; those there are come out to be closed.
    pub(crate) fn shut(&self) -> Vec<Arc<ServerPool>> {
        let mut state = self.state.lock();
        state.shut = true;
        state.pools.values().cloned().collect()
    }

    fn make_pool(
        &self,
        identity: Option<&Identity>,
        settings: &EffectiveSettings,
        setup: &Setup,
    ) -> Result<SessionPool, Error> {
        let inner = self.connector(identity, settings)?;
        let connector = WithSetup {
            inner,
            setup: setup.clone(),
        };
        self.build(Arc::new(connector), settings, options(settings, identity))
    }

    fn connector(
        &self,
        identity: Option<&Identity>,
        settings: &EffectiveSettings,
    ) -> Result<Arc<dyn mcp_pool_core::Connector>, Error> {
        self.dialer.connector(identity, settings).map_err(|error| {
            Error::new(ErrorKind::Config, error.to_string())
                .of(&self.name)
                .caused_by(error)
        })
    }

    fn build(
        &self,
        connector: Arc<dyn mcp_pool_core::Connector>,
        settings: &EffectiveSettings,
        options: PoolOptions,
    ) -> Result<SessionPool, Error> {
        SessionPool::builder(Arc::clone(&self.name), connector)
            .handshake(self.dialer.handshake(settings))
            .options(options)
            .budget(self.budget.clone())
            .build()
            .map_err(|error| self.invalid(&error))
    }

    fn invalid(&self, error: &mcp_pool_core::InvalidOptions) -> Error {
        Error::new(ErrorKind::Config, error.to_string()).of(&self.name)
    }
}

impl ServerPool {
    pub(crate) fn current(&self) -> Current {
        self.current.lock().clone()
    }

    /// A place on a session, in this scope.
    pub(crate) async fn acquire(&self, scope: &ScopeHandle) -> Result<Lease, Error> {
        let mut current = self.current();
        loop {
            let lease = match scope.in_pool(&current) {
                Some(scope) => current.pool.acquire_in(&scope).await,
                None => current.pool.acquire().await,
            };
            if let Some(lease) = self.unless_exchanged(&mut current, lease) {
                return lease;
            }
        }
    }

    /// A session for one caller alone, in this scope.
    pub(crate) async fn pin(
        &self,
        scope: &ScopeHandle,
    ) -> Result<mcp_pool_core::PinnedSession, Error> {
        let mut current = self.current();
        loop {
            let session = match scope.in_pool(&current) {
                Some(scope) => current.pool.pin_in(&scope).await,
                None => current.pool.pin().await,
            };
            if let Some(session) = self.unless_exchanged(&mut current, session) {
                return session;
            }
        }
    }

    /// The answer of a pool, unless it is only that another has taken its place, which then is the current one.
    fn unless_exchanged<T>(
        &self,
        current: &mut Current,
        answer: Result<T, AcquireError>,
    ) -> Option<Result<T, Error>> {
        if matches!(answer, Err(AcquireError::Closed)) {
            let newest = self.current();
            if newest.generation != current.generation {
                *current = newest;
                return None;
            }
        }
        Some(answer.map_err(|error| Error::acquire(&self.server, &self.secrets, error)))
    }

    fn is_idle(&self) -> bool {
        let status = self.current.lock().pool.status();
        status.in_flight == 0 && status.waiters == 0
    }
}

/// Whether a pool made with the one can go on with the other.
fn can_change(from: &EffectiveSettings, to: &EffectiveSettings) -> bool {
    let pinned = |settings: &EffectiveSettings| settings.sharing == mcp_config::Sharing::Pinned;
    pinned(from) == pinned(to)
        && from.lifecycle == to.lifecycle
        && from.inherit_env == to.inherit_env
        && from.max_message_size == to.max_message_size
}

fn let_go_of_the_longest_unused(pools: &mut HashMap<Option<Identity>, Arc<ServerPool>>) {
    while pools.len() > KEPT_IDENTITIES {
        let unused = pools
            .iter()
            // Somebody who holds the pool counts on it.
            .filter(|(identity, pool)| {
                identity.is_some() && Arc::strong_count(pool) == 1 && pool.is_idle()
            })
            .min_by_key(|(_, pool)| *pool.asked_for.lock())
            .map(|(identity, _)| identity.clone());
        match unused {
            Some(identity) => drop(pools.remove(&identity)),
            None => return,
        }
    }
}

fn options(settings: &EffectiveSettings, identity: Option<&Identity>) -> PoolOptions {
    let mut options = PoolOptions::default();
    // Somebody who came once is not kept a warm session for ever.
    options.min_connections = if identity.is_some() {
        0
    } else {
        settings.min_connections
    };
    options.max_connections = settings.max_connections;
    options.max_idle_time = settings.max_idle_time;
    options.max_session_age = settings.max_session_age;
    options.connection_timeout = settings.connection_timeout;
    options.health_check_interval = settings.health_check_interval;
    options.probe_timeout = settings.probe_timeout;
    options.retry_attempts = settings.retry_attempts;
    options.retry_delay = settings.retry_delay;
    options.sharing = match settings.sharing {
        mcp_config::Sharing::Exclusive => Sharing::Exclusive,
        mcp_config::Sharing::Pinned => Sharing::Pinned,
        _ => Sharing::Multiplexed,
    };
    options.max_in_flight = settings.max_in_flight;
    options.scale_up_at = settings.scale_up_at;
    // The caller of an empty pool waits for its opening: nobody could ever be first otherwise.
    options.max_waiters = (settings.max_waiters as usize).max(1);
    options.max_connecting = settings.max_connecting;
    options.shutdown_grace = settings.shutdown_grace;
    options
}
