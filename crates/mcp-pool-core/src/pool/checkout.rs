//! Checkout: from a caller's request to its lease.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tracing::{
    Instrument, Span,
    field::{Empty, display},
};

use super::SessionPool;
use crate::{
    deadline::later,
    error::{AcquireError, Phase},
    event::PoolEvent,
    inner::{Inner, State, Waiter},
    lease::Lease,
    router::{Answer, Caller, Claim, Refusal, ScopeId, Ticket},
    scope::Scope,
    waiters::{WaitState, WaiterId},
};

impl SessionPool {
    /// A new scope of this pool.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::new(self.inner())
    }

    /// A lease for a scope. The scope of another pool counts as none: its end is not reported here.
    pub(super) async fn checkout_in(
        &self,
        scope: &Scope,
        claim: Claim,
        caller: Caller,
    ) -> Result<Lease, AcquireError> {
        if self.inner().pinned && scope.is_of(self.inner()) {
            self.checkout((Some(scope.id()), claim, caller)).await
        } else {
            self.checkout_alone(claim, caller).await
        }
    }

    /// A lease for a caller that names no scope. In a pinned pool it is a scope of its own.
    pub(super) async fn checkout_alone(
        &self,
        claim: Claim,
        caller: Caller,
    ) -> Result<Lease, AcquireError> {
        if !self.inner().pinned {
            return self.checkout((None, claim, caller)).await;
        }
        let scope = self.scope();
        let wish = (Some(scope.id()), claim, caller);
        Ok(self.checkout(wish).await?.keep(scope))
    }

    pub(super) async fn checkout(
        &self,
        wish: (Option<ScopeId>, Claim, Caller),
    ) -> Result<Lease, AcquireError> {
        let span = tracing::debug_span!(
            "mcp.acquire",
            server = %self.inner().name,
            session = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        );
        if span.is_disabled() {
            // Most of the time, and most of what a span would cost.
            return self.serve(wish).await;
        }
        let outcome = Box::pin(self.serve(wish)).instrument(span.clone()).await;
        match &outcome {
            Ok(lease) => span.record("session", display(lease.id())),
            Err(error) => span
                .record("error.type", display(error.class()))
                .record("otel.status_code", "ERROR"),
        };
        outcome
    }

    async fn serve(&self, wish: (Option<ScopeId>, Claim, Caller)) -> Result<Lease, AcquireError> {
        let (inner, scope) = (self.inner(), wish.0);
        let mut deadline = None;
        loop {
            let lease = match poll_fn(|cx| Poll::Ready(self.route(wish, cx.waker()))).await? {
                Routed::Lease(lease) => lease,
                Routed::Waits(place) => {
                    let limit = inner.options().connection_timeout;
                    let deadline = *deadline.get_or_insert_with(|| later(place.since, limit));
                    match timeout_at(deadline, place).await {
                        Ok(answer) => answer?,
                        Err(_) => return Err(timed_out(inner, scope, limit)),
                    }
                }
            };
            if lease.has_ended() {
                // It died in this moment, and its task has not noticed yet.
                inner.session_broke(lease.key(), lease.session());
            } else if lease.credentials_are_stale() {
                inner.decide(|state| inner.retire_refused(state));
            } else {
                return Ok(lease);
            }
        }
    }

    /// The part of a checkout under the lock.
    fn route(
        &self,
        (scope, claim, caller): (Option<ScopeId>, Claim, Caller),
        waker: &Waker,
    ) -> Result<Routed<'_>, AcquireError> {
        let inner = self.inner();
        let mut guard = inner.state.lock();
        guard.end_pause_if_over();
        let State {
            router, waiters, ..
        } = &mut *guard;
        if let Some(reason) = router.lost_state(scope, caller == Caller::Foreground) {
            return Err(AcquireError::StateLost { reason });
        }
        let mut waiting = None;
        let answer = router.acquire_for(caller, scope, claim, || {
            let (id, since) = (waiters.take(waker.clone()), Instant::now());
            waiting = Some((id, since));
            Waiter {
                id,
                since,
                span: Span::current(),
            }
        });
        match answer {
            Answer::Granted(grant) => {
                guard.counts.served(true);
                inner.carry_out(guard);
                let session = grant.session.id();
                let lease = Lease::new(Arc::clone(inner), grant);
                inner.emit(|| PoolEvent::Acquired {
                    session,
                    hit: true,
                    waited: Duration::ZERO,
                });
                Ok(Routed::Lease(lease))
            }
            Answer::Queued(ticket) => {
                // What is opened for a caller is opened where it waits.
                let moved = guard.enter_runtime();
                inner.carry_out(guard);
                if moved {
                    inner.resume_tasks();
                }
                inner.demand.arrived();
                let (id, since) = waiting.expect("the router keeps a waiter for whom it queues");
                Ok(Routed::Waits(Wait {
                    inner,
                    scope,
                    ticket,
                    id,
                    since,
                    progress: Progress::First,
                }))
            }
            Answer::Refused(refusal) => {
                let refusal_context = guard.refusal_context();
                let queue_full = refusal == Refusal::QueueFull;
                guard.counts.refused += u64::from(queue_full);
                drop(guard);
                if queue_full {
                    inner.emit(|| PoolEvent::Refused);
                }
                Err(refusal_context.explain(refusal))
            }
        }
    }
}

enum Routed<'a> {
    Lease(Lease),
    Waits(Wait<'a>),
}

fn timed_out(inner: &Inner, scope: Option<ScopeId>, after: Duration) -> AcquireError {
    let state = inner.state.lock();
    let phase = if state.router.anything_suspect(scope) {
        Phase::Probe
    } else if state.router.live() > 0
        || state.initializing.is_empty() && state.router.waits_for_a_place()
    {
        Phase::Queue
    } else if state.initializing.is_empty() {
        Phase::Open
    } else {
        Phase::Handshake
    };
    let opening = matches!(phase, Phase::Open | Phase::Handshake);
    let cause = state.failure.clone().filter(|_| opening);
    AcquireError::Timeout {
        phase,
        after,
        cause,
    }
}

/// A caller in line. Dropping it gives the place up.
struct Wait<'a> {
    inner: &'a Arc<Inner>,
    scope: Option<ScopeId>,
    ticket: Ticket,
    id: WaiterId,
    since: Instant,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Registered during the poll that is still going on, with its waker.
    First,
    Waiting,
    Done,
}

impl Future for Wait<'_> {
    type Output = Result<Lease, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.progress == Progress::First {
            self.progress = Progress::Waiting;
            return Poll::Pending;
        }
        let inner = self.inner;
        let mut state = inner.state.lock();
        let answer = match state.waiters.ask(self.id, cx.waker()) {
            Ok(answer) => answer,
            Err(former) => {
                // The runtime on which a session was to be opened may have ended.
                let moved = state.enter_runtime_if_none();
                inner.carry_out(state);
                if moved {
                    inner.resume_tasks();
                }
                drop(former);
                return Poll::Pending;
            }
        };
        self.progress = Progress::Done;
        let grant = answer?;
        state.counts.served(grant.hit);
        drop(state);
        let (session, hit) = (grant.session.id(), grant.hit);
        let lease = Lease::new(Arc::clone(inner), grant);
        inner.emit(|| PoolEvent::Acquired {
            session,
            hit,
            waited: self.since.elapsed(),
        });
        Poll::Ready(Ok(lease))
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.progress == Progress::Done {
            return;
        }
        let mut state = self.inner.state.lock();
        state.router.cancel(self.scope, self.ticket);
        let left = state.waiters.leave(self.id);
        // A place that was given and not taken goes to the next in line.
        if let WaitState::Answered(Ok(grant)) = &left {
            state.router.release(grant.key, grant.claim);
        }
        self.inner.carry_out(state);
        drop(left);
    }
}
