//! The pool of one server for one identity, with what belongs to it: breaker, tools, scopes.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]

use std::{mem, pin::pin, sync::Arc, time::Duration};

use mcp_breaker::{Permit, State};
use mcp_config::{EffectiveSettings, Sharing};
use mcp_pool_core::{Lease, Phase, SessionId, SessionPool};
use parking_lot::Mutex;
use rmcp::model::{LoggingLevel, SetLevelRequestParams};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    call::{CallDeadline, Exchange, checkout::NoSession, circuit::Circuit, classify::Verdict},
    error::Error,
    operation::Operation,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    scope::{ScopeHandle, ScopeRegistry},
    secrets::Secrets,
    server::PoolContext,
    tool_cache::Fetched,
    tool_list::ToolList,
};

const TOOLS_LIST: &str = "tools/list";

/// The pool proper is exchanged when settings change that it cannot change; the rest stays.
#[derive(Debug)]
pub(crate) struct ServerPool {
    pub(crate) server: Arc<str>,
    pub(crate) context: PoolContext,
    pub(crate) scopes: ScopeRegistry,
    current: Mutex<Arc<Snapshot>>,
}

/// A pool, its settings and its breaker as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) pool: SessionPool,
    pub(crate) settings: Arc<EffectiveSettings>,
    /// Sessions belong to scopes.
    pub(crate) scoped: bool,
    /// Distinguishes scopes of this pool from those of a former one.
    pub(crate) generation: u64,
    pub(crate) circuit: Circuit,
    /// Why there is no pool any more, if the server has gone from the configuration.
    pub(crate) gone: Option<Arc<str>>,
}

impl Snapshot {
    /// Sessions hold the state of scopes.
    pub(crate) fn is_stateful(&self) -> bool {
        self.settings.sharing == Sharing::Pinned
    }

    /// A call was lost on this session, which does not know yet whether it is dead itself: over HTTP only a connection
    /// may be. No other call is begun there, unless it holds the state of a scope.
    pub(crate) fn avoid(&self, session: SessionId) {
        if !self.is_stateful() {
            self.pool.evict(session);
        }
    }
}

impl ServerPool {
    pub(crate) fn new(server: Arc<str>, context: PoolContext, current: Snapshot) -> Self {
        Self {
            server,
            context,
            scopes: ScopeRegistry::default(),
            current: Mutex::new(Arc::new(current)),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.lock())
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<EffectiveSettings> {
        Arc::clone(&self.current.lock().settings)
    }

    /// Whether sessions hold the state of scopes.
    pub(crate) fn is_pinned(&self) -> bool {
        self.current.lock().is_stateful()
    }

    /// Puts another in place of the current one, which is returned.
    pub(crate) fn exchange(&self, next: Snapshot) -> Arc<Snapshot> {
        mem::replace(&mut *self.current.lock(), Arc::new(next))
    }

    /// What must not appear in a message about this server.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.context.secrets
    }

    /// Sets the level of log messages on all sessions, now and to come.
    pub(crate) async fn set_log_level(&self, level: LoggingLevel) {
        self.context.setup.set_level(level);
        let (snapshot, trace) = (self.snapshot(), self.context.telemetry.trace());
        let limit = snapshot.settings.probe_timeout;
        let mut setting = JoinSet::new();
        for session in snapshot.pool.sessions() {
            let mut request = Request::of("logging/setLevel", SetLevelRequestParams::new(level));
            trace.onto(request.meta_mut());
            setting.spawn(async move {
                let (exchange, options) = (Exchange::on(&session), RequestOptions::new());
                // One that has ended meanwhile needs no level, and one that does not answer is not waited for.
                let _ = timeout(limit, exchange.run(&request, &options)).await;
            });
        }
        setting.join_all().await;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.current.lock().pool.is_idle()
    }

    /// A permit for a call that may take so long.
    pub(crate) fn permit(&self, snapshot: &Snapshot, takes: Duration) -> Result<Permit, Error> {
        if let Some(why) = &snapshot.gone {
            return Err(Error::gone(&self.server, why));
        }
        let admitted = snapshot.circuit.breaker().try_acquire_for(takes);
        admitted.map_err(|rejected| Error::circuit_open(&self.server, rejected))
    }

    /// Whether no call is let through at present.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.current.lock().circuit.breaker().state() == State::Open
    }

    /// A session for one caller alone, opened or taken only if the breaker lets it through, and the snapshot it is of.
    pub(crate) async fn hold(
        &self,
        scope: &ScopeHandle,
    ) -> Result<(mcp_pool_core::PinnedLease, Arc<Snapshot>), Error> {
        loop {
            let snapshot = self.snapshot();
            let permit = self.permit(&snapshot, Duration::ZERO)?;
            let (verdict, held) = match self.pin(&snapshot, scope).await {
                // No call has been answered yet.
                Ok(held) => (Verdict::Nothing, Some(Ok(held))),
                Err(NoSession::Replaced) => (Verdict::Nothing, None),
                Err(NoSession::Failed(error)) => {
                    let verdict = Verdict::without_session(&error, permit.is_probe());
                    (verdict, Some(Err(error)))
                }
            };
            verdict.record(permit);
            if let Some(held) = held {
                return Ok((held?, snapshot));
            }
        }
    }

    /// What a call that has no session yet is waiting for.
    pub(crate) fn bottleneck(&self) -> Phase {
        // Those in use may be on their way out: what is being opened is the better sign.
        if self.current.lock().pool.is_opening() {
            Phase::Open
        } else {
            Phase::Queue
        }
    }

    /// A place on a session, in this scope, of whichever pool is the current one by then.
    pub(crate) async fn acquire(
        &self,
        scope: &ScopeHandle,
        background: bool,
    ) -> Result<Lease, Error> {
        loop {
            match self.lease(&self.snapshot(), scope, background).await {
                Ok(lease) => return Ok(lease),
                Err(NoSession::Replaced) => {}
                Err(NoSession::Failed(error)) => return Err(error),
            }
        }
    }

    /// The server's tools, from the cache if they are good there, for the pool's own decisions. Not counted as a call,
    /// and within the limit of one.
    pub(crate) async fn tool_list(
        &self,
        scope: &ScopeHandle,
        deadline: &CallDeadline,
    ) -> Result<Arc<ToolList>, Error> {
        let cache = self.context.tools();
        let fetched = pin!(cache.get_or_fetch(async || {
            let mut lease = self.acquire(scope, true).await?;
            let mut fetched = self.fetch_tools(&lease, deadline).await;
            if fetched.is_err() && lease.credentials_are_stale() {
                drop(lease);
                lease = self.acquire(scope, true).await?;
                fetched = self.fetch_tools(&lease, deadline).await;
            }
            fetched
        }));
        deadline
            .within(fetched)
            .await
            .unwrap_or_else(|_| Err(self.list_timeout(deadline)))
    }

    async fn fetch_tools(&self, lease: &Lease, deadline: &CallDeadline) -> Result<Fetched, Error> {
        let guard = lease.begin_call(deadline.for_pool());
        let mut request = Request::new(TOOLS_LIST);
        self.context.telemetry.trace().onto(request.meta_mut());
        let asked = self.context.tools().asks();
        let options = RequestOptions::new().all_pages();
        match Exchange::on(lease).run(&request, &options).await {
            Ok(reply) => {
                guard.answered();
                let reply = reply.from(&self.server, request.operation(), Some(lease.session()));
                self.fetched(reply.asked_for(Some(asked))).await
            }
            Err(error) => {
                let failure = guard.failed(&error);
                let (server, secrets) = (&self.server, self.secrets());
                let operation = request.operation();
                Err(Error::call(
                    server, secrets, &operation, failure, error, None,
                ))
            }
        }
    }

    /// A list of tools as the cache takes it.
    pub(crate) async fn fetched(&self, reply: Reply) -> Result<Fetched, Error> {
        Ok(Fetched {
            asked: reply.asked().unwrap_or_else(|| self.context.tools().asks()),
            list: reply.parse().await?,
            max_age: self.settings().list_max_age,
        })
    }

    /// The error of a caller whose time ended while another fetched the list.
    pub(crate) fn list_timeout(&self, deadline: &CallDeadline) -> Error {
        let operation = Operation::Request(TOOLS_LIST);
        Error::timeout(
            &self.server,
            &operation,
            Phase::Queue,
            deadline.passed(),
            false,
        )
    }

    /// Whether the tool says that calling it again does no harm, and is believed.
    pub(crate) async fn says_repeatable(&self, scope: &ScopeHandle, tool: &str) -> bool {
        let settings = self.settings();
        let deadline = CallDeadline::start(settings.call_timeout);
        settings.trust_annotations
            && Box::pin(self.tool_list(scope, &deadline))
                .await
                .is_ok_and(|list| list.is_repeatable(tool))
    }
}
