//! The pool of one server for one identity, with what belongs to it: breaker, tools, scopes.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mcp_breaker::{Breaker, Permit, State};
use mcp_config::{EffectiveSettings, Sharing};
use mcp_pool_core::{AcquireError, CallFailure, Lease, Phase, SessionId, SessionPool};
use parking_lot::Mutex;

use crate::{
    breaking::{Guarding, Verdict},
    error::Error,
    operation::Operation,
    scope::{ScopeHandle, ScopeRegistry},
    secrets::Secrets,
    server::Draft,
    tool_cache,
    tool_list::ToolList,
};

/// The pool proper is exchanged when settings change that it cannot change; the rest stays.
#[derive(Debug)]
pub(crate) struct ServerPool {
    pub(crate) server: Arc<str>,
    pub(crate) draft: Draft,
    pub(crate) scopes: ScopeRegistry,
    pub(crate) counts: Counts,
    current: Mutex<Current>,
}

/// A pool and the settings it was made with.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) pool: SessionPool,
    pub(crate) settings: Arc<EffectiveSettings>,
    /// Tells scopes of this pool from those of one before it.
    pub(crate) generation: u64,
    pub(crate) guarding: Guarding,
    /// Why there is no pool any more, if the server has gone from the configuration.
    pub(crate) gone: Option<Arc<str>>,
}

/// What has happened to calls since the pool was made.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    retries: AtomicU64,
    fallbacks: AtomicU64,
}

impl Counts {
    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fallback(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(crate) fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }
}

impl ServerPool {
    pub(crate) fn new(server: Arc<str>, draft: Draft, current: Current) -> Self {
        Self {
            server,
            draft,
            scopes: ScopeRegistry::default(),
            counts: Counts::default(),
            current: Mutex::new(current),
        }
    }

    pub(crate) fn current(&self) -> Current {
        self.current.lock().clone()
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<EffectiveSettings> {
        Arc::clone(&self.current.lock().settings)
    }

    /// Puts another in place of the current one, which is returned.
    pub(crate) fn exchange(&self, next: Current) -> Current {
        mem::replace(&mut *self.current.lock(), next)
    }

    /// What must not appear in a message about this server.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.draft.secrets
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.current.lock().pool.is_idle()
    }

    /// Leave to make a call.
    pub(crate) fn permit(&self) -> Result<Permit, Error> {
        let current = self.current.lock();
        if let Some(why) = &current.gone {
            return Err(Error::gone(&self.server, why));
        }
        let admitted = current.guarding.breaker().try_acquire();
        drop(current);
        admitted.map_err(|rejected| Error::circuit_open(&self.server, rejected))
    }

    /// Whether no call is let through at present.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.current.lock().guarding.breaker().state() == State::Open
    }

    /// A session for one caller alone, opened or taken only if the breaker lets it through, and the breaker for its calls.
    pub(crate) async fn hold(
        &self,
        scope: &ScopeHandle,
    ) -> Result<(mcp_pool_core::PinnedSession, Breaker), Error> {
        let permit = self.permit()?;
        let held = self.pin(scope).await;
        let verdict = match &held {
            // No call has been answered yet.
            Ok(_) => Verdict::Nothing,
            Err(error) => Verdict::of_acquire(error, permit.is_probe()),
        };
        verdict.record(permit);
        Ok((held?, self.current.lock().guarding.breaker().clone()))
    }

    /// What a call that has no session yet is waiting for.
    pub(crate) fn bottleneck(&self) -> Phase {
        // Those in use may be on their way out: what is being opened tells more.
        if self.current.lock().pool.is_opening() {
            Phase::Open
        } else {
            Phase::Queue
        }
    }

    /// A call was lost on this session, which does not know yet whether it is dead itself: over HTTP only a connection
    /// may be. No other call is begun there, unless it holds the state of a scope.
    pub(crate) fn part_with(&self, session: SessionId) {
        let current = self.current();
        if current.settings.sharing != Sharing::Pinned {
            current.pool.evict(session);
        }
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
            if let Some(why) = &newest.gone {
                return Some(Err(Error::gone(&self.server, why)));
            }
            if newest.generation != current.generation {
                *current = newest;
                return None;
            }
        }
        Some(answer.map_err(|error| Error::acquire(&self.server, self.secrets(), error)))
    }

    /// The server's tools, from the cache if they are good there.
    pub(crate) async fn tool_list(&self, scope: &ScopeHandle) -> Result<Arc<ToolList>, Error> {
        let cache = &self.draft.tools;
        let fetched = cache.get_or_fetch(async || {
            let trace = self.draft.recording.trace();
            let mut lease = self.acquire(scope).await?;
            let mut fetched = tool_cache::fetch(cache, &lease, &trace).await;
            if fetched.is_err() && lease.credentials_are_stale() {
                drop(lease);
                lease = self.acquire(scope).await?;
                fetched = tool_cache::fetch(cache, &lease, &trace).await;
            }
            fetched.map_err(|error| {
                let failure = CallFailure::of(&error);
                Error::call(
                    &self.server,
                    self.secrets(),
                    &Operation::Request("tools/list"),
                    failure,
                    error,
                    None,
                )
            })
        });
        fetched.await
    }

    /// Whether the tool says that calling it again does no harm, and is believed.
    pub(crate) async fn says_repeatable(&self, scope: &ScopeHandle, tool: &str) -> bool {
        self.settings().trust_annotations
            && self
                .tool_list(scope)
                .await
                .is_ok_and(|list| list.is_repeatable(tool))
    }
}
