//! A server's configuration changes while it is in use.
//!
//! Whatever may fail is done first, and nothing has changed if it does. Then each pool changes in place where it can, and
//! where it cannot another takes its place: callers in line move over, calls under way stay where they are until they are
//! done. Handles hold what does not change, and so follow by themselves.

use std::sync::Arc;

use mcp_config::{EffectiveSettings, Entry, Initialization, PoolSettings, Sharing};
use mcp_pool_core::{PoolOptions, SessionPool};
use parking_lot::MutexGuard;
use tokio::sync::Semaphore;

use super::{REMOVED, Server, ServerPool, Snapshot, State};
use crate::{call::circuit::Guarding, dial::Dialer, error::Error};

/// What a new entry came to for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// In place: sessions are kept.
    Settings,
    /// Another pool; the old one winds down.
    Replaced,
    /// There is a server to use where there was none.
    Added,
    /// There is none to use any more; what there was winds down.
    Removed,
    /// Wrong: what there was stays.
    Kept,
}

/// What becomes of one pool.
enum Next {
    InPlace(PoolOptions, Snapshot),
    Another(Snapshot),
}

/// What is left to do when the lock is released.
#[derive(Default)]
struct Aftermath {
    old: Vec<SessionPool>,
    to_warm: Vec<SessionPool>,
}

impl Server {
    /// Lays settings over those there are, for pools that exist and those to come.
    pub(crate) fn configure(self: &Arc<Self>, settings: PoolSettings) -> Result<(), Error> {
        let state = self.state.lock();
        let mut entry = state.entry.clone();
        entry.configure(settings)?;
        let dialer = Arc::clone(&state.dialer);
        self.change(state, entry, dialer).map(drop)
    }

    /// Puts a new entry in place of the old one. What code has set for this server stays set.
    pub(crate) fn reload(
        self: &Arc<Self>,
        mut entry: Entry,
        dialer: impl FnOnce(&Entry) -> Dialer,
    ) -> Result<Change, Error> {
        let mut state = self.state.lock();
        let was_usable = !state.removed && state.disabled().is_none();
        let set_in_code = state.entry.code_settings();
        if !set_in_code.is_empty() {
            entry.configure(set_in_code.clone())?;
        }
        let (mocked, wrong) = (state.dialer.is_mock(), !entry.problems().is_empty());
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
        let dialer = if reached_as_before {
            Arc::clone(&state.dialer)
        } else {
            Arc::new(dialer(&entry))
        };
        let change = self.change(state, entry, dialer)?;
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
        dialer: Arc<Dialer>,
    ) -> Result<Change, Error> {
        let settings = Arc::new(entry.settings().clone());
        let mut nexts = Vec::new();
        for pool in state.pools.values() {
            let current = pool.snapshot();
            if let Some(next) = self.next(&state, &dialer, pool, &current, &settings)? {
                nexts.push((Arc::clone(pool), next));
            }
        }
        let mut change = if !Arc::ptr_eq(&dialer, &state.dialer) {
            Change::Replaced
        } else if entry.settings() == state.entry.settings() {
            Change::Nothing
        } else {
            Change::Settings
        };
        // Nothing can fail from here on.
        state.entry = entry;
        state.dialer = dialer;
        state.removed = false;
        self.monitor.remember(&self.recording);
        self.resize_beside(settings.max_direct);
        let mut aftermath = Aftermath::default();
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
                    let identity = pool.draft.identity.as_ref();
                    pool.secrets().learn_from(&state.dialer.secrets(identity));
                    let fresh = current.pool.clone();
                    let old = pool.exchange(current).pool;
                    pool.draft.tools().invalidate();
                    let was_warm = old.status().connections.total > 0;
                    if was_warm || settings.initialization != Initialization::Lazy {
                        aftermath.to_warm.push(fresh);
                    }
                    state.also_close(&old);
                    aftermath.old.push(old);
                }
            }
        }
        drop(state);
        self.settle(aftermath);
        Ok(change)
    }

    /// What the pool is to become; `None` if it may stay as it is.
    fn next(
        &self,
        state: &State,
        dialer: &Arc<Dialer>,
        pool: &ServerPool,
        current: &Snapshot,
        settings: &Arc<EffectiveSettings>,
    ) -> Result<Option<Next>, Error> {
        let same_server = Arc::ptr_eq(dialer, &state.dialer) && current.gone.is_none();
        if !same_server || !can_change(dialer, &current.settings, settings) {
            let (settings, generation) = (Arc::clone(settings), current.generation + 1);
            let another = self.make(dialer, &pool.draft, settings, generation)?;
            return Ok(Some(Next::Another(another)));
        }
        if current.settings == *settings {
            return Ok(None);
        }
        let options = pool.draft.options(settings);
        options.validate().map_err(|error| self.invalid(&error))?;
        let mut changed = current.clone();
        let breaks_otherwise = |other: &EffectiveSettings| {
            other.circuit_breaker != settings.circuit_breaker
                || other.call_timeout != settings.call_timeout
                || other.connection_timeout != settings.connection_timeout
        };
        if breaks_otherwise(&changed.settings) {
            changed.guarding = Guarding::new(&self.recording, settings)?;
            changed.guarding.guard(&changed.pool);
        }
        changed.settings = Arc::clone(settings);
        Ok(Some(Next::InPlace(options, changed)))
    }

    /// Ends all pools for now. Handles that are still there say why, and come to life again if the server does.
    fn retire(self: &Arc<Self>, mut state: MutexGuard<'_, State>, why: &str) {
        let why: Arc<str> = why.into();
        let mut aftermath = Aftermath::default();
        let pools: Vec<_> = state.pools.values().cloned().collect();
        for pool in pools {
            let mut current = pool.snapshot();
            if current.gone.replace(Arc::clone(&why)).is_none() {
                state.also_close(&current.pool);
                aftermath.old.push(current.pool.clone());
            }
            pool.exchange(current);
        }
        state.pools.let_unheld_go();
        drop(state);
        self.settle(aftermath);
    }

    fn settle(self: &Arc<Self>, aftermath: Aftermath) {
        let on_the_runtime = self.tasks.enter();
        for pool in aftermath.to_warm {
            pool.warm_up();
        }
        drop(on_the_runtime);
        for old in aftermath.old {
            // Whoever ends the manager finds the old pool through its server.
            let server = Arc::clone(self);
            self.tasks.spawn(async move {
                old.wind_down().await;
                drop(server);
            });
        }
    }

    fn resize_beside(&self, max_direct: u32) {
        let mut beside = self.beside.lock();
        if beside.0 != max_direct {
            *beside = (max_direct, Arc::new(Semaphore::new(max_direct as usize)));
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
    pub(crate) fn told(entry: &Entry) -> Option<String> {
        let problems = entry.problems();
        let lines = problems.iter().map(ToString::to_string);
        (!problems.is_empty()).then(|| lines.collect::<Vec<_>>().join("; "))
    }
}

fn reached(entry: &Entry) -> Option<&mcp_config::Transport> {
    entry.server().ok().map(mcp_config::ServerConfig::transport)
}

/// Whether a pool made with the one can go on with the other.
fn can_change(dialer: &Dialer, from: &EffectiveSettings, to: &EffectiveSettings) -> bool {
    let pinned = |settings: &EffectiveSettings| settings.sharing == Sharing::Pinned;
    // An HTTP transport is made for so many requests at once.
    let room = dialer.kind() != "http" || from.max_in_flight == to.max_in_flight;
    pinned(from) == pinned(to)
        && room
        && from.lifecycle == to.lifecycle
        && from.protocol_version == to.protocol_version
        && from.inherit_env == to.inherit_env
        && from.max_message_size == to.max_message_size
}
