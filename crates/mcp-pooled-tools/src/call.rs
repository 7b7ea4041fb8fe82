//! The path of a call: deadline, lease, request, verdict.
//!
//! The deadline is outside everything. rmcp's own fire late on a hung HTTP server and never on a process that has
//! stopped reading, because they first await that the server takes the cancellation. Dropping the call's future
//! frees its place at once, and tells the server where it still listens.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcp_pool_core::{CallFailure, CallGuard, Lease, Phase, Session};
use rmcp::service::ServiceError;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Error, Operation, Secrets},
    scope::ScopeHandle,
    server::{Current, ServerPool},
};

/// What may be set for one call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CallOptions {
    pub(crate) timeout: Option<Duration>,
}

impl CallOptions {
    /// Nothing set: the pool's settings hold.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the whole call, waiting for a session included. Default: `call_timeout`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

/// One call: to whom, about what, and for how long.
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Arc<str>,
    pub(crate) secrets: &'a Secrets,
    pub(crate) operation: Operation,
    pub(crate) limit: Duration,
}

impl Call<'_> {
    /// Makes the call on a session of the pool.
    pub(crate) async fn on_pool<T, F, R>(
        self,
        pool: &ServerPool,
        current: &Current,
        scope: &ScopeHandle,
        request: F,
    ) -> Result<T, Error>
    where
        F: FnOnce(Arc<Session>) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let deadline = Instant::now() + self.limit;
        let leased = AtomicBool::new(false);
        // One attempt. What decides whether there is one, and whether there is another, goes round this block.
        let attempt = async {
            let lease = pool.acquire(scope).await?;
            leased.store(true, Ordering::Relaxed);
            self.on_session(&lease, deadline, request).await
        };
        match timeout_at(deadline, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let phase = if leased.into_inner() {
                    Phase::Call
                } else {
                    bottleneck(current)
                };
                Err(Error::timeout(
                    self.server,
                    &self.operation,
                    phase,
                    self.limit,
                ))
            }
        }
    }

    /// Makes the call on a session that is held already.
    pub(crate) async fn on_held<T, F, R>(self, held: &impl Held, request: F) -> Result<T, Error>
    where
        F: FnOnce(Arc<Session>) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let deadline = Instant::now() + self.limit;
        match timeout_at(deadline, self.on_session(held, deadline, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::timeout(
                self.server,
                &self.operation,
                Phase::Call,
                self.limit,
            )),
        }
    }

    async fn on_session<T, F, R>(
        &self,
        held: &impl Held,
        deadline: Instant,
        request: F,
    ) -> Result<T, Error>
    where
        F: FnOnce(Arc<Session>) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let session = held.session();
        let guard = held.begin_call(deadline);
        match request(Arc::clone(session)).await {
            Ok(reply) => {
                guard.answered();
                Ok(reply)
            }
            Err(error) => {
                let failure = guard.failed(&error);
                let cause = cause_of_end(session, failure).await;
                Err(Error::call(
                    self.server,
                    self.secrets,
                    &self.operation,
                    failure,
                    error,
                    cause,
                ))
            }
        }
    }
}

/// What a call that has no session yet is waiting for.
fn bottleneck(current: &Current) -> Phase {
    let connections = current.pool.status().connections;
    if connections.idle + connections.active == 0 {
        Phase::Open
    } else {
        Phase::Queue
    }
}

async fn cause_of_end(session: &Session, failure: CallFailure) -> Option<String> {
    if failure == CallFailure::Answered || !session.has_ended() {
        return None;
    }
    match session.close_reason() {
        Some(reason) if !reason.is_fault() => {
            Some(format!("the pool closed the session ({reason})"))
        }
        _ => Some(session.cause_of_end().await),
    }
}

/// A session in hand, shared or whole.
pub(crate) trait Held {
    fn session(&self) -> &Arc<Session>;
    fn begin_call(&self, deadline: Instant) -> CallGuard<'_>;
}

impl Held for Lease {
    fn session(&self) -> &Arc<Session> {
        Lease::session(self)
    }

    fn begin_call(&self, deadline: Instant) -> CallGuard<'_> {
        Lease::begin_call(self, Some(deadline))
    }
}

impl Held for mcp_pool_core::PinnedSession {
    fn session(&self) -> &Arc<Session> {
        mcp_pool_core::PinnedSession::session(self)
    }

    fn begin_call(&self, deadline: Instant) -> CallGuard<'_> {
        mcp_pool_core::PinnedSession::begin_call(self, Some(deadline))
    }
}
