//! The handle through which a server's numbers are recorded.

mod cells;
mod totals;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use cells::Cells;
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
/// What is on the path of a call ([`call`](Self::call), [`acquired`](Self::acquired)) adds to two atomics. Nothing is
/// locked, allocated (once the first of its kind has come) or told to anybody; readers come for the numbers themselves.
#[derive(Clone)]
pub struct ServerMetrics(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    cells: Cells,
    gauges: Mutex<PoolGauges>,
    window: Mutex<Window>,
}

/// What a pool is like at one moment.
///
/// Not counted but told, by whoever looks at the pool before the metrics are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolGauges {
    /// Sessions that are ready and unused.
    pub idle: u32,
    /// Sessions that are ready and in use.
    pub active: u32,
    /// Sessions that are being opened.
    pub connecting: u32,
    /// Sessions that there may be.
    pub max_connections: u32,
    /// Places on sessions that are taken.
    pub in_flight: u32,
    /// Places that there would be at the maximum size.
    pub capacity: u32,
    /// Callers that wait for a place.
    pub waiters: u32,
    /// How long the first of them has waited.
    pub longest_wait: Duration,
    /// The last opening failed, and none has succeeded since.
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
    /// Places on its sessions that are taken.
    pub in_flight: u32,
    /// Places that there would be at the maximum size.
    pub capacity: u32,
    /// Callers that wait for a place.
    pub waiters: u32,
}

impl PoolLoad {
    /// Places taken over places at the maximum size, from 0 to 1.
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
    /// Adds another pool of the same server: one for another identity. Waits and states are the worse of the two.
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
            cells: Cells::new(tools),
            gauges: Mutex::default(),
            window: Mutex::new(Window::new(window, now)),
        }))
    }

    /// The server's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// A call has ended. `method` is the JSON-RPC method, `tool` the tool if it was a call of one; `took` counts from
    /// the caller's asking.
    #[inline]
    pub fn call(
        &self,
        method: &'static str,
        tool: Option<&str>,
        outcome: CallOutcome,
        took: Duration,
    ) {
        self.0.cells.calls(method, tool).of(outcome).record(took);
    }

    /// As [`ServerMetrics::call`], where it is known that the outcome says less about the server than it does as a rule:
    /// see [`CallOutcome::judgement`].
    #[inline]
    pub fn call_judged(
        &self,
        method: &'static str,
        tool: Option<&str>,
        outcome: CallOutcome,
        judgement: Judgement,
        took: Duration,
    ) {
        let calls = self.0.cells.calls(method, tool);
        if outcome.judgement() == Judgement::Fault && judgement != Judgement::Fault {
            calls.excuse();
        }
        calls.of(outcome).record(took);
    }

    /// A caller was given a place on a session after so long; `hit` if the session was open when it came.
    #[inline]
    pub fn acquired(&self, hit: bool, waited: Duration) {
        let cells = &self.0.cells;
        let acquired = if hit { &cells.hits } else { &cells.misses };
        acquired.record(waited);
    }

    /// A session is ready; opening it took so long.
    pub fn opened(&self, took: Duration) {
        self.0.cells.opened(took);
    }

    /// A session was closed at this age. `fault` if it was its own: its process or transport ended, or it did not answer.
    pub fn closed(&self, reason: &'static str, fault: bool, age: Duration) {
        self.0.cells.closed(reason, fault, age);
    }

    /// An opening failed for good.
    pub fn connection_error(&self, phase: &'static str) {
        self.0.cells.connection_error(phase);
    }

    /// A call was made once more.
    pub fn retried(&self) {
        self.0.cells.retries.add();
    }

    /// A call was made beside the pool.
    pub fn fell_back(&self) {
        self.0.cells.fallbacks.add();
    }

    /// The circuit breaker entered a state.
    pub fn breaker_entered(&self, state: BreakerState) {
        self.0.cells.transitions[usize::from(state.number())].add();
    }

    /// The circuit breaker refused a call.
    pub fn breaker_rejected(&self) {
        self.0.cells.rejected.add();
    }

    /// A health probe has ended.
    pub fn probed(&self, alive: bool) {
        self.0.cells.probed(alive);
    }

    /// What the pool is like now.
    pub fn observe(&self, gauges: PoolGauges) {
        *self.0.gauges.lock() = gauges;
    }

    /// The alerts of the server that are active. Those told before and not now are over.
    pub fn alerts(&self, active: impl IntoIterator<Item = (AlertKind, Severity)>) {
        let bits = active
            .into_iter()
            .map(|(kind, severity)| alert_bit(kind, severity));
        self.0.cells.alerts.set(bits.fold(0, |all, bit| all | bit));
    }

    /// How well the server is.
    pub fn health(&self, health: HealthStatus) {
        self.0.cells.health.set(health.number().into());
    }

    /// Whether both are the same metrics, and not two servers of one name.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The transport in the words of OpenTelemetry's `network.transport`: `pipe` or `tcp`.
    pub fn transport(&self, transport: impl Into<Cow<'static, str>>) {
        let _ = self.0.cells.transport.set(transport.into());
    }

    /// Moves the sliding window on.
    pub(crate) fn tick(&self, now: Instant) {
        self.0.window.lock().tick(now, || self.totals().rolling());
    }

    /// Everything at this moment, and over the window that ends with it.
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
        self.0.cells.read()
    }

    pub(crate) fn gauges(&self) -> PoolGauges {
        self.0.gauges.lock().clone()
    }

    pub(crate) fn reset(&self, now: Instant) {
        self.0.cells.reset();
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
