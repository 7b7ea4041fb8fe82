//! From a caller's wish to its lease.

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
    clock::later,
    error::{AcquireError, Phase},
    event::PoolEvent,
    lease::Lease,
    router::{Answer, Caller, Claim, Refusal, ScopeId, Ticket},
    seats::{Seat, Sitting},
    shared::{Shared, State, Waiter},
};

impl SessionPool {
    /// For a caller who names no scope: where sessions are pinned, it is a scope of its own.
    pub(super) async fn checkout_alone(
        &self,
        claim: Claim,
        caller: Caller,
    ) -> Result<Lease, AcquireError> {
        let scope = self.shared().pinned.then(|| self.scope());
        let lane = scope.as_ref().map(|scope| scope.0.id);
        let wish = (lane, claim, caller);
        Ok(self.checkout(wish).await?.keep(scope))
    }

    pub(super) async fn checkout(
        &self,
        wish: (Option<ScopeId>, Claim, Caller),
    ) -> Result<Lease, AcquireError> {
        let span = tracing::debug_span!(
            "mcp.acquire",
            server = %self.shared().name,
            session = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        );
        if span.is_disabled() {
            // Most of the time, and most of what a span would cost.
            return self.serve(wish).await;
        }
        let outcome = self.serve(wish).instrument(span.clone()).await;
        match &outcome {
            Ok(lease) => span.record("session", display(lease.id())),
            Err(error) => span
                .record("error.type", display(error.class()))
                .record("otel.status_code", "ERROR"),
        };
        outcome
    }

    async fn serve(&self, wish: (Option<ScopeId>, Claim, Caller)) -> Result<Lease, AcquireError> {
        let (shared, scope) = (self.shared(), wish.0);
        let mut deadline = None;
        loop {
            let lease = match poll_fn(|cx| Poll::Ready(self.route(wish, cx.waker()))).await? {
                Routed::Lease(lease) => lease,
                Routed::InLine(place) => {
                    let limit = shared.options().connection_timeout;
                    let deadline = *deadline.get_or_insert_with(|| later(place.since, limit));
                    match timeout_at(deadline, place).await {
                        Ok(answer) => answer?,
                        Err(_) => return Err(timed_out(shared, scope, limit)),
                    }
                }
            };
            if lease.has_ended() {
                // It died in this moment, and its attendant has not said so yet.
                shared.session_broke(lease.key(), lease.session());
            } else if lease.credentials_are_stale() {
                shared.decide(|state| shared.retire_refused(state));
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
        let shared = self.shared();
        let mut guard = shared.state.lock();
        guard.end_pause_if_over();
        let State { router, seats, .. } = &mut *guard;
        if let Some(reason) = router.lost_state(scope, caller == Caller::Foreground) {
            return Err(AcquireError::StateLost { reason });
        }
        let mut waiting = None;
        let answer = router.acquire_for(caller, scope, claim, || {
            let (seat, since) = (seats.take(waker.clone()), Instant::now());
            waiting = Some((seat, since));
            Waiter {
                seat,
                since,
                span: Span::current(),
            }
        });
        match answer {
            Answer::Granted(grant) => {
                guard.counts.served(true);
                shared.carry_out(guard);
                let session = grant.session.id();
                let lease = Lease::new(Arc::clone(shared), grant);
                shared.emit(|| PoolEvent::Acquired {
                    session,
                    hit: true,
                    waited: Duration::ZERO,
                });
                Ok(Routed::Lease(lease))
            }
            Answer::Queued(ticket) => {
                // What is opened for a caller is opened where it waits.
                let moved = guard.settle();
                shared.carry_out(guard);
                if moved {
                    shared.moved_in();
                }
                shared.demand.arrived();
                let (seat, since) = waiting.expect("the router keeps a waiter for whom it queues");
                Ok(Routed::InLine(InLine {
                    shared,
                    scope,
                    ticket,
                    seat,
                    since,
                    presence: Presence::JustNow,
                }))
            }
            Answer::Refused(refusal) => {
                let trouble = guard.trouble();
                let queue_full = refusal == Refusal::QueueFull;
                guard.counts.refused += u64::from(queue_full);
                drop(guard);
                if queue_full {
                    shared.emit(|| PoolEvent::Refused);
                }
                Err(trouble.explain(refusal))
            }
        }
    }
}

enum Routed<'a> {
    Lease(Lease),
    InLine(InLine<'a>),
}

fn timed_out(shared: &Shared, scope: Option<ScopeId>, after: Duration) -> AcquireError {
    let state = shared.state.lock();
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

/// A place in line, given up when the caller goes away.
struct InLine<'a> {
    shared: &'a Arc<Shared>,
    scope: Option<ScopeId>,
    ticket: Ticket,
    seat: Seat,
    since: Instant,
    presence: Presence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// With the waker of the poll that is still going on: nothing need be looked up before it is used.
    JustNow,
    Still,
    Left,
}

impl Future for InLine<'_> {
    type Output = Result<Lease, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.presence == Presence::JustNow {
            self.presence = Presence::Still;
            return Poll::Pending;
        }
        let shared = self.shared;
        let mut state = shared.state.lock();
        let answer = match state.seats.ask(self.seat, cx.waker()) {
            Ok(answer) => answer,
            Err(former) => {
                // The runtime on which a session was to be opened may have ended.
                let moved = state.settle_if_homeless();
                shared.carry_out(state);
                if moved {
                    shared.moved_in();
                }
                drop(former);
                return Poll::Pending;
            }
        };
        self.presence = Presence::Left;
        let grant = answer?;
        state.counts.served(grant.hit);
        drop(state);
        let (session, hit) = (grant.session.id(), grant.hit);
        let lease = Lease::new(Arc::clone(shared), grant);
        shared.emit(|| PoolEvent::Acquired {
            session,
            hit,
            waited: self.since.elapsed(),
        });
        Poll::Ready(Ok(lease))
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        if self.presence == Presence::Left {
            return;
        }
        let mut state = self.shared.state.lock();
        state.router.cancel(self.scope, self.ticket);
        let left = state.seats.leave(self.seat);
        // A place that was given and not taken goes to the next in line.
        if let Sitting::Answered(Ok(grant)) = &left {
            state.router.release(grant.key, grant.claim);
        }
        self.shared.carry_out(state);
        drop(left);
    }
}
