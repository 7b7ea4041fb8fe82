//! A server's metrics as time series.

use std::borrow::Cow;

use metrics::Label;

use crate::{
    alert::{AlertKind, Severity},
    catalog::{self, Metric},
    histogram::Distribution,
    outcome::{BreakerState, CallOutcome},
    publish::{Series, TOOL, Value},
    server::{ServerMetrics, Totals, alert_bit},
};

impl ServerMetrics {
    /// All series at this moment. With `otel`, durations again under the names of OpenTelemetry.
    pub(crate) fn series(&self, otel: bool) -> Vec<Series> {
        let totals = self.totals();
        let mut all = Collected {
            server: Label::new("server", std::sync::Arc::clone(self.name())),
            series: Vec::new(),
        };
        self.gauges_into(&mut all);
        sessions(&totals, &mut all);
        calls(&totals, &mut all);
        rest(&totals, &mut all);
        #[cfg(feature = "otel")]
        if otel {
            crate::otel::series(&totals, &mut all);
        }
        let _ = otel;
        all.series
    }

    fn gauges_into(&self, all: &mut Collected) {
        let gauges = self.gauges();
        for (state, sessions) in [
            ("idle", gauges.idle),
            ("active", gauges.active),
            ("connecting", gauges.connecting),
        ] {
            all.gauge(
                catalog::POOL_CONNECTIONS,
                [("state", state.into())],
                sessions,
            );
        }
        all.gauge(catalog::POOL_MAX_CONNECTIONS, [], gauges.max_connections);
        all.gauge(catalog::POOL_IN_FLIGHT, [], gauges.in_flight);
        all.gauge(catalog::POOL_CAPACITY, [], gauges.capacity);
        let utilization = gauges.busiest().utilization();
        all.gauge(catalog::POOL_UTILIZATION, [], utilization);
        all.gauge(catalog::POOL_WAITERS, [], gauges.waiters);
        let longest = gauges.longest_wait.as_secs_f64();
        all.gauge(catalog::POOL_LONGEST_WAIT, [], longest);
        all.gauge(catalog::BREAKER_STATE, [], gauges.breaker.number());
    }
}

fn sessions(totals: &Totals, all: &mut Collected) {
    all.counter(catalog::POOL_HITS, [], totals.hits.count());
    all.counter(catalog::POOL_MISSES, [], totals.misses.count());
    all.histogram(catalog::POOL_ACQUIRE, [], totals.acquired());
    all.counter(catalog::CONNECTIONS_OPENED, [], totals.opened.count());
    all.histogram(catalog::POOL_OPEN, [], totals.opened.clone());
    let mut ages = Distribution::default();
    for closed in &totals.closed {
        let reason = [("reason", closed.reason.clone())];
        all.counter(catalog::CONNECTIONS_CLOSED, reason, closed.ages.count());
        ages.add(&closed.ages);
    }
    all.histogram(catalog::SESSION_AGE, [], ages);
    for (phase, count) in &totals.errors {
        let phase = [("phase", phase.clone())];
        all.counter(catalog::CONNECTION_ERRORS, phase, *count);
    }
}

fn calls(totals: &Totals, all: &mut Collected) {
    for calls in &totals.calls {
        for (outcome, durations) in &calls.outcomes {
            all.calls(*outcome, calls.tool.clone(), durations);
        }
    }
    let unknown = totals.outcomes().into_iter();
    let unknown = unknown
        .filter(|(outcome, _)| *outcome == CallOutcome::OutcomeUnknown)
        .map(|(_, durations)| durations.count());
    all.counter(catalog::OUTCOME_UNKNOWN, [], unknown.sum());
}

fn rest(totals: &Totals, all: &mut Collected) {
    all.counter(catalog::RETRIES, [], totals.retries);
    all.counter(catalog::FALLBACKS, [], totals.fallbacks);
    let states = [
        BreakerState::Closed,
        BreakerState::HalfOpen,
        BreakerState::Open,
    ];
    for (to, count) in states.into_iter().zip(totals.transitions) {
        all.counter(
            catalog::BREAKER_TRANSITIONS,
            [("to", to.as_str().into())],
            count,
        );
    }
    all.counter(catalog::BREAKER_REJECTED, [], totals.rejected);
    for (outcome, count) in ["dead", "alive"].into_iter().zip(totals.probes) {
        all.counter(catalog::HEALTH_CHECKS, [("outcome", outcome.into())], count);
    }
    for kind in AlertKind::ALL {
        for severity in [Severity::Warning, Severity::Critical] {
            let active = totals.alerts & alert_bit(kind, severity) != 0;
            let labels = [
                ("kind", kind.as_str().into()),
                ("severity", severity.as_str().into()),
            ];
            all.gauge(catalog::ALERTS, labels, u8::from(active));
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "two at most")]
    all.gauge(catalog::POOL_HEALTH, [], totals.health as f64);
}

/// A label.
type Named = (&'static str, Cow<'static, str>);

pub(crate) struct Collected {
    server: Label,
    series: Vec<Series>,
}

impl Collected {
    fn calls(
        &mut self,
        outcome: CallOutcome,
        tool: Option<Cow<'static, str>>,
        durations: &Distribution,
    ) {
        let outcome = ("outcome", Cow::Borrowed(outcome.as_str()));
        let labels = || {
            [outcome.clone()]
                .into_iter()
                .chain(tool.clone().map(|tool| (TOOL, tool)))
        };
        self.counter(catalog::CALLS, labels(), durations.count());
        self.histogram(catalog::CALL_DURATION, labels(), durations.clone());
    }

    fn counter(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Named>,
        total: u64,
    ) {
        self.push(metric, labels, Value::Counter(total));
    }

    fn gauge(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Named>,
        value: impl Into<f64>,
    ) {
        self.push(metric, labels, Value::Gauge(value.into()));
    }

    pub(crate) fn histogram(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Named>,
        durations: Distribution,
    ) {
        self.push(metric, labels, Value::Histogram(durations));
    }

    fn push(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Named>,
        value: Value,
    ) {
        let labels = labels.into_iter().map(|(name, value)| match value {
            Cow::Borrowed(value) => Label::from_static_parts(name, value),
            Cow::Owned(value) => Label::new(name, value),
        });
        self.series.push(Series {
            metric,
            labels: [self.server.clone()].into_iter().chain(labels).collect(),
            value,
        });
    }
}
