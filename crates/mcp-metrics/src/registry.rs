//! The metrics of all servers of a program.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use metrics::Recorder;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{publish::Published, server::ServerMetrics, snapshot::Summary};

/// The metrics of all servers of a program. Cheap to clone; clones are the same metrics.
///
/// There is one source, the atomics of each [`ServerMetrics`], and there are two readers: [`summary`](Self::summary) for
/// JSON, and [`publish`](Self::publish) for any recorder of the `metrics` facade.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    servers: Mutex<BTreeMap<Arc<str>, ServerMetrics>>,
    options: Options,
    /// What the installed recorder has received.
    installed: Mutex<Installed>,
}

/// The recorder installed in this process.
#[derive(Debug, Default)]
struct Installed {
    /// Its address, which changes when another replaces the no-op recorder.
    address: usize,
    published: Published,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    window: Duration,
    tools: usize,
    otel: bool,
}

/// Makes [`Metrics`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build`"]
pub struct MetricsBuilder(Options);

impl Metrics {
    /// Metrics with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A builder with the default settings: a window of one minute, no tool labels.
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder(Options {
            window: Duration::from_secs(60),
            tools: 0,
            otel: false,
        })
    }

    /// The metrics of a server, which are created on first use. The window begins then.
    #[must_use]
    pub fn server(&self, name: &str) -> ServerMetrics {
        let mut servers = self.0.servers.lock();
        if let Some(known) = servers.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        let Options { window, tools, .. } = self.0.options;
        let server = ServerMetrics::new(Arc::clone(&name), window, tools, Instant::now());
        servers.insert(name, server.clone());
        server
    }

    /// Removes a server. [`Prometheus`](crate::Prometheus) drops it, too. Other recorders keep its counters, and its gauges
    /// are set to zero.
    pub fn forget(&self, server: &str) {
        self.0.servers.lock().remove(server);
    }

    /// Adds a removed server again, with all its metrics.
    pub fn remember(&self, server: &ServerMetrics) {
        let mut servers = self.0.servers.lock();
        let name = Arc::clone(server.name());
        servers.entry(name).or_insert_with(|| server.clone());
    }

    /// A summary of all servers now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary_at(Instant::now())
    }

    /// A summary of all servers at a moment not before that of an earlier call.
    #[must_use]
    pub fn summary_at(&self, now: Instant) -> Summary {
        let servers = self.servers();
        Summary::of(servers.iter().map(|server| server.snapshot(now)).collect())
    }

    /// Moves the windows on. A program that asks for summaries less often than twelve times per window calls this as often:
    /// between two calls a window does not know when things happened.
    pub fn tick(&self, now: Instant) {
        for server in self.servers() {
            server.tick(now);
        }
    }

    /// Publishes what has happened since the last call to the recorder installed in this process, if there is one.
    ///
    /// A recorder that is installed later receives everything from the start at the next call. Call this every few seconds,
    /// and before each scrape where that is known.
    pub fn publish(&self) {
        metrics::with_recorder(|recorder| {
            let address = std::ptr::from_ref(recorder).cast::<()>().addr();
            let mut installed = self.0.installed.lock();
            if installed.address != address {
                *installed = Installed {
                    address,
                    published: Published::default(),
                };
            }
            self.publish_to(recorder, &mut installed.published);
        });
    }

    /// Resets all metrics to zero, for tests. A recorder's counters cannot go back, and stay until they are passed.
    pub fn reset(&self) {
        let now = Instant::now();
        for server in self.servers() {
            server.reset(now);
        }
    }

    pub(crate) fn publish_to(&self, recorder: &dyn Recorder, published: &mut Published) {
        published.publish(recorder, &self.servers(), self.0.options.otel);
    }

    pub(crate) fn servers(&self) -> Vec<ServerMetrics> {
        self.0.servers.lock().values().cloned().collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("servers", &self.0.servers.lock().keys().collect::<Vec<_>>())
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl MetricsBuilder {
    /// The length of the window for rates, quantiles and rules. Default: one minute; at least a second.
    pub fn window(mut self, length: Duration) -> Self {
        self.0.window = length.max(Duration::from_secs(1));
        self
    }

    /// Labels calls with their tool, up to this number of tools for each server; the rest count as `_other`. Each tool is a
    /// time series per outcome, and servers choose the names. Default: 0.
    pub fn tool_labels(mut self, most: usize) -> Self {
        self.0.tools = most;
        self
    }

    /// Publishes the durations of calls and the ages of sessions a second time, as `mcp.client.operation.duration` and
    /// `mcp.client.session.duration` of OpenTelemetry's conventions for MCP. Default: no.
    ///
    /// They go through the `metrics` facade, not OpenTelemetry's own API: a recorder bridges to it where it is used.
    #[cfg(feature = "otel")]
    pub fn opentelemetry_names(mut self) -> Self {
        self.0.otel = true;
        self
    }

    /// Makes the metrics. Installs nothing.
    #[must_use]
    pub fn build(self) -> Metrics {
        Metrics(Arc::new(Inner {
            servers: Mutex::default(),
            options: self.0,
            installed: Mutex::default(),
        }))
    }
}
