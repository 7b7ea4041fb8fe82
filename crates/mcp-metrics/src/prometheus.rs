//! The metrics in Prometheus' text format.

use std::{fmt, sync::Arc};

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use parking_lot::Mutex;

use crate::{catalog, publish::Publisher, registry::Metrics};

/// Renders [`Metrics`] in Prometheus' text format. Cheap to clone; clones are the same exporter.
///
/// It has its own recorder, which is not installed, so that the program may install another.
#[derive(Clone)]
pub struct Prometheus {
    metrics: Metrics,
    exporter: Arc<Mutex<Exporter>>,
}

struct Exporter {
    publisher: Publisher<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Prometheus {
    /// An exporter of these metrics.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let exporter = Exporter::new(&metrics);
        Self {
            exporter: Arc::new(Mutex::new(exporter)),
            metrics,
        }
    }

    /// All metrics now, to be served as `text/plain; version=0.0.4`: in the order of their names and labels, without
    /// [removed](Metrics::forget) servers.
    ///
    /// The cost grows with the number of calls since the last time: the exporter takes their durations one by one.
    #[must_use]
    pub fn render(&self) -> String {
        // Of two at once, each would publish a part.
        let mut exporter = self.exporter.lock();
        if exporter.publisher.is_stale() {
            // A recorder cannot drop a series or set a counter back.
            *exporter = Exporter::new(&self.metrics);
        }
        exporter.publisher.publish();
        sorted(&exporter.handle.render())
    }
}

impl Exporter {
    fn new(metrics: &Metrics) -> Self {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        Self {
            publisher: Publisher::new(metrics.clone(), recorder),
            handle,
        }
    }
}

/// The text with its metrics and their series in order: the exporter keeps them in hash maps.
fn sorted(text: &str) -> String {
    let mut metrics: Vec<&str> = text
        .split("\n\n")
        .filter(|metric| !metric.trim().is_empty())
        .collect();
    let is_comment = |line: &&str| line.starts_with('#');
    let name = |metric: &&str| {
        let first = metric.lines().next().unwrap_or_default();
        first.split(' ').nth(2).unwrap_or_default().to_owned()
    };
    metrics.sort_by_cached_key(name);
    let mut out = String::with_capacity(text.len());
    for metric in metrics {
        let (comments, mut series): (Vec<&str>, Vec<&str>) = metric.lines().partition(is_comment);
        // Stable: the lines of one histogram stay in their order.
        series.sort_by_cached_key(|line| labels(line));
        for line in comments.into_iter().chain(series) {
            out.push_str(line);
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// The labels of a line but for the bound of a bucket, which the exporter writes last.
fn labels(line: &str) -> String {
    let labels = line
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or("", |(labels, _)| labels);
    match labels.rsplit_once("le=\"") {
        Some((others, bound)) if bound.matches('"').count() == 1 => others.trim_end_matches(','),
        _ => labels,
    }
    .to_owned()
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prometheus")
    }
}

/// With the bounds below. Without, the exporter makes summaries, whose quantiles cannot be aggregated over programs.
pub(crate) fn builder() -> PrometheusBuilder {
    let long = |metric: &catalog::Metric| Matcher::Full(metric.name.to_owned());
    let builder = PrometheusBuilder::new()
        .set_buckets(&SHORT)
        .and_then(|builder| builder.set_buckets_for_metric(long(catalog::SESSION_AGE), &LONG));
    #[cfg(feature = "otel")]
    let builder = builder
        .and_then(|builder| builder.set_buckets_for_metric(long(catalog::OTEL_SESSION), &LONG));
    builder.expect("there are bounds")
}

/// Bounds for calls, waits and openings, in seconds.
const SHORT: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 120.0,
];

/// Bounds for the ages of sessions, in seconds.
const LONG: [f64; 10] = [
    1.0, 5.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 5_000.0, 20_000.0, 100_000.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buckets;

    #[test]
    fn every_bound_is_one_of_ours() {
        for seconds in SHORT.into_iter().chain(LONG) {
            let nanos = (seconds * 1e9).round() as u64;
            assert_eq!(buckets::upper(buckets::index(nanos)), nanos, "{seconds} s");
        }
    }
}
