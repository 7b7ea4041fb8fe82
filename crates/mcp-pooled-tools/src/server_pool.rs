//! The pool of one server for one identity, with what belongs to it: breaker, tools, scopes.

use std::{
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mcp_breaker::{Breaker, Permit, State};
use mcp_config::{EffectiveSettings, Sharing};
use mcp_pool_core::{AcquireError, Lease, Phase, Session, SessionId, SessionPool};
use parking_lot::Mutex;
use rmcp::{model::ListToolsResult, service::ServiceError};

use crate::{
    breaking::Guarding,
    call::{Clock, Held},
    classify::Verdict,
    error::Error,
    lists::{self, Page},
    operation::Operation,
    scope::{ScopeHandle, ScopeRegistry},
    secrets::Secrets,
    server::Draft,
    tool_cache::Fetched,
    tool_list::ToolList,
    trace::Trace,
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
            Err(error) => Verdict::without_session(error, permit.is_probe()),
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
        self.lease(scope, false).await
    }

    /// The same for what nobody asked for: it takes no notice of a loss of state away from the scope's next caller.
    async fn acquire_in_background(&self, scope: &ScopeHandle) -> Result<Lease, Error> {
        self.lease(scope, true).await
    }

    async fn lease(&self, handle: &ScopeHandle, background: bool) -> Result<Lease, Error> {
        let mut current = self.current();
        loop {
            let lease = match handle.in_pool(&self.server, &current, background)? {
                Some(scope) if background => current.pool.acquire_in_background(&scope).await,
                Some(scope) => current.pool.acquire_in(&scope).await,
                None => current.pool.acquire().await,
            };
            let generation = current.generation;
            if let Some(lease) = self.unless_exchanged(&mut current, lease) {
                return lease.inspect(|lease| handle.is_on(lease.session(), generation));
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
            let session = match scope.in_pool(&self.server, &current, false)? {
                Some(scope) => current.pool.pin_in(&scope).await,
                None => current.pool.pin().await,
            };
            let generation = current.generation;
            if let Some(session) = self.unless_exchanged(&mut current, session) {
                return session.inspect(|held| scope.is_on(held.session(), generation));
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

    /// The server's tools, from the cache if they are good there, for the pool's own decisions. Not counted as a call,
    /// and within the limit of one.
    pub(crate) async fn tool_list(
        &self,
        scope: &ScopeHandle,
        clock: &Clock,
    ) -> Result<Arc<ToolList>, Error> {
        let cache = &self.draft.tools;
        let fetched = cache.get_or_fetch(async || {
            let mut lease = self.acquire_in_background(scope).await?;
            let mut fetched = self.fetch_tools(&lease, clock).await;
            if fetched.is_err() && lease.credentials_are_stale() {
                drop(lease);
                lease = self.acquire_in_background(scope).await?;
                fetched = self.fetch_tools(&lease, clock).await;
            }
            fetched
        });
        clock
            .within(fetched)
            .await
            .unwrap_or_else(|_| Err(self.list_timeout(clock)))
    }

    async fn fetch_tools(&self, lease: &Lease, clock: &Clock) -> Result<Fetched, Error> {
        let guard = Held::begin_call(lease, clock);
        let trace = self.draft.recording.trace();
        let listing = pin!(self.list_tools(lease, &trace));
        match lease.while_it_lives(listing).await {
            Ok(fetched) => {
                guard.answered();
                Ok(fetched)
            }
            Err(error) => {
                let operation = Operation::Request(ListToolsResult::METHOD);
                let failure = guard.failed(&error);
                let (server, secrets) = (&self.server, self.secrets());
                Err(Error::call(
                    server, secrets, &operation, failure, error, None,
                ))
            }
        }
    }

    /// All tools, requested on this session, as the cache takes them.
    pub(crate) async fn list_tools(
        &self,
        session: &Session,
        trace: &Trace,
    ) -> Result<Fetched, ServiceError> {
        let asked = self.draft.tools.asks();
        let listed = lists::all::<ListToolsResult>(session, trace).await?;
        Ok(Fetched {
            asked,
            listed: listed.warned(&self.server, ListToolsResult::METHOD),
            max_age: self.settings().list_max_age,
        })
    }

    /// The error of a caller whose time ended while another fetched the list.
    pub(crate) fn list_timeout(&self, clock: &Clock) -> Error {
        let operation = Operation::Request(ListToolsResult::METHOD);
        Error::timeout(
            &self.server,
            &operation,
            Phase::Queue,
            clock.passed(),
            false,
        )
    }

    /// Whether the tool says that calling it again does no harm, and is believed.
    pub(crate) async fn says_repeatable(&self, scope: &ScopeHandle, tool: &str) -> bool {
        let settings = self.settings();
        let clock = Clock::start(settings.call_timeout);
        settings.trust_annotations
            && Box::pin(self.tool_list(scope, &clock))
                .await
                .is_ok_and(|list| list.is_repeatable(tool))
    }
}
