//! From a caller's wish to its lease.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::SessionPool;
use crate::{
    clock,
    error::{AcquireError, Phase},
    event::PoolEvent,
    lease::Lease,
    options::Sharing,
    router::{Answer, Claim, Refusal, ScopeId, Ticket},
    shared::{Shared, Waiter},
};

impl SessionPool {
    /// For a caller who names no scope: where sessions are pinned, it is a scope of its own.
    pub(super) async fn checkout_alone(&self, claim: Claim) -> Result<Lease, AcquireError> {
        let pinned = self.shared().options().sharing == Sharing::Pinned;
        let scope = pinned.then(|| self.scope());
        let lane = scope.as_ref().map(|scope| scope.0.id);
        Ok(self.checkout(lane, claim).await?.keep(scope))
    }

    pub(super) async fn checkout(
        &self,
        scope: Option<ScopeId>,
        claim: Claim,
    ) -> Result<Lease, AcquireError> {
        let shared = self.shared();
        let mut deadline = None;
        loop {
            let lease = match self.route(scope, claim)? {
                Routed::Lease(lease) => lease,
                Routed::InLine(mut place) => {
                    let limit = shared.options().connection_timeout;
                    let deadline = *deadline.get_or_insert_with(|| clock::after(limit));
                    match timeout_at(deadline, &mut place.answer).await {
                        Ok(Ok(answer)) => answer?,
                        Ok(Err(_)) => return Err(AcquireError::Closed),
                        Err(_) => return Err(timed_out(shared, scope, limit)),
                    }
                }
            };
            if !lease.has_ended() {
                return Ok(lease);
            }
            // It died in this moment, and its attendant has not said so yet.
            shared.session_broke(lease.key(), lease.session());
        }
    }

    /// The part of a checkout under the lock.
    fn route(&self, scope: Option<ScopeId>, claim: Claim) -> Result<Routed<'_>, AcquireError> {
        let shared = self.shared();
        let mut waiting = None;
        let mut state = shared.state.lock();
        state.end_pause_if_over();
        let answer = state.router.acquire(scope, claim, || {
            let (reply, answer) = oneshot::channel();
            waiting = Some(answer);
            Waiter {
                reply,
                since: Instant::now(),
            }
        });
        match answer {
            Answer::Granted(grant) => {
                state.counts.served(true);
                shared.carry_out(state);
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
                state.settle();
                shared.carry_out(state);
                let answer = waiting.expect("the router keeps a waiter for whom it queues");
                Ok(Routed::InLine(InLine {
                    shared,
                    scope,
                    ticket,
                    answer,
                }))
            }
            Answer::Refused(refusal) => {
                let trouble = state.trouble();
                state.counts.refused += u64::from(refusal == Refusal::QueueFull);
                drop(state);
                Err(shared.refusal(refusal, &trouble))
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
    } else if state.router.live() > 0 {
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
    shared: &'a Shared,
    scope: Option<ScopeId>,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Lease, AcquireError>>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // Served or refused already: the common case, and a lease still in the channel comes back by itself.
        if self.answer.is_terminated() {
            return;
        }
        let waiter = self
            .shared
            .decide(|state| state.router.cancel(self.scope, self.ticket));
        drop(waiter);
    }
}
