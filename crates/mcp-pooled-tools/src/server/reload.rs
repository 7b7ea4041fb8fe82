//! Applies a new configuration to a server that is in use.
//!
//! All steps that may fail run first: after an error nothing has changed. Then each pool is changed in place, or replaced
//! where a setting cannot change in place. Waiters move to the new pool; calls in progress finish on the old one. Handles
//! hold only what stays the same, so they need no update.

use std::sync::Arc;

use mcp_config::{EffectiveSettings, Entry, Initialization, PoolSettings, Sharing};
use mcp_pool_core::{PoolOptions, SessionPool};
use parking_lot::MutexGuard;
use tokio::sync::Semaphore;

use super::{REMOVED, Server, ServerPool, Snapshot, State};
use crate::{call::circuit::Circuit, connector::ConnectorFactory, error::Error};

/// What a new entry changed for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// In place: sessions are kept.
    Settings,
    /// By a new pool; the old one winds down.
    Replaced,
    /// There is a server to use where there was none.
    Added,
    /// There is none to use any more; what there was winds down.
    Removed,
    /// Wrong: what there was stays.
    Kept,
}

/// How one pool changes.
enum Next {
    InPlace(PoolOptions, Snapshot),
    Another(Snapshot),
}

/// Pools to open or close once the lock is released.
#[derive(Default)]
struct Deferred {
    to_close: Vec<SessionPool>,
    to_warm: Vec<SessionPool>,
}

impl Server {
    /// Merges settings over the current ones, for present and future pools.
    pub(crate) fn configure(self: &Arc<Self>, settings: PoolSettings) -> Result<(), Error> {
        let state = self.state.lock();
        let mut entry = state.entry.clone();
        entry.configure(settings)?;
        let factory = Arc::clone(&state.factory);
        self.change(state, entry, factory).map(drop)
    }

    /// Puts a new entry in place of the old one. What code has set for this server stays set.
    pub(crate) fn reload(
        self: &Arc<Self>,
        mut entry: Entry,
        factory: impl FnOnce(&Entry) -> ConnectorFactory,
    ) -> Result<Change, Error> {
        let mut state = self.state.lock();
        let was_usable = !state.removed && state.disabled().is_none();
        let set_in_code = state.entry.code_settings();
        if !set_in_code.is_empty() {
            entry.configure(set_in_code.clone())?;
        }
        let (mocked, wrong) = (state.factory.is_mock(), !entry.problems().is_empty());
        if wrong && was_usable && !mocked {
            return Ok(Change::Kept);
        }
        let stood_in_for = mocked && wrong;
        if !entry.is_usable() && !stood_in_for {
            state.removed = false;
            state.entry = entry;
            if was_usable {
                let why = state.disabled().unwrap_or_default();
                self.retire(state, &format!("the server is disabled: {why}"));
                return Ok(Change::Removed);
            }
            return Ok(Change::Nothing);
        }
        let reached_as_before = mocked || reached(&state.entry) == reached(&entry);
        let factory = if reached_as_before {
            Arc::clone(&state.factory)
        } else {
            Arc::new(factory(&entry))
        };
        let change = self.change(state, entry, factory)?;
        Ok(if was_usable { change } else { Change::Added })
    }

    /// The server is no longer in the configuration. It may come back.
    pub(crate) fn remove(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.removed = true;
        self.monitor.forget(&self.name);
        self.retire(state, REMOVED);
    }

    fn change(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        entry: Entry,
        factory: Arc<ConnectorFactory>,
    ) -> Result<Change, Error> {
        let settings = Arc::new(entry.settings().clone());
        let mut nexts = Vec::new();
        for pool in state.pools.values() {
            let current = pool.snapshot();
            if let Some(next) = self.next(&state, &factory, pool, &current, &settings)? {
                nexts.push((Arc::clone(pool), next));
            }
        }
        let mut change = if !Arc::ptr_eq(&factory, &state.factory) {
            Change::Replaced
        } else if entry.settings() == state.entry.settings() {
            Change::Nothing
        } else {
            Change::Settings
        };
        // Nothing can fail from here on.
        state.entry = entry;
        state.factory = factory;
        state.removed = false;
        self.monitor.remember(&self.telemetry);
        self.resize_direct(settings.max_direct);
        let mut deferred = Deferred::default();
        for (pool, next) in nexts {
            match next {
                Next::InPlace(options, current) => {
                    current
                        .pool
                        .configure(options)
                        .expect("they were validated before");
                    pool.exchange(current);
                }
                Next::Another(current) => {
                    change = Change::Replaced;
                    let identity = pool.context.identity.as_ref();
                    pool.secrets().extend_from(&state.factory.secrets(identity));
                    let fresh = current.pool.clone();
                    let old = pool.exchange(current).pool.clone();
                    pool.context.tools().invalidate();
                    let was_warm = old.status().connections.total > 0;
                    if was_warm || settings.initialization != Initialization::Lazy {
                        deferred.to_warm.push(fresh);
                    }
                    state.also_close(&old);
                    deferred.to_close.push(old);
                }
            }
        }
        drop(state);
        self.run(deferred);
        Ok(change)
    }

    /// What the pool is to become; `None` if it may stay as it is.
    fn next(
        &self,
        state: &State,
        factory: &Arc<ConnectorFactory>,
        pool: &ServerPool,
        current: &Snapshot,
        settings: &Arc<EffectiveSettings>,
    ) -> Result<Option<Next>, Error> {
        let same_server = Arc::ptr_eq(factory, &state.factory) && current.gone.is_none();
        if !same_server || !can_change(factory, &current.settings, settings) {
            let (settings, generation) = (Arc::clone(settings), current.generation + 1);
            let another = self.make(factory, &pool.context, settings, generation)?;
            return Ok(Some(Next::Another(another)));
        }
        if current.settings == *settings {
            return Ok(None);
        }
        let options = pool.context.options(settings);
        options.validate().map_err(|error| self.invalid(&error))?;
        let mut changed = current.clone();
        let breaks_otherwise = |other: &EffectiveSettings| {
            other.circuit_breaker != settings.circuit_breaker
                || other.call_timeout != settings.call_timeout
                || other.connection_timeout != settings.connection_timeout
        };
        if breaks_otherwise(&changed.settings) {
            changed.circuit = Circuit::new(&self.telemetry, settings)?;
            changed.circuit.attach(&changed.pool);
        }
        changed.settings = Arc::clone(settings);
        Ok(Some(Next::InPlace(options, changed)))
    }

    /// Ends all pools for now. Handles that are still there say why, and come to life again if the server does.
    fn retire(self: &Arc<Self>, mut state: MutexGuard<'_, State>, why: &str) {
        let why: Arc<str> = why.into();
        let mut deferred = Deferred::default();
        let pools: Vec<_> = state.pools.values().cloned().collect();
        for pool in pools {
            let mut current = Snapshot::clone(&pool.snapshot());
            if current.gone.replace(Arc::clone(&why)).is_none() {
                state.also_close(&current.pool);
                deferred.to_close.push(current.pool.clone());
            }
            pool.exchange(current);
        }
        state.pools.remove_unused();
        drop(state);
        self.run(deferred);
    }

    fn run(self: &Arc<Self>, deferred: Deferred) {
        let on_the_runtime = self.tasks.enter();
        for pool in deferred.to_warm {
            pool.warm_up();
        }
        drop(on_the_runtime);
        for old in deferred.to_close {
            // Shutdown finds the old pool through its server.
            let server = Arc::clone(self);
            self.tasks.spawn(async move {
                old.wind_down().await;
                drop(server);
            });
        }
    }

    fn resize_direct(&self, max_direct: u32) {
        let mut direct = self.direct.lock();
        if direct.0 != max_direct {
            *direct = (max_direct, Arc::new(Semaphore::new(max_direct as usize)));
        }
    }

    /// Opens what is to be open before the first call, in the background.
    pub(crate) fn warm_up_if_eager(&self) {
        if self.settings().initialization == Initialization::Lazy {
            return;
        }
        if let Ok(pool) = self.pool(None) {
            let _on_the_runtime = self.tasks.enter();
            pool.snapshot().pool.warm_up();
        }
    }

    /// What is wrong with the new entry of a server, in words.
    pub(crate) fn problems_of(entry: &Entry) -> Option<String> {
        let problems = entry.problems();
        let lines = problems.iter().map(ToString::to_string);
        (!problems.is_empty()).then(|| lines.collect::<Vec<_>>().join("; "))
    }
}

fn reached(entry: &Entry) -> Option<&mcp_config::Transport> {
    entry.server().ok().map(mcp_config::ServerConfig::transport)
}

/// Whether a pool made with the one can go on with the other.
fn can_change(
    factory: &ConnectorFactory,
    from: &EffectiveSettings,
    to: &EffectiveSettings,
) -> bool {
    let pinned = |settings: &EffectiveSettings| settings.sharing == Sharing::Pinned;
    // An HTTP transport is made for so many requests at once.
    let room = factory.kind() != "http" || from.max_in_flight == to.max_in_flight;
    pinned(from) == pinned(to)
        && room
        && from.lifecycle == to.lifecycle
        && from.protocol_version == to.protocol_version
        && from.inherit_env == to.inherit_env
        && from.max_message_size == to.max_message_size
}
