//! One server of a manager: its settings, and a pool for everyone on whose behalf it is called.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]

mod options;
mod pools;
mod reload;

use options::options;
use pools::Pools;
pub(crate) use reload::Change;
use std::{future::Future, sync::Arc};

use mcp_config::{Disabled, EffectiveSettings, Entry, Sharing, Transport};
use mcp_pool_core::{
    Budget, Connector, Era, InvalidOptions, PoolOptions, SessionPool, WeakSessionPool,
};
use parking_lot::Mutex;
use rmcp::model::{ClientConfig, LoggingLevel};
use tokio::{
    runtime::{EnterGuard, Handle},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;
use tracing::{
    Span,
    dispatcher::{get_default, with_default},
};

pub(crate) use crate::server_pool::{ServerPool, Snapshot};
use crate::{
    call::circuit::Circuit,
    connector::{ConnectorFactory, Setup, Target, WithSetup},
    error::{Error, ErrorKind},
    identity::Identity,
    monitor::Monitor,
    notifications::Notifications,
    secrets::Secrets,
    subscription::resources::Subscriptions,
    telemetry::Telemetry,
    temporary::TemporarySession,
    tool_cache::ToolCache,
    tool_list::ToolList,
};

const REMOVED: &str = "the server was removed from the configuration";

/// Schemas of one server that are worked on at once.
const SCHEMA_WORK: usize = 2;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    pub(crate) telemetry: Telemetry,
    monitor: Arc<Monitor>,
    budget: Budget,
    tasks: Tasks,
    /// Places beside the pools, for when one is full.
    direct: Mutex<(u32, Arc<Semaphore>)>,
    schema_work: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entry: Entry,
    factory: Arc<ConnectorFactory>,
    pools: Pools,
    /// Pools that are in use though they are not among those above: exchanged for others, or for one call.
    others: Vec<WeakSessionPool>,
    /// No longer in the configuration.
    removed: bool,
    shut: bool,
    /// Of all sessions, if it was set for all.
    log_level: Option<LoggingLevel>,
}

impl State {
    fn disabled(&self) -> Option<String> {
        match self.entry.disabled()? {
            // What stands in for the server needs nothing of what is wrong with it.
            Disabled::Invalid(_) if self.factory.is_mock() => None,
            reason => Some(reason.to_string()),
        }
    }

    /// Has shutdown close the pool, if it is still there by then.
    fn also_close(&mut self, pool: &SessionPool) {
        self.others.retain(|other| other.upgrade().is_some());
        self.others.push(pool.downgrade());
    }
}

/// Who a pool's sessions are for: an identity, and what its client declares, which a session says once and for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct PoolKey {
    identity: Option<Identity>,
    declares: Option<String>,
    /// Sessions belong to scopes, whatever `sharing` says.
    scoped: bool,
}

impl PoolKey {
    fn new(server: &str, identity: Option<&Identity>, info: Option<&ClientConfig>) -> Self {
        Self {
            identity: identity.map(|identity| identity.at(server)),
            declares: info.and_then(|info| serde_json::to_string(info).ok()),
            scoped: false,
        }
    }
}

/// The manager's tasks, on the runtime on which it was made: settings are also changed, and handles dropped, where
/// there is none.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    runtime: Handle,
}

impl Tasks {
    /// Must be called on a runtime; that one serves where there is none.
    pub(crate) fn here() -> Self {
        Self {
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }

    /// To be on the manager's runtime, from wherever.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = Handle::try_current().unwrap_or_else(|_| self.runtime.clone());
        self.tracker.spawn_on(task, &runtime);
    }
}

impl Server {
    pub(crate) fn new(
        entry: Entry,
        factory: ConnectorFactory,
        budget: Budget,
        tasks: Tasks,
        monitor: Arc<Monitor>,
    ) -> Self {
        let max_direct = entry.settings().max_direct;
        let telemetry = monitor
            .telemetry(&factory.name)
            .with_transport(match factory.kind() {
                "stdio" => Some("pipe"),
                "http" => Some("tcp"),
                _ => None,
            });
        Self {
            name: Arc::clone(&factory.name),
            telemetry,
            monitor,
            budget,
            tasks,
            direct: Mutex::new((max_direct, Arc::new(Semaphore::new(max_direct as usize)))),
            schema_work: Arc::new(Semaphore::new(SCHEMA_WORK)),
            state: Mutex::new(State {
                entry,
                factory: Arc::new(factory),
                pools: Pools::default(),
                others: Vec::new(),
                removed: false,
                shut: false,
                log_level: None,
            }),
        }
    }

    pub(crate) fn settings(&self) -> EffectiveSettings {
        self.state.lock().entry.settings().clone()
    }

    /// What is configured, as it holds now.
    pub(crate) fn entry(&self) -> Entry {
        self.state.lock().entry.clone()
    }

    /// How the server is reached.
    pub(crate) fn factory(&self) -> Arc<ConnectorFactory> {
        Arc::clone(&self.state.lock().factory)
    }

    /// Whether the server is known to speak the modern protocol.
    pub(crate) fn is_modern(&self) -> bool {
        self.factory().era.get() == Some(Era::Modern)
    }

    /// Whether its era decides who shares its sessions, and is not known yet.
    pub(crate) fn waits_for_its_era(&self) -> bool {
        let state = self.state.lock();
        state.entry.declared_sharing().is_none() && state.factory.era.get().is_none()
    }

    /// Whether scopes with a client use the sessions of all: those of a modern server, which asks in its replies, and of
    /// a legacy one that is set to be shared, whose questions belong to no scope.
    pub(crate) fn is_shared_by_scopes(&self) -> bool {
        let state = self.state.lock();
        state.entry.settings().sharing != Sharing::Pinned
            && (state.entry.declared_sharing() == Some(Sharing::Multiplexed)
                || state.factory.era.get() == Some(Era::Modern))
    }

    /// Whether the configuration leaves it out, in contrast to one with something wrong in its configuration.
    pub(crate) fn is_switched_off(&self) -> bool {
        matches!(
            self.state.lock().entry.disabled(),
            Some(Disabled::SwitchedOff(_))
        )
    }

    /// Distinguishes this server from another of the same name. Secrets are no part of it.
    pub(crate) fn definition(&self) -> String {
        let factory = self.factory();
        match &factory.target {
            Target::Config(config) => serde_json::to_string(config.transport()).unwrap_or_default(),
            Target::Custom(_) | Target::Mock(_) => factory.kind().to_owned(),
        }
    }

    /// Whether the server is given secrets, or may be by a connector of its own.
    pub(crate) fn has_credentials(&self) -> bool {
        let factory = self.factory();
        let Target::Config(config) = &factory.target else {
            return true;
        };
        if factory.has_sources() {
            return true;
        }
        match config.transport() {
            Transport::Stdio(_) => !config.secrets().is_empty(),
            Transport::Http(http) => !http.headers_from.is_empty() || !config.secrets().is_empty(),
            _ => true,
        }
    }

    /// Whether a session is open for the identity.
    pub(crate) fn runs(&self, identity: Option<&Identity>) -> bool {
        let pool = self
            .state
            .lock()
            .pools
            .get(&PoolKey::new(&self.name, identity, None));
        pool.is_some_and(|pool| !pool.snapshot().pool.sessions().is_empty())
    }

    /// Whether any session for an identity is open, whatever it declares and to whichever scope it belongs.
    pub(crate) fn has_sessions_of(&self, identity: Option<&Identity>) -> bool {
        let pools = self.state.lock().pools.of(identity);
        pools
            .iter()
            .any(|pool| !pool.snapshot().pool.sessions().is_empty())
    }

    /// Open sessions over all pools.
    pub(crate) fn sessions(&self) -> usize {
        let pools = self.pools();
        let sessions = pools
            .iter()
            .map(|pool| pool.snapshot().pool.sessions().len());
        sessions.sum()
    }

    /// Why the server cannot be used, if it cannot.
    pub(crate) fn disabled(&self) -> Option<String> {
        self.state.lock().disabled()
    }

    /// The pool for an identity, made on first use. Opens nothing.
    pub(crate) fn pool(&self, identity: Option<&Identity>) -> Result<Arc<ServerPool>, Error> {
        self.pool_of(identity, None)
    }

    /// The pool for an identity and what its client declares; without `info`, what sessions declare by default.
    pub(crate) fn pool_of(
        &self,
        identity: Option<&Identity>,
        info: Option<ClientConfig>,
    ) -> Result<Arc<ServerPool>, Error> {
        let key = PoolKey::new(&self.name, identity, info.as_ref());
        self.pool_for(key, info)
    }

    /// The same for scopes with a client of their own: a session belongs to one scope, whose calls run side by side.
    pub(crate) fn pool_of_scopes(
        &self,
        identity: Option<&Identity>,
        info: ClientConfig,
    ) -> Result<Arc<ServerPool>, Error> {
        let key = PoolKey {
            scoped: true,
            ..PoolKey::new(&self.name, identity, Some(&info))
        };
        self.pool_for(key, Some(info))
    }

    fn pool_for(&self, key: PoolKey, info: Option<ClientConfig>) -> Result<Arc<ServerPool>, Error> {
        let mut state = self.state.lock();
        self.usable(&state)?;
        if let Some(pool) = state.pools.get_for_use(&key) {
            return Ok(pool);
        }
        let settings = Arc::new(state.entry.settings().clone());
        let context = PoolContext {
            identity: key.identity.clone(),
            info: info.unwrap_or_else(|| state.factory.client.clone()),
            kept_warm: key == PoolKey::default(),
            scoped: key.scoped,
            tasks: self.tasks.clone(),
            setup: Setup::default(),
            notifications: Arc::new(Notifications::new(self.telemetry.clone())),
            subscriptions: Subscriptions::default(),
            secrets: state.factory.secrets(key.identity.as_ref()),
            telemetry: self.telemetry.of_pool(),
        };
        if let Some(level) = state.log_level {
            context.setup.set_level(level);
        }
        let max_identities = settings.max_identities as usize;
        let current = self.make(&state.factory, &context, settings, 0)?;
        let pool = Arc::new(ServerPool::new(Arc::clone(&self.name), context, current));
        self.monitor.watch(&pool);
        state.pools.insert(key, Arc::clone(&pool));
        while let Some(unused) = state.pools.evict_one(max_identities) {
            let unused = unused.snapshot().pool.clone();
            self.tasks.spawn(async move { unused.close().await });
        }
        Ok(pool)
    }

    pub(crate) fn pools(&self) -> Vec<Arc<ServerPool>> {
        self.state.lock().pools.values().cloned().collect()
    }

    /// Sets the level of log messages on all sessions of all pools, now and to come.
    pub(crate) async fn set_log_level(&self, level: LoggingLevel) {
        let pools: Vec<_> = {
            let mut state = self.state.lock();
            state.log_level = Some(level);
            state.pools.values().cloned().collect()
        };
        let mut setting = JoinSet::new();
        for pool in pools {
            setting.spawn(async move { pool.set_log_level(level).await });
        }
        setting.join_all().await;
    }

    /// The list of tools that the pool for an identity and a declaration keeps, if it is there and its list is good.
    pub(crate) fn known_tools(
        &self,
        identity: Option<&Identity>,
        info: Option<&ClientConfig>,
    ) -> Option<Arc<ToolList>> {
        let key = PoolKey::new(&self.name, identity, info);
        let pool = self.state.lock().pools.get(&key)?;
        pool.context.tools().get()
    }

    /// A place beside the pool, if there is one.
    pub(crate) fn direct_permit(&self) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.direct.lock().1);
        places.try_acquire_owned().ok()
    }

    /// A session for one caller, in no pool.
    pub(crate) async fn temporary_session(
        &self,
        identity: Option<&Identity>,
        info: Option<ClientConfig>,
        secrets: &Secrets,
    ) -> Result<TemporarySession, Error> {
        let (settings, factory) = {
            let state = self.state.lock();
            self.usable(&state)?;
            (state.entry.settings().clone(), Arc::clone(&state.factory))
        };
        let mut options = options(&settings, false);
        options.max_connections = 1;
        let connector = self.connector(&factory, identity, &settings, secrets)?;
        let info = info.unwrap_or_else(|| factory.client.clone());
        let handshake = factory.handshake(
            &settings,
            info,
            Arc::new(Notifications::new(self.telemetry.clone())),
        );
        let pool = SessionPool::builder(Arc::clone(&self.name), connector)
            .handshake(handshake)
            .options(options)
            .redact({
                let secrets = secrets.clone();
                move |text| secrets.redact(text)
            })
            .budget(self.budget.clone())
            .build()
            .map_err(|error| self.invalid(&error))?;
        {
            let mut state = self.state.lock();
            self.usable(&state)?;
            state.also_close(&pool);
        }
        TemporarySession::open(pool, self.tasks.clone())
            .await
            .map_err(|error| Error::acquire(&self.name, secrets, error))
    }

    /// Does something beside the callers; shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Does schema work where blocking is allowed, a little at a time. Shutdown waits for it. `None` if it panicked.
    ///
    /// # Cancel safety
    /// May be dropped at any point; work that has begun is finished.
    pub(crate) async fn schema_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.schema_work).acquire_owned().await.ok()?;
        // What it logs belongs to the caller.
        let (log, span) = (get_default(Clone::clone), Span::current());
        let work = self.tasks.tracker.spawn_blocking(move || {
            let _place = place;
            with_default(&log, || span.in_scope(work))
        });
        work.await.ok()
    }

    /// No more pools; those there are come out to be closed.
    pub(crate) fn shut(&self) -> Vec<SessionPool> {
        let mut state = self.state.lock();
        state.shut = true;
        for pool in state.pools.values() {
            pool.context.subscriptions.stop();
        }
        let current = state
            .pools
            .values()
            .map(|pool| pool.snapshot().pool.clone());
        current
            .chain(state.others.iter().filter_map(WeakSessionPool::upgrade))
            .collect()
    }

    /// Why no call can be made, if none can.
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        self.usable(&self.state.lock())
    }

    fn usable(&self, state: &State) -> Result<(), Error> {
        if state.shut {
            return Err(Error::shutting_down(&self.name));
        }
        if state.removed {
            return Err(Error::gone(&self.name, REMOVED));
        }
        match state.disabled() {
            None => Ok(()),
            Some(reason) => Err(Error::disabled(&self.name, &reason)),
        }
    }

    fn make(
        &self,
        factory: &ConnectorFactory,
        context: &PoolContext,
        settings: Arc<EffectiveSettings>,
        generation: u64,
    ) -> Result<Snapshot, Error> {
        let circuit = Circuit::new(&self.telemetry, &settings)?;
        let connector = WithSetup {
            inner: self.connector(
                factory,
                context.identity.as_ref(),
                &settings,
                &context.secrets,
            )?,
            setup: context.setup.clone(),
            notifications: Arc::clone(&context.notifications),
        };
        let (observed, telemetry) = (circuit.clone(), self.telemetry.clone());
        let secrets = context.secrets.clone();
        let pool = SessionPool::builder(Arc::clone(&self.name), connector)
            .handshake(factory.handshake(
                &settings,
                context.info.clone(),
                context.notifications.clone(),
            ))
            .options(context.options(&settings))
            .budget(self.budget.clone())
            .redact(move |text| secrets.redact(text))
            .observer(move |event: &mcp_pool_core::PoolEvent| {
                telemetry.on_pool_event(event);
                observed.on_pool_event(event);
            })
            .build()
            .map_err(|error| self.invalid(&error))?;
        circuit.attach(&pool);
        Ok(Snapshot {
            pool,
            scoped: context.scoped || settings.sharing == Sharing::Pinned,
            settings,
            generation,
            circuit,
            gone: None,
        })
    }

    fn connector(
        &self,
        factory: &ConnectorFactory,
        identity: Option<&Identity>,
        settings: &EffectiveSettings,
        secrets: &Secrets,
    ) -> Result<Arc<dyn Connector>, Error> {
        let connector = factory.connector(identity, settings, secrets);
        connector.map_err(|error| {
            Error::new(ErrorKind::Config, error.to_string())
                .of(&self.name)
                .caused_by(&error)
        })
    }

    fn invalid(&self, error: &InvalidOptions) -> Error {
        Error::new(ErrorKind::Config, error.to_string()).of(&self.name)
    }
}

/// What stays the same when a pool is exchanged for another.
#[derive(Debug)]
pub(crate) struct PoolContext {
    pub(crate) identity: Option<Identity>,
    pub(crate) info: ClientConfig,
    pub(crate) kept_warm: bool,
    /// Sessions belong to scopes, whatever `sharing` says.
    pub(crate) scoped: bool,
    pub(crate) tasks: Tasks,
    pub(crate) setup: Setup,
    pub(crate) notifications: Arc<Notifications>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) secrets: Secrets,
    pub(crate) telemetry: Telemetry,
}

impl PoolContext {
    pub(crate) fn tools(&self) -> &Arc<ToolCache> {
        &self.notifications.tools
    }

    fn options(&self, settings: &EffectiveSettings) -> PoolOptions {
        let mut options = options(settings, self.kept_warm);
        if self.scoped {
            if options.sharing == mcp_pool_core::SharingMode::Exclusive {
                options.max_in_flight = 1;
            }
            options.sharing = mcp_pool_core::SharingMode::Pinned;
        }
        options
    }
}
