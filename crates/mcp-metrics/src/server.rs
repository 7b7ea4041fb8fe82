//! The handle through which a server's metrics are recorded.

mod counters;
mod totals;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use counters::Counters;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;
pub(crate) use totals::Totals;

use crate::{
    alert::{AlertKind, Severity},
    health::HealthStatus,
    outcome::{BreakerState, CallOutcome, Judgement},
    snapshot::ServerSnapshot,
    window::Window,
};

/// The metrics of one server. Cheap to clone; clones are the same metrics.
///
/// On the path of a call, [`call`](Self::call) and [`acquired`](Self::acquired) add to two atomics. They take no lock,
/// allocate nothing after the first of a kind, and call no recorder: readers fetch the totals.
#[derive(Clone)]
pub struct ServerMetrics(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    counters: Counters,
    gauges: Mutex<PoolGauges>,
    window: Mutex<Window>,
}

/// The state of a pool at one moment, observed before the metrics are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolGauges {
    /// Sessions that are ready and unused.
    pub idle: u32,
    /// Sessions that are ready and in use.
    pub active: u32,
    /// Sessions that are being opened.
    pub connecting: u32,
    /// The limit on sessions.
    pub max_connections: u32,
    /// Calls that sessions carry.
    pub in_flight: u32,
    /// Calls that the maximum number of sessions can carry.
    pub capacity: u32,
    /// Callers that wait.
    pub waiters: u32,
    /// How long the first of them has waited.
    pub longest_wait: Duration,
    /// Whether the last opening failed.
    pub opens_failing: bool,
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// Of several pools added up, the one in which callers wait, or else the fullest.
    #[serde(skip)]
    busiest: PoolLoad,
}

/// How full one pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct PoolLoad {
    /// Calls that its sessions carry.
    pub in_flight: u32,
    /// Calls that the maximum number of sessions can carry.
    pub capacity: u32,
    /// Callers that wait.
    pub waiters: u32,
}

impl PoolLoad {
    /// `in_flight` over `capacity`, from 0 to 1.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        if self.capacity == 0 {
            return 0.0;
        }
        f64::from(self.in_flight) / f64::from(self.capacity)
    }

    fn busier(self, other: Self) -> Self {
        let key = |load: &Self| (load.waiters > 0, load.utilization(), load.waiters);
        if key(&other) > key(&self) {
            other
        } else {
            self
        }
    }
}

impl fmt::Display for PoolLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            in_flight,
            capacity,
            waiters,
        } = self;
        let wait = if *waiters == 1 {
            "caller waits"
        } else {
            "callers wait"
        };
        write!(
            f,
            "{in_flight} of {capacity} places are taken, {waiters} {wait}"
        )
    }
}

impl PoolGauges {
    /// Adds the pool of another identity of the same server. Waits and states are the worse of the two.
    pub fn add(&mut self, other: &Self) {
        self.busiest = self.busiest().busier(other.busiest());
        self.idle = self.idle.saturating_add(other.idle);
        self.active = self.active.saturating_add(other.active);
        self.connecting = self.connecting.saturating_add(other.connecting);
        self.max_connections = self.max_connections.saturating_add(other.max_connections);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.capacity = self.capacity.saturating_add(other.capacity);
        self.waiters = self.waiters.saturating_add(other.waiters);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.opens_failing |= other.opens_failing;
        self.breaker = self.breaker.max(other.breaker);
    }

    /// The pool in which callers wait, or else the fullest.
    pub(crate) fn busiest(&self) -> PoolLoad {
        if self.busiest != PoolLoad::default() {
            return self.busiest;
        }
        PoolLoad {
            in_flight: self.in_flight,
            capacity: self.capacity,
            waiters: self.waiters,
        }
    }
}

/// The bit of an alert in the set of those that are active.
pub(crate) const fn alert_bit(kind: AlertKind, severity: Severity) -> u64 {
    1 << (2 * kind as u64 + severity as u64)
}

impl ServerMetrics {
    pub(crate) fn new(name: Arc<str>, window: Duration, tools: usize, now: Instant) -> Self {
        Self(Arc::new(Inner {
            name,
            counters: Counters::new(tools),
            gauges: Mutex::default(),
            window: Mutex::new(Window::new(window, now)),
        }))
    }

    /// The server's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Records a call that has ended. `method` is the JSON-RPC method, `tool` the tool if it was a tool call. `took` includes
    /// all waiting.
    #[inline]
    pub fn call(
        &self,
        method: &'static str,
        tool: Option<&str>,
        outcome: CallOutcome,
        took: Duration,
    ) {
        self.0.counters.calls(method, tool).of(outcome).record(took);
    }

    /// As [`ServerMetrics::call`], for an outcome whose judgement differs from [`CallOutcome::judgement`].
    #[inline]
    pub fn call_judged(
        &self,
        method: &'static str,
        tool: Option<&str>,
        outcome: CallOutcome,
        judgement: Judgement,
        took: Duration,
    ) {
        let calls = self.0.counters.calls(method, tool);
        if outcome.judgement() == Judgement::Fault && judgement != Judgement::Fault {
            calls.excuse();
        }
        calls.of(outcome).record(took);
    }

    /// Records a caller that got a session after this time; `hit` if the session was open when it came.
    #[inline]
    pub fn acquired(&self, hit: bool, waited: Duration) {
        let counters = &self.0.counters;
        let acquired = if hit {
            &counters.hits
        } else {
            &counters.misses
        };
        acquired.record(waited);
    }

    /// Records a session that is ready, and the time its opening took.
    pub fn opened(&self, took: Duration) {
        self.0.counters.opened(took);
    }

    /// Records a session closed at this age; `fault` if its process or transport ended or it did not answer.
    pub fn closed(&self, reason: &'static str, fault: bool, age: Duration) {
        self.0.counters.closed(reason, fault, age);
    }

    /// Records an opening that failed for good.
    pub fn connection_error(&self, phase: &'static str) {
        self.0.counters.connection_error(phase);
    }

    /// Records a call that is made once more.
    pub fn retried(&self) {
        self.0.counters.retries.add();
    }

    /// Records a call made outside of the pool.
    pub fn fell_back(&self) {
        self.0.counters.fallbacks.add();
    }

    /// Records a state that the circuit breaker entered.
    pub fn breaker_entered(&self, state: BreakerState) {
        self.0.counters.transitions[usize::from(state.number())].add();
    }

    /// Records a call that the circuit breaker refused.
    pub fn breaker_rejected(&self) {
        self.0.counters.rejected.add();
    }

    /// Records a health probe that has ended.
    pub fn probed(&self, alive: bool) {
        self.0.counters.probed(alive);
    }

    /// Sets the state of the pool.
    pub fn observe(&self, gauges: PoolGauges) {
        *self.0.gauges.lock() = gauges;
    }

    /// Sets the active alerts of the server.
    pub fn alerts(&self, active: impl IntoIterator<Item = (AlertKind, Severity)>) {
        let bits = active
            .into_iter()
            .map(|(kind, severity)| alert_bit(kind, severity));
        self.0
            .counters
            .alerts
            .set(bits.fold(0, |all, bit| all | bit));
    }

    /// Sets the health of the server.
    pub fn health(&self, health: HealthStatus) {
        self.0.counters.health.set(health.number().into());
    }

    /// Whether both are the same metrics, not those of two servers with one name.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sets the transport as OpenTelemetry's `network.transport` has it: `pipe` or `tcp`.
    pub fn transport(&self, transport: impl Into<Cow<'static, str>>) {
        let _ = self.0.counters.transport.set(transport.into());
    }

    /// Moves the sliding window on.
    pub(crate) fn tick(&self, now: Instant) {
        self.0.window.lock().tick(now, || self.totals().rolling());
    }

    /// A snapshot at this moment, with the window that ends at it.
    pub(crate) fn snapshot(&self, now: Instant) -> ServerSnapshot {
        let totals = self.totals();
        let (recent, over) = {
            let mut window = self.0.window.lock();
            let rolling = totals.rolling();
            window.tick(now, || rolling.clone());
            window.read(now, &rolling)
        };
        ServerSnapshot::of(&self.0.name, &totals, &self.gauges(), &recent, over)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.0.counters.read()
    }

    pub(crate) fn gauges(&self) -> PoolGauges {
        self.0.gauges.lock().clone()
    }

    pub(crate) fn reset(&self, now: Instant) {
        self.0.counters.reset();
        self.0.window.lock().restart(now);
    }
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMetrics")
            .field("server", &self.0.name)
            .finish_non_exhaustive()
    }
}
