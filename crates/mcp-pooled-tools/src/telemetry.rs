//! Telemetry of one server: turns what happens in pools, breakers and calls into metrics and events.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mcp_breaker::{BreakerEvent, State};
use mcp_metrics::{BreakerState, CallOutcome, Judgement, PoolGauges, ServerMetrics};
use mcp_pool_core::{PoolEvent, SessionPoolStatus};
use tokio::time::Instant;

use crate::{
    call::classify::{judge, outcome_of},
    error::Error,
    events::{Event, Events},
    operation::Operation,
    reply::Reply,
    trace::{Trace, TraceSource},
};

/// Records what happens with one server, or with one pool of it.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: ServerMetrics,
    /// In the words of OpenTelemetry's `network.transport`.
    pub(crate) transport: Option<&'static str>,
    events: Events,
    traces: TraceSource,
    counts: Arc<PoolCounts>,
}

/// What a pool's status shows beside the totals of its server.
#[derive(Debug, Default)]
struct PoolCounts {
    retries: AtomicU64,
    fallbacks: AtomicU64,
}

impl Telemetry {
    pub(crate) fn new(metrics: ServerMetrics, events: Events, traces: TraceSource) -> Self {
        Self {
            metrics,
            transport: None,
            events,
            traces,
            counts: Arc::default(),
        }
    }

    /// The same for one pool of the server, with counts of its own.
    pub(crate) fn of_pool(&self) -> Self {
        Self {
            counts: Arc::default(),
            ..self.clone()
        }
    }

    /// Of a server that is reached in this way.
    pub(crate) fn with_transport(mut self, transport: Option<&'static str>) -> Self {
        self.transport = transport;
        if let Some(transport) = transport {
            self.metrics.transport(transport);
        }
        self
    }

    /// The trace of whatever runs here.
    pub(crate) fn trace(&self) -> Trace {
        self.traces.here()
    }

    /// Starts the record of a call. Dropped without an outcome, it counts as cancelled.
    pub(crate) fn call<'a>(&'a self, operation: &'a Operation, began: Instant) -> CallRecord<'a> {
        CallRecord {
            metrics: &self.metrics,
            operation,
            began,
            outcome: CallOutcome::Cancelled,
            judgement: Judgement::Nothing,
        }
    }

    pub(crate) fn on_pool_event(&self, event: &PoolEvent) {
        let (metrics, server) = (&self.metrics, || Arc::clone(self.metrics.name()));
        let emit = |event: &dyn Fn() -> Event| self.events.emit(event);
        match *event {
            PoolEvent::Acquired { hit, waited, .. } => metrics.acquired(hit, waited),
            PoolEvent::Opening { session } => emit(&|| Event::SessionOpening {
                server: server(),
                session,
            }),
            PoolEvent::Opened { session, took } => {
                metrics.opened(took);
                emit(&|| Event::SessionOpened {
                    server: server(),
                    session,
                    took,
                });
            }
            PoolEvent::OpenFailed {
                ref error,
                retry_after,
            } => {
                metrics.connection_error(error.phase().as_str());
                emit(&|| Event::OpenFailed {
                    server: server(),
                    error: error.to_string(),
                    retry_after,
                });
            }
            PoolEvent::Suspect { session } => emit(&|| Event::SessionSuspect {
                server: server(),
                session,
            }),
            PoolEvent::Probed {
                session,
                alive,
                took,
                ..
            } => {
                metrics.probed(alive);
                emit(&|| Event::SessionProbed {
                    server: server(),
                    session,
                    alive,
                    took,
                });
            }
            PoolEvent::Reinitialized { session } => emit(&|| Event::SessionReinitialized {
                server: server(),
                session,
            }),
            PoolEvent::Closed {
                session,
                reason,
                age,
                ..
            } => {
                metrics.closed(reason.as_str(), reason.is_fault(), age);
                emit(&|| Event::SessionClosed {
                    server: server(),
                    session,
                    reason,
                    age,
                });
            }
            // Tries are part of an opening, refusals of the outcome of a call.
            _ => {}
        }
    }

    /// The server reported that one of its lists has changed.
    pub(crate) fn list_changed(&self, list: &'static str) {
        self.events.emit(|| Event::ListChanged {
            server: Arc::clone(self.metrics.name()),
            list,
        });
    }

    /// A call is made once more.
    pub(crate) fn retried(&self) {
        self.counts.retries.fetch_add(1, Ordering::Relaxed);
        self.metrics.retried();
    }

    /// A call goes to a session outside of the pool, which is full.
    pub(crate) fn fell_back(&self) {
        self.counts.fallbacks.fetch_add(1, Ordering::Relaxed);
        self.metrics.fell_back();
    }

    /// Retries and fallbacks since the pool was made.
    pub(crate) fn retries_and_fallbacks(&self) -> (u64, u64) {
        let PoolCounts { retries, fallbacks } = &*self.counts;
        (
            retries.load(Ordering::Relaxed),
            fallbacks.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn on_breaker_event(&self, event: &BreakerEvent) {
        match event {
            BreakerEvent::Transition {
                from, to, reason, ..
            } => {
                self.metrics.breaker_entered(breaker_state(*to));
                self.events.emit(|| Event::Breaker {
                    server: Arc::clone(self.metrics.name()),
                    from: *from,
                    to: *to,
                    reason: *reason,
                });
            }
            BreakerEvent::Rejected(_) => self.metrics.breaker_rejected(),
            _ => {}
        }
    }
}

/// A call that has not ended.
#[derive(Debug)]
pub(crate) struct CallRecord<'a> {
    metrics: &'a ServerMetrics,
    operation: &'a Operation,
    began: Instant,
    outcome: CallOutcome,
    judgement: Judgement,
}

impl CallRecord<'_> {
    /// It has ended.
    pub(crate) fn end(mut self, outcome: Result<Reply, Error>) -> Result<Reply, Error> {
        (self.outcome, self.judgement) = match &outcome {
            Ok(reply) if self.operation.tool().is_some() && reply.is_tool_error() => {
                (CallOutcome::ToolError, Judgement::Answered)
            }
            Ok(_) => (CallOutcome::Ok, Judgement::Answered),
            Err(error) => (outcome_of(error), judge(error)),
        };
        outcome
    }
}

impl Drop for CallRecord<'_> {
    fn drop(&mut self) {
        self.metrics.call_judged(
            self.operation.method(),
            self.operation.tool(),
            self.outcome,
            self.judgement,
            self.began.elapsed(),
        );
    }
}

/// The state of a breaker as its gauge has it: a forced state counts as the state that it stands for.
pub(crate) fn breaker_state(state: State) -> BreakerState {
    match state {
        State::Open | State::ForcedOpen => BreakerState::Open,
        State::HalfOpen => BreakerState::HalfOpen,
        _ => BreakerState::Closed,
    }
}

/// A pool and its breaker as gauges.
pub(crate) fn gauges(status: &SessionPoolStatus, breaker: State) -> PoolGauges {
    let mut gauges = PoolGauges::default();
    gauges.idle = status.connections.idle;
    gauges.active = status.connections.active;
    gauges.connecting = status.connections.connecting;
    gauges.max_connections = status.connections.max;
    gauges.in_flight = status.in_flight;
    gauges.capacity = status.capacity;
    gauges.waiters = u32::try_from(status.waiters).unwrap_or(u32::MAX);
    gauges.longest_wait = status.longest_wait;
    gauges.opens_failing = status.last_error.is_some();
    gauges.breaker = breaker_state(breaker);
    gauges
}
