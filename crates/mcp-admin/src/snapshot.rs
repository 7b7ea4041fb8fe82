//! Snapshots of all servers, made once for all event streams.

use std::{sync::Arc, time::Duration};

use mcp_metrics::{Alert, BreakerState, Health, ServerSnapshot, Summary, alert::Severity};
use mcp_pooled_tools::{ManagerStatus, ServerStatus};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    admin::Shared,
    view::{AlertCounts, Pool, PoolDetail, ServerHealth, Status},
};

/// How old a shared snapshot may be. Each stream sends one every two seconds.
const FRESH: Duration = Duration::from_secs(1);

/// The state of all servers at one moment, as the dashboard shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Snapshot {
    /// Health and totals.
    status: Status,
    /// Each server with its sessions.
    pools: Vec<PoolDetail>,
    /// Active alerts.
    alerts: Vec<Alert>,
}

/// The last snapshot as JSON, for all streams that need one at about the same time.
#[derive(Debug, Default)]
pub(crate) struct Cached(Option<(Instant, Arc<str>)>);

/// Status and metrics of all servers at one moment.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) status: ManagerStatus,
    summary: Summary,
}

impl Shared {
    pub(crate) fn moment(&self) -> Moment {
        let status = self.manager.status();
        let mut summary = self.manager.summary();
        // A breaker may change between the two, and health is shown beside it.
        for snapshot in &mut summary.pool_metrics {
            let server = status
                .servers
                .iter()
                .find(|server| server.name == snapshot.server);
            let breakers = server.into_iter().flat_map(|server| &server.pools);
            let worst = breakers
                .map(|pool| breaker_state(pool.circuit_breaker_state.as_str()))
                .max();
            if let Some(state) = worst {
                snapshot.circuit_breaker_state = state;
            }
        }
        Moment { status, summary }
    }

    /// A snapshot no older than a second, and not from before `since`, as JSON.
    pub(crate) fn snapshot(&self, since: Option<Instant>) -> Arc<str> {
        let mut cached = self.cached.lock();
        match &cached.0 {
            Some((made, json)) if made.elapsed() < FRESH && since <= Some(*made) => {
                Arc::clone(json)
            }
            _ => {
                // Taken first: what happens meanwhile may not be in it.
                let made = Instant::now();
                let json = serde_json::to_string(&self.make_snapshot()).unwrap_or_default();
                let json: Arc<str> = json.into();
                cached.0 = Some((made, Arc::clone(&json)));
                json
            }
        }
    }

    fn make_snapshot(&self) -> Snapshot {
        let moment = self.moment();
        let servers = moment.status.servers.iter();
        let alerts = self.manager.alerts();
        Snapshot {
            pools: servers
                .map(|server| PoolDetail::new(self.pool(&moment, server), server))
                .collect(),
            status: self.status(&moment, &alerts),
            alerts: alerts.into_iter().filter(Alert::is_active).collect(),
        }
    }

    /// A server with the metrics of its pools added up.
    pub(crate) fn pool(&self, moment: &Moment, server: &ServerStatus) -> Pool {
        let snapshot = moment.snapshot(&server.name);
        let health = self.health(server, &snapshot);
        let settings = self.manager.settings(&server.name);
        let max = settings.map_or(0, |settings| settings.effective.max_connections);
        Pool::new(server, &snapshot, health, max)
    }

    /// Health and totals of all servers.
    pub(crate) fn status(&self, moment: &Moment, alerts: &[Alert]) -> Status {
        let servers = moment.status.servers.iter().map(|server| {
            let health = self.health(server, &moment.snapshot(&server.name));
            ServerHealth::new(server.name.clone(), server.disabled.clone(), health)
        });
        let servers: Vec<_> = servers.collect();
        let active = |severity| {
            let of = |alert: &&Alert| alert.is_active() && alert.severity == severity;
            alerts.iter().filter(of).count()
        };
        let global = moment.summary.global_metrics;
        Status {
            status: servers
                .iter()
                .map(|server| server.status)
                .max()
                .unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.began.elapsed().as_secs_f64(),
            total_pools: servers.len(),
            total_requests: global.total_requests,
            total_errors: global.total_errors,
            connections: moment.status.connections,
            max_connections: moment.status.max_connections,
            active_alerts: AlertCounts {
                warning: active(Severity::Warning),
                critical: active(Severity::Critical),
            },
            reloads: moment.status.reloads,
            last_reload_error: moment.status.last_reload_error.clone(),
            servers,
        }
    }

    /// The health of a server; healthy if it is disabled.
    fn health(&self, server: &ServerStatus, snapshot: &ServerSnapshot) -> Health {
        if server.disabled.is_some() {
            return Health::default();
        }
        self.manager.health_rules().judge(snapshot)
    }
}

impl Moment {
    fn snapshot(&self, server: &str) -> ServerSnapshot {
        let mut all = self.summary.pool_metrics.iter();
        all.find(|snapshot| snapshot.server_name == server)
            .cloned()
            .unwrap_or_else(|| ServerSnapshot::new(server))
    }
}

/// The state in which a breaker acts, also if it was set by hand.
fn breaker_state(state: &str) -> BreakerState {
    match state {
        "open" | "forced_open" => BreakerState::Open,
        "half_open" => BreakerState::HalfOpen,
        _ => BreakerState::Closed,
    }
}
