//! The path of a call: deadline, replay, breaker, lease, request, verdict.
//!
//! The deadline is outside everything. rmcp's own fire late on a hung HTTP server and never on a process that has
//! stopped reading, because they first await that the server takes the cancellation. Dropping the call's future
//! frees its place at once, and tells the server where it still listens.
//!
//! The breaker is asked before the queue: a caller of a server that fails is answered in microseconds. Every attempt
//! has a permit of its own, and whatever ends the attempt decides what the permit says.

mod clock;
mod held;
mod options;
mod progress;
mod replay;
pub(crate) mod rounds;
mod span;

use std::{any::Any, future::Future, pin::pin, sync::Arc};

pub(crate) use clock::{Clock, Ended};
pub(crate) use held::Held;
use mcp_breaker::Breaker;
use mcp_config::{Fallback, Replay, Sharing};
use mcp_pool_core::{CallFailure, CallerHandler, Phase, PinnedSession, Session, SessionId};
pub use options::CallOptions;
use progress::Progress;
use replay::Decision;
use rmcp::{model::ClientConfig, service::ServiceError};
use span::CallSpan;
use tracing::Instrument;

use crate::{
    classify::Verdict,
    error::{Error, ErrorKind},
    identity::Identity,
    operation::Operation,
    recording::Recording,
    scope::ScopeHandle,
    secrets::Secrets,
    server::{Server, ServerPool},
    trace::Trace,
};

/// One call: to whom, about what, and for how long.
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Arc<str>,
    pub(crate) secrets: &'a Secrets,
    pub(crate) recording: &'a Recording,
    pub(crate) operation: Operation,
    pub(crate) clock: Clock,
}

/// Where a call may find a session.
pub(crate) struct Route<'a> {
    pub(crate) server: &'a Server,
    pub(crate) pool: &'a ServerPool,
    pub(crate) scope: &'a ScopeHandle,
    /// Who answers the server: then the call has a session for itself.
    pub(crate) handler: Option<&'a CallerHandler>,
    pub(crate) replay: Replay,
    pub(crate) fallback: Fallback,
}

/// A failed attempt: what the caller is told, and what became of the request if there was one.
struct Failed {
    error: Error,
    failure: Option<CallFailure>,
    session: Option<SessionId>,
}

/// Whether a call that failed is made once more.
enum Repetition {
    No,
    /// It had no effect, or may have it twice.
    Harmless,
    /// It may have run, and the caller wants it made again all the same.
    AtTheCallersRisk,
}

impl Call<'_> {
    /// Makes the call on a session of the pool, and once more where that does no harm.
    pub(crate) async fn on_pool<T, F, R>(self, route: &Route<'_>, request: F) -> Result<T, Error>
    where
        T: Any,
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let record = self.recording.call(&self.operation, self.clock.began());
        let progress = Progress::default();
        let attempts = async {
            let first = match self.attempt(1, route, &progress, &request).await {
                Ok(reply) => return Ok(reply),
                Err(first) => first,
            };
            let harmless = match self.repetition(route, &first).await {
                Repetition::No => return Err(first.error),
                Repetition::Harmless => true,
                Repetition::AtTheCallersRisk => false,
            };
            if let Some(session) = first.lost_on() {
                route.pool.part_with(session);
            }
            tracing::warn!(server = %self.server, "{} is made once more: {}", self.operation, first.error);
            if !harmless {
                *progress.unknown.lock() = Some(first.error);
            }
            route.pool.counts.retry();
            self.recording.metrics.retried();
            progress.begin_anew();
            let second = self.attempt(2, route, &progress, &request).await;
            second.map_err(|second| progress.of_both(second))
        };
        record.end(match self.clock.within(attempts).await {
            Ok(outcome) => outcome,
            Err(ended) => {
                let phase = progress.phase().unwrap_or_else(|| route.pool.bottleneck());
                let error = self.ended(ended, phase);
                let alone = progress.is_beside() || progress.is_probe();
                progress.settle(if phase == Phase::Call {
                    Verdict::of(&error)
                } else {
                    Verdict::without_session(&error, alone)
                });
                let unknown = progress.unknown.lock().take();
                let unknown = unknown.filter(|_| phase != Phase::Call);
                Err(unknown.unwrap_or(error))
            }
        })
    }

    /// Makes the call on a session that is held already, which may be older than the trouble its server is in: that it
    /// serves does not show that the server has recovered, and that it is dead does not show that the server is.
    /// `breaker` is that of the pool the session is from.
    pub(crate) async fn on_held<T, F, R>(
        self,
        breaker: &Breaker,
        held: &PinnedSession,
        request: F,
    ) -> Result<T, Error>
    where
        T: Any,
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let record = self.recording.call(&self.operation, self.clock.began());
        let span = CallSpan::begin(&self, 1);
        let permit = match breaker.try_acquire() {
            Ok(permit) => permit,
            Err(rejected) => {
                let outcome = Err(Error::circuit_open(self.server, rejected));
                span.end(outcome.as_ref());
                return record.end(outcome);
            }
        };
        let dead = held.session().has_ended();
        let progress = Progress::default();
        let calling = async {
            let turn = held.turn().await;
            let _turn = turn.map_err(|reason| {
                Failed::without_request(Error::held_session_lost(self.server, reason))
            })?;
            progress.leased();
            self.on_session(&span, held, &request).await
        };
        let calling = calling.instrument(span.to_instrument());
        let outcome = match self.clock.within(calling).await {
            Ok(outcome) => outcome.map_err(|failed| failed.error),
            Err(ended) => Err(self.ended(ended, progress.phase().unwrap_or(Phase::Queue))),
        };
        match outcome
            .as_ref()
            .map_or_else(Verdict::of, |_| Verdict::Answered)
        {
            Verdict::Answered if permit.is_probe() => Verdict::Nothing,
            Verdict::Fault if dead => Verdict::Nothing,
            verdict => verdict,
        }
        .record(permit);
        span.end(outcome.as_ref());
        record.end(outcome)
    }

    /// Makes the call on a session of its own, whose opening is part of the call.
    pub(crate) async fn on_temporary<T, F, R>(
        self,
        server: &Server,
        (identity, info): (Option<&Identity>, Option<ClientConfig>),
        request: F,
    ) -> Result<T, Error>
    where
        T: Any,
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let record = self.recording.call(&self.operation, self.clock.began());
        let span = CallSpan::begin(&self, 1);
        let progress = Progress::default();
        let calling = async {
            let opening = server.temporary_session(identity, info, self.secrets);
            let session = opening.await.map_err(Failed::without_request)?;
            progress.leased();
            self.on_session(&span, session.held(), &request).await
        };
        let calling = calling.instrument(span.to_instrument());
        let outcome = match self.clock.within(calling).await {
            Ok(outcome) => outcome.map_err(|failed| failed.error),
            Err(ended) => Err(self.ended(ended, progress.phase().unwrap_or(Phase::Open))),
        };
        span.end(outcome.as_ref());
        record.end(outcome)
    }

    async fn attempt<T, F, R>(
        &self,
        number: u32,
        route: &Route<'_>,
        progress: &Progress,
        request: &F,
    ) -> Result<T, Failed>
    where
        T: Any,
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let span = CallSpan::begin(self, number);
        let attempt = self.attempt_within(&span, route, progress, request);
        let outcome = attempt.instrument(span.to_instrument()).await;
        span.end(outcome.as_ref().map_err(|failed| &failed.error));
        outcome
    }

    async fn attempt_within<T, F, R>(
        &self,
        span: &CallSpan<'_>,
        route: &Route<'_>,
        progress: &Progress,
        request: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let permit = route.pool.permit().map_err(Failed::without_request)?;
        let probe = permit.is_probe();
        *progress.permit.lock() = Some(permit);
        let outcome = match self.on_lease(span, route, progress, request).await {
            Ok(outcome) => outcome,
            Err(error)
                if error.kind() == ErrorKind::Exhausted && route.fallback == Fallback::Direct =>
            {
                self.directly(span, route, progress, request, error).await
            }
            Err(error) => {
                progress.settle(Verdict::without_session(&error, probe));
                return Err(Failed::without_request(error));
            }
        };
        progress.settle(match &outcome {
            Ok(_) => Verdict::Answered,
            Err(failed) => failed.verdict(),
        });
        outcome
    }

    /// Takes a place on a session and makes the request there. The outer error is of there being no place.
    async fn on_lease<T, F, R>(
        &self,
        span: &CallSpan<'_>,
        route: &Route<'_>,
        progress: &Progress,
        request: &F,
    ) -> Result<Result<T, Failed>, Error>
    where
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let Some(handler) = route.handler else {
            let lease = route.pool.acquire(route.scope).await?;
            progress.leased();
            return Ok(self.on_session(span, &lease, request).await);
        };
        let session = route.pool.pin(route.scope).await?;
        progress.leased();
        let lent = session.lend_handler(Arc::clone(handler));
        let outcome = self.on_session(span, &session, request).await;
        lent.settle(self.clock.time_to_settle()).await;
        Ok(outcome)
    }

    /// The pool is full to the last place in line: a few calls may go beside it.
    async fn directly<T, F, R>(
        &self,
        span: &CallSpan<'_>,
        route: &Route<'_>,
        progress: &Progress,
        request: &F,
        exhausted: Error,
    ) -> Result<T, Failed>
    where
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let draft = &route.pool.draft;
        // The state of a scope is on its own session, and nowhere else.
        let stateful = route.pool.settings().sharing == Sharing::Pinned;
        let Some(_place) = (!stateful)
            .then(|| route.server.place_beside_the_pool())
            .flatten()
        else {
            return Err(Failed::without_request(exhausted));
        };
        route.pool.counts.fallback();
        self.recording.metrics.fell_back();
        tracing::warn!(server = %self.server, "{} goes beside the pool, which is full: {exhausted}", self.operation);
        progress.goes_beside();
        let session = route
            .server
            .temporary_session(
                draft.identity.as_ref(),
                Some(draft.info.clone()),
                self.secrets,
            )
            .await
            .map_err(|error| {
                progress.settle(Verdict::without_session(&error, true));
                Failed::without_request(error)
            })?;
        progress.leased();
        let lent = route
            .handler
            .map(|handler| session.held().lend_handler(Arc::clone(handler)));
        let outcome = self.on_session(span, session.held(), request).await;
        if let Some(lent) = lent {
            lent.settle(self.clock.time_to_settle()).await;
        }
        outcome
    }

    async fn on_session<T, F, R>(
        &self,
        span: &CallSpan<'_>,
        held: &impl Held,
        request: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let session = held.session();
        span.on(session);
        let guard = held.begin_call(&self.clock);
        // Pinned here, so that it is not moved into yet another future: it is large.
        let request = pin!(request(Arc::clone(session), self.recording.trace()));
        match session.while_it_lives(request).await {
            Ok(reply) => {
                guard.answered();
                Ok(reply)
            }
            Err(error) => {
                let failure = guard.failed(&error);
                let cause = cause_of_end(session, failure).await;
                let error = Error::call(
                    self.server,
                    self.secrets,
                    &self.operation,
                    failure,
                    error,
                    cause,
                );
                Err(Failed {
                    error,
                    failure: Some(failure),
                    session: Some(session.id()),
                })
            }
        }
    }

    async fn repetition(&self, route: &Route<'_>, failed: &Failed) -> Repetition {
        let Some(failure) = failed.failure else {
            return Repetition::No;
        };
        // This very failure may have opened the breaker: nothing is asked of the server then, its list neither.
        if route.pool.is_cut_off() {
            return Repetition::No;
        }
        let tool = self.operation.tool();
        match replay::decide(route.replay, failure, tool.is_some()) {
            Decision::Again if failure == CallFailure::Lost && tool.is_some() => {
                // What the call did may be gone with the state of its scope, and its caller has to know of both.
                if route.pool.settings().sharing == Sharing::Pinned {
                    return Repetition::No;
                }
                Repetition::AtTheCallersRisk
            }
            Decision::Again => Repetition::Harmless,
            Decision::Not => Repetition::No,
            Decision::IfRepeatable => match tool {
                Some(tool) if route.pool.says_repeatable(route.scope, tool).await => {
                    Repetition::Harmless
                }
                _ => Repetition::No,
            },
        }
    }

    fn ended(&self, ended: Ended, phase: Phase) -> Error {
        match ended {
            Ended::OutOfTime => {
                let (passed, overdue) = (self.clock.passed(), self.clock.is_overdue());
                Error::timeout(self.server, &self.operation, phase, passed, overdue)
            }
            Ended::Cancelled => Error::cancelled(self.server, &self.operation, phase),
        }
    }
}

impl Failed {
    fn without_request(error: Error) -> Self {
        Self {
            error,
            failure: None,
            session: None,
        }
    }

    /// The session that took the request and had no answer.
    fn lost_on(&self) -> Option<SessionId> {
        self.session
            .filter(|_| self.failure == Some(CallFailure::Lost))
    }

    fn verdict(&self) -> Verdict {
        self.failure
            .map_or(Verdict::Nothing, |_| Verdict::of(&self.error))
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
