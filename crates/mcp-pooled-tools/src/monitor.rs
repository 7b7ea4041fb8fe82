//! Periodic check of all pools: reads gauges, raises and resolves alerts, publishes to the installed recorder.
//!
//! The monitor sends no probes. The maintenance of each pool probes every session that has been quiet for
//! `health_check_interval`. A second round would find nothing more, and would start servers that are not in use.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use mcp_metrics::{
    AlertEvent, AlertKind, AlertRules, Alerts, HealthRules, Metrics, PoolGauges, Prometheus,
    ServerMetrics, Summary,
    alert::{Moment, Severity},
};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    events::{Event, Events},
    server::{ServerPool, Tasks},
    telemetry::{Telemetry, gauges},
    trace::TraceSource,
};

/// Called for every change of an alert.
pub(crate) type AlertCallback = Box<dyn Fn(&AlertEvent) + Send + Sync>;

/// What a monitor checks, and its alert callbacks.
#[derive(Default)]
pub(crate) struct MonitorSettings {
    pub(crate) metrics: Metrics,
    pub(crate) alerts: AlertRules,
    pub(crate) health: HealthRules,
    pub(crate) on_alert: Vec<AlertCallback>,
    pub(crate) traces: TraceSource,
}

pub(crate) struct Monitor {
    pub(crate) metrics: Metrics,
    pub(crate) health: HealthRules,
    pub(crate) events: Events,
    pub(crate) prometheus: Prometheus,
    alerts: Mutex<Alerts>,
    on_alert: Vec<AlertCallback>,
    traces: TraceSource,
    pools: Mutex<BTreeMap<Arc<str>, Watched>>,
    /// Ends the task, at the latest with the monitor.
    stop: CancellationToken,
    _stop: DropGuard,
}

struct Watched {
    metrics: ServerMetrics,
    pools: Vec<Weak<ServerPool>>,
}

impl Monitor {
    pub(crate) fn start(settings: MonitorSettings, tasks: &Tasks) -> Arc<Self> {
        let stop = CancellationToken::new();
        let monitor = Arc::new(Self {
            prometheus: Prometheus::new(settings.metrics.clone()),
            metrics: settings.metrics,
            health: settings.health,
            events: Events::new(),
            alerts: Mutex::new(Alerts::new(settings.alerts)),
            on_alert: settings.on_alert,
            traces: settings.traces,
            pools: Mutex::default(),
            stop: stop.clone(),
            _stop: stop.clone().drop_guard(),
        });
        tasks.spawn(run(Arc::downgrade(&monitor), stop));
        monitor
    }

    /// Cancelled when the manager is shut down or gone.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Telemetry of a server.
    pub(crate) fn telemetry(&self, server: &Arc<str>) -> Telemetry {
        Telemetry::new(
            self.metrics.server(server),
            self.events.clone(),
            self.traces.clone(),
        )
    }

    /// A server that is no more is left out of all numbers, and its alerts are resolved.
    pub(crate) fn forget(&self, server: &str) {
        self.metrics.forget(server);
    }

    /// It is there again, if it was not.
    pub(crate) fn remember(&self, telemetry: &Telemetry) {
        self.metrics.remember(&telemetry.metrics);
    }

    /// Adds a pool to the periodic check.
    pub(crate) fn watch(&self, pool: &Arc<ServerPool>) {
        let mut servers = self.pools.lock();
        let watched = servers
            .entry(Arc::clone(&pool.server))
            .or_insert_with(|| Watched {
                metrics: pool.context.telemetry.metrics.clone(),
                pools: Vec::new(),
            });
        watched.pools.retain(|known| known.strong_count() > 0);
        watched.pools.push(Arc::downgrade(pool));
    }

    /// Everything now.
    pub(crate) fn summary(&self) -> Summary {
        self.refresh();
        let summary = self.metrics.summary();
        for server in &summary.pool_metrics {
            let health = self.health.judge(server).status;
            self.metrics.server(&server.server).health(health);
        }
        summary
    }

    /// Everything now, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        // Gauges and health of this moment.
        self.summary();
        self.prometheus.render()
    }

    pub(crate) fn alerts(&self) -> Vec<mcp_metrics::Alert> {
        self.alerts.lock().all()
    }

    pub(crate) fn silence(&self, server: &str, kind: AlertKind, time: Duration) {
        self.alerts
            .lock()
            .silence(server, kind, time, Moment::now());
    }

    /// Checks now, instead of in a few seconds.
    pub(crate) fn check(&self) {
        let summary = self.summary();
        let changes = {
            let mut alerts = self.alerts.lock();
            let changes = alerts.observe(&summary, Moment::now());
            for server in self.pools.lock().values() {
                server.metrics.alerts(alerts.of(server.metrics.name()));
            }
            changes
        };
        for change in &changes {
            self.events.emit(|| Event::Alert(change.clone()));
            if change.alert().silenced_until.is_some() {
                continue;
            }
            log(change);
            for callback in &self.on_alert {
                // A panic in a callback must not end the monitor.
                if catch_unwind(AssertUnwindSafe(|| callback(change))).is_err() {
                    tracing::error!("an alert callback panicked");
                }
            }
        }
        self.metrics.publish();
    }

    /// Stops the periodic check.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Reads the gauges of all pools.
    fn refresh(&self) {
        for server in self.pools.lock().values() {
            let mut all = PoolGauges::default();
            for pool in server.pools.iter().filter_map(Weak::upgrade) {
                let current = pool.snapshot();
                if current.gone.is_some() {
                    continue;
                }
                let breaker = current.circuit.breaker().state();
                all.add(&gauges(&current.pool.status(), breaker));
            }
            server.metrics.observe(all);
        }
    }
}

async fn run(monitor: Weak<Monitor>, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let Some(monitor) = monitor.upgrade() else {
            return;
        };
        monitor.check();
    }
}

fn log(change: &AlertEvent) {
    let alert = change.alert();
    let (server, kind, severity) = (&alert.server, alert.kind, alert.severity);
    match change {
        AlertEvent::Resolved(_) => tracing::info!(%server, %kind, "alert resolved"),
        _ if severity == Severity::Critical => {
            tracing::error!(%server, %kind, value = alert.value, "{}", alert.message);
        }
        _ => tracing::warn!(%server, %kind, value = alert.value, "{}", alert.message),
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// Interval of the check: a twelfth of the window over which rates are taken by default.
const EVERY: Duration = Duration::from_secs(5);
