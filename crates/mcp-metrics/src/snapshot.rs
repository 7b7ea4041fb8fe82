//! Snapshots: the metrics at one moment, serialized as JSON.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    histogram::Distribution,
    outcome::{BreakerState, CallOutcome, Judgement},
    server::{PoolGauges, PoolLoad, Totals},
    window::Rolling,
};

/// All servers at one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Summary {
    /// Each server, in the order of their names.
    pub pool_metrics: Vec<ServerSnapshot>,
    /// Over all of them.
    pub global_metrics: GlobalMetrics,
}

/// Over all servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct GlobalMetrics {
    /// Servers.
    pub total_pools: usize,
    /// Calls that have ended.
    pub total_requests: u64,
    /// Calls that failed or were refused, through no fault of the caller.
    pub total_errors: u64,
}

/// A server at one moment.
///
/// Totals count from the start of the program.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ServerSnapshot {
    /// Its name.
    pub server: String,
    /// The same, for readers of earlier versions.
    pub server_name: String,
    /// Sessions that are ready or being opened.
    pub total_connections: u32,
    /// Sessions that are ready and unused.
    pub available_connections: u32,
    /// Sessions that are being opened.
    pub connecting: u32,
    /// The limit on sessions.
    pub max_connections: u32,
    /// Calls that sessions carry.
    pub in_flight: u32,
    /// Calls that the maximum number of sessions can carry.
    pub capacity: u32,
    /// `in_flight` over `capacity` of the busiest pool, from 0 to 1. A pool that can still grow is not full, and pools of
    /// other identities do not lend it their capacity.
    pub utilization: f64,
    /// The pool in which callers wait, or else the fullest.
    pub busiest_pool: PoolLoad,
    /// Callers that wait.
    pub waiters: u32,
    /// How long the first of them has waited, in seconds.
    #[serde(rename = "longest_wait_seconds", serialize_with = "seconds")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub longest_wait: Duration,
    /// Whether the last opening failed.
    pub opens_failing: bool,
    /// The state of the circuit breaker; of several, the worst.
    pub circuit_breaker_state: BreakerState,
    /// Changes of its state.
    pub circuit_breaker_transitions: u64,
    /// Calls that it refused.
    pub circuit_breaker_rejected: u64,
    /// Callers served by a session that was already open.
    pub pool_hits: u64,
    /// Callers that waited for a session to be opened.
    pub pool_misses: u64,
    /// Sessions opened.
    pub connections_opened: u64,
    /// Sessions closed, by reason.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub connections_closed: BTreeMap<Cow<'static, str>, u64>,
    /// Openings that failed for good.
    pub connection_errors: u64,
    /// Health probes that were answered.
    pub health_checks_passed: u64,
    /// Health probes that were not answered.
    pub health_check_failures: u64,
    /// Whether the last probe was not answered and no session has been opened since.
    pub last_probe_failed: bool,
    /// Calls that have ended.
    pub requests: u64,
    /// Calls that failed or were refused, through no fault of the caller.
    pub errors: u64,
    /// Calls by outcome, without outcomes that have not occurred.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub calls: BTreeMap<CallOutcome, u64>,
    /// Calls by tool, if [tools are labelled](crate::MetricsBuilder::tool_labels).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, ToolSnapshot>))]
    pub tools: BTreeMap<Cow<'static, str>, ToolSnapshot>,
    /// Calls made once more after a failure.
    pub retries: u64,
    /// Calls made outside of the pool.
    pub fallbacks: u64,
    /// Calls that were sent and not answered.
    pub outcome_unknown: u64,
    /// The last minute, or other window.
    pub window: WindowSnapshot,
}

/// A tool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ToolSnapshot {
    /// Calls that have ended.
    pub requests: u64,
    /// Calls that failed or were refused, through no fault of the caller.
    pub errors: u64,
    /// Results that say that the tool failed.
    pub tool_errors: u64,
}

/// The metrics of a sliding window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WindowSnapshot {
    /// Its length in seconds.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub length: Duration,
    /// Calls that ended.
    pub requests: u64,
    /// Calls a second.
    pub requests_per_second: f64,
    /// Calls that the server answered, or should have.
    pub judged: u64,
    /// Calls that the server failed to answer.
    pub faults: u64,
    /// `faults` over `judged`, from 0 to 1. Calls that the breaker refused count as neither.
    pub error_rate: f64,
    /// Calls that the breaker refused.
    pub refused: u64,
    /// Sessions that crashed, and openings that failed.
    pub crashes: u64,
    /// Durations of judged calls.
    pub call_seconds: Quantiles,
    /// Waits of callers for a session.
    pub acquire_seconds: Quantiles,
    /// Durations of openings.
    pub open_seconds: Quantiles,
}

/// Durations in seconds; `null` if there were none. The mean is exact, a quantile within an eighth of the true one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Quantiles {
    /// The mean.
    pub mean: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// The 90th percentile.
    pub p90: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

impl Summary {
    pub(crate) fn of(servers: Vec<ServerSnapshot>) -> Self {
        let global_metrics = GlobalMetrics {
            total_pools: servers.len(),
            total_requests: servers.iter().map(|server| server.requests).sum(),
            total_errors: servers.iter().map(|server| server.errors).sum(),
        };
        Self {
            pool_metrics: servers,
            global_metrics,
        }
    }
}

impl ServerSnapshot {
    /// A server without any activity. The fields are public, so that rules can be tested.
    #[must_use]
    pub fn new(server_name: impl Into<String>) -> Self {
        let name = server_name.into();
        Self {
            server: name.clone(),
            server_name: name,
            ..Self::default()
        }
    }

    pub(crate) fn of(
        name: &str,
        totals: &Totals,
        gauges: &PoolGauges,
        recent: &Rolling,
        over: Duration,
    ) -> Self {
        let outcomes = totals.outcomes();
        let calls = || {
            outcomes
                .iter()
                .map(|(o, durations)| (*o, durations.count()))
        };
        let [dead, alive] = totals.probes;
        Self {
            server: name.to_owned(),
            server_name: name.to_owned(),
            total_connections: gauges.idle + gauges.active + gauges.connecting,
            available_connections: gauges.idle,
            connecting: gauges.connecting,
            max_connections: gauges.max_connections,
            in_flight: gauges.in_flight,
            capacity: gauges.capacity,
            utilization: gauges.busiest().utilization(),
            busiest_pool: gauges.busiest(),
            waiters: gauges.waiters,
            longest_wait: gauges.longest_wait,
            opens_failing: gauges.opens_failing,
            circuit_breaker_state: gauges.breaker,
            circuit_breaker_transitions: totals.transitions.iter().sum(),
            circuit_breaker_rejected: totals.rejected,
            pool_hits: totals.hits.count(),
            pool_misses: totals.misses.count(),
            connections_opened: totals.opened.count(),
            connections_closed: totals
                .closed
                .iter()
                .map(|closed| (closed.reason.clone(), closed.ages.count()))
                .collect(),
            connection_errors: totals.connection_errors(),
            health_checks_passed: alive,
            health_check_failures: dead,
            last_probe_failed: totals.last_probe_failed,
            requests: calls().map(|(_, count)| count).sum(),
            errors: errors(calls()),
            outcome_unknown: calls()
                .filter(|(outcome, _)| *outcome == CallOutcome::OutcomeUnknown)
                .map(|(_, count)| count)
                .sum(),
            calls: calls().collect(),
            tools: tools(totals),
            retries: totals.retries,
            fallbacks: totals.fallbacks,
            window: WindowSnapshot::of(recent, over),
        }
    }

    /// Calls that the circuit breaker refused, which are errors and not faults.
    #[must_use]
    pub fn refused(&self) -> u64 {
        let calls = self.calls.iter();
        calls
            .filter(|(outcome, _)| outcome.judgement() == Judgement::Refused)
            .map(|(_, count)| count)
            .sum()
    }

    /// Ready sessions.
    #[must_use]
    pub fn live_connections(&self) -> u32 {
        self.total_connections.saturating_sub(self.connecting)
    }
}

impl WindowSnapshot {
    fn of(recent: &Rolling, length: Duration) -> Self {
        let judged = recent.answered + recent.faults;
        let seconds = length.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let requests_per_second = if seconds > 0.0 {
            recent.requests as f64 / seconds
        } else {
            0.0
        };
        Self {
            length,
            requests: recent.requests,
            requests_per_second,
            judged,
            faults: recent.faults,
            error_rate: share(recent.faults, judged),
            refused: recent.refused,
            crashes: recent.crashes,
            call_seconds: Quantiles::of(&recent.called),
            acquire_seconds: Quantiles::of(&recent.acquired),
            open_seconds: Quantiles::of(&recent.opened),
        }
    }
}

impl WindowSnapshot {
    pub(crate) fn faults_in_words(&self) -> String {
        let (faults, judged) = (self.faults, self.judged);
        let seconds = self.length.as_secs_f64();
        format!("{faults} of {judged} calls failed in {seconds:.0} s")
    }

    pub(crate) fn crashes_in_words(&self) -> String {
        let seconds = self.length.as_secs_f64();
        let crashes = self.crashes;
        format!("{crashes} sessions crashed or did not open in {seconds:.0} s")
    }
}

impl Quantiles {
    fn of(durations: &Distribution) -> Self {
        let quantile = |share| durations.quantile(share).map(|found| found.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a mean")]
        let mean = |count: u64| durations.sum().as_secs_f64() / count as f64;
        Self {
            mean: Some(durations.count()).filter(|count| *count > 0).map(mean),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
        }
    }
}

fn tools(totals: &Totals) -> BTreeMap<Cow<'static, str>, ToolSnapshot> {
    let tools = totals.calls.iter().filter_map(|calls| {
        let counts = || {
            calls
                .outcomes
                .iter()
                .map(|(o, durations)| (*o, durations.count()))
        };
        let snapshot = ToolSnapshot {
            requests: counts().map(|(_, count)| count).sum(),
            errors: errors(counts()),
            tool_errors: counts()
                .filter(|(outcome, _)| *outcome == CallOutcome::ToolError)
                .map(|(_, count)| count)
                .sum(),
        };
        Some((calls.tool.clone()?, snapshot))
    });
    tools.collect()
}

fn errors(calls: impl Iterator<Item = (CallOutcome, u64)>) -> u64 {
    calls
        .filter(|(outcome, _)| outcome.is_failure())
        .map(|(_, count)| count)
        .sum()
}

#[allow(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
