//! Publishing to a recorder of the `metrics` facade.
//!
//! A recorder receives what has happened since the last time in one go, not call by call, for three reasons:
//!
//! - A handle taken from the facade belongs to the recorder that was installed when it was taken. In a program that starts
//!   its pools before its exporter, it would never record anything. Totals are published in full whenever a recorder comes.
//! - The histogram of metrics-exporter-prometheus keeps every value until it is scraped, allocates on recording and reads
//!   the clock for each value. That does not belong on the path of a call.
//! - With an idle timeout that exporter drops a metric that rests, and a handle kept across that records into nothing. So
//!   handles are taken again each time.
//!
//! A counter receives its total and a gauge its value. A histogram receives, for each bucket, the mean of its new durations,
//! as often as there are new ones. So counts and sums are exact, and so are bounds that are also bounds here.

use std::collections::{HashMap, hash_map::Entry};

use metrics::{Key, Label, Level, Metadata, Recorder};

use crate::{
    catalog::{self, Kind, Metric},
    histogram::Distribution,
    registry::Metrics,
    server::ServerMetrics,
};

/// Publishes to one recorder that is not installed.
///
/// ```
/// # use mcp_metrics::{CallOutcome, Metrics, Publisher};
/// # use std::time::Duration;
/// let metrics = Metrics::new();
/// let mut publisher = Publisher::new(metrics.clone(), metrics::NoopRecorder);
/// metrics.server("time").call("tools/call", None, CallOutcome::Ok, Duration::from_millis(3));
/// publisher.publish();
/// ```
#[derive(Debug)]
pub struct Publisher<R> {
    metrics: Metrics,
    recorder: R,
    published: Published,
}

impl<R: Recorder> Publisher<R> {
    /// A publisher to `recorder`, which has received nothing yet.
    pub fn new(metrics: Metrics, recorder: R) -> Self {
        Self {
            metrics,
            recorder,
            published: Published::default(),
        }
    }

    /// Whether the recorder knows a server that is gone.
    pub(crate) fn is_stale(&self) -> bool {
        let live = self.metrics.servers();
        let gone = |known: &ServerMetrics| !live.iter().any(|live| live.is(known));
        self.published.servers.iter().any(gone)
    }

    /// Publishes what has happened since the last call.
    pub fn publish(&mut self) {
        self.metrics.publish_to(&self.recorder, &mut self.published);
    }
}

/// What a recorder has received.
#[derive(Debug, Default)]
pub(crate) struct Published {
    described: bool,
    histograms: HashMap<Key, Distribution>,
    servers: Vec<ServerMetrics>,
}

/// One time series of one metric.
pub(crate) struct Series {
    pub(crate) metric: &'static Metric,
    pub(crate) labels: Vec<Label>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Distribution),
}

impl Published {
    pub(crate) fn publish(
        &mut self,
        recorder: &dyn Recorder,
        servers: &[ServerMetrics],
        otel: bool,
    ) {
        const METADATA: &Metadata<'_> = &Metadata::new("mcp_metrics", Level::INFO, None);
        if !std::mem::replace(&mut self.described, true) {
            catalog::describe(recorder);
        }
        let lives = |known: &ServerMetrics| servers.iter().any(|server| server.is(known));
        let before = std::mem::replace(&mut self.servers, servers.to_vec());
        for gone in before.iter().filter(|known| !lives(known)) {
            // Its gauges would stay at their last values.
            for series in gone.series(otel) {
                if series.metric.kind == Kind::Gauge {
                    let key = Key::from_parts(series.metric.name, series.labels);
                    recorder.register_gauge(&key, METADATA).set(0.0);
                }
            }
        }
        for (key, value) in together(servers, otel) {
            match value {
                Value::Counter(total) => {
                    recorder.register_counter(&key, METADATA).absolute(total);
                }
                Value::Gauge(value) => {
                    recorder.register_gauge(&key, METADATA).set(value);
                }
                Value::Histogram(now) => {
                    let histogram = recorder.register_histogram(&key, METADATA);
                    // Nothing is kept for those that stay empty.
                    if now.0.is_empty() {
                        self.histograms.remove(&key);
                        continue;
                    }
                    let published = self.histograms.entry(key).or_default();
                    for part in &now.since(published).0 {
                        #[allow(clippy::cast_precision_loss, reason = "seconds, to 53 bits")]
                        let mean = part.mean() as f64 / 1e9;
                        let count = usize::try_from(part.count).unwrap_or(usize::MAX);
                        histogram.record_many(mean, count);
                    }
                    *published = now;
                }
            }
        }
    }
}

/// Every time series once: calls of several methods may have the same labels.
fn together(servers: &[ServerMetrics], otel: bool) -> HashMap<Key, Value> {
    let version = Label::from_static_parts("version", env!("CARGO_PKG_VERSION"));
    let build = Key::from_parts(catalog::BUILD_INFO.name, vec![version]);
    let mut together = HashMap::from([(build, Value::Gauge(1.0))]);
    for series in servers.iter().flat_map(|server| server.series(otel)) {
        let Series {
            metric,
            labels,
            value,
        } = series;
        debug_assert_eq!(metric.kind, value.kind(), "{}", metric.name);
        debug_assert!(
            labels
                .iter()
                .all(|label| metric.labels.contains(&label.key()) || label.key() == TOOL),
            "{} has labels that are not documented: {labels:?}",
            metric.name
        );
        match together.entry(Key::from_parts(metric.name, labels)) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => entry.get_mut().add(&value),
        }
    }
    together
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(own), Self::Counter(other)) => *own += other,
            (Self::Gauge(own), Self::Gauge(other)) => *own += other,
            (Self::Histogram(own), Self::Histogram(other)) => own.add(other),
            _ => debug_assert!(false, "one metric, two kinds"),
        }
    }
}

/// The label that is there only if tools are labelled.
pub(crate) const TOOL: &str = "tool";
