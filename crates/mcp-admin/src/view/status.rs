//! Response types of the status endpoint and the pool actions.

use mcp_metrics::{AlertKind, Health, HealthStatus, health::Reason};
use mcp_pooled_tools as facade;
use serde::Serialize;
use utoipa::ToSchema;

use super::seconds;

/// Everything at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// As well as the server that is worst. Those that are disabled say nothing.
    pub(crate) status: HealthStatus,
    /// The version of the program's `mcp-admin`.
    pub(crate) version: &'static str,
    /// Since the status API was made.
    pub(crate) uptime_seconds: f64,
    /// Servers.
    pub(crate) total_pools: usize,
    /// Calls that have ended.
    pub(crate) total_requests: u64,
    /// Those of them that failed or were refused, through no doing of the caller.
    pub(crate) total_errors: u64,
    /// Sessions over all servers, counting those being opened and those not yet dead.
    pub(crate) connections: usize,
    /// How many there may be.
    pub(crate) max_connections: usize,
    /// Alerts that are active.
    pub(crate) active_alerts: AlertCounts,
    /// How often a changed configuration has been taken over.
    pub(crate) reloads: u64,
    /// What was wrong with the last changed configuration.
    pub(crate) last_reload_error: Option<String>,
    /// Each server's health.
    pub(crate) servers: Vec<ServerHealth>,
}

/// Alerts by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AlertCounts {
    /// Of which calls are served still.
    pub(crate) warning: usize,
    /// Of which calls fail.
    pub(crate) critical: usize,
}

/// How well a server is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerHealth {
    /// Its name.
    pub(crate) server: String,
    /// The same, under the name that it has always had here.
    pub(crate) server_name: String,
    /// Why it cannot be used, if it cannot.
    pub(crate) disabled: Option<String>,
    /// The worst of the reasons.
    pub(crate) status: HealthStatus,
    /// What is wrong, the worst first.
    pub(crate) reasons: Vec<Reason>,
}

/// What a health check found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HealthCheck {
    /// The server.
    server: String,
    /// The same, under the name that it has always had here.
    server_name: String,
    /// The worst of the reasons.
    status: HealthStatus,
    /// What is wrong, the worst first.
    reasons: Vec<Reason>,
    /// What the probe found; `null` if there was no session to send it on.
    probe: Option<ProbeView>,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ProbeView {
    /// The session that was asked.
    session: u64,
    /// Whether it answered in time. If not, it has been retired.
    alive: bool,
    /// How long that took.
    took_seconds: f64,
}

/// What a reset has done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Reset {
    /// The server.
    server: String,
    /// The same, under the name that it has always had here.
    server_name: String,
    /// Circuit breakers that let calls through only in part, or not at all, and do again.
    breakers_closed: usize,
    /// Sessions under suspicion that close when their calls have ended.
    sessions_retired: usize,
}

/// What a drain has done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Drained {
    /// The server.
    pub(crate) server: String,
    /// The same, under the name that it has always had here.
    pub(crate) server_name: String,
    /// Whether all sessions that were open have ended. If not, some still have calls, and end after them.
    pub(crate) done: bool,
}

/// A silence of an alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Silenced {
    /// The server.
    pub(crate) server: String,
    /// The same, under the name that it has in the JSON of pools.
    pub(crate) server_name: String,
    /// The kind of alert.
    pub(crate) kind: AlertKind,
    /// For how long nobody is told of it from now on; 0 if the silence has ended.
    pub(crate) seconds: u64,
}

/// Whether calls are served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether they are.
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) reason: Option<&'static str>,
}

impl ServerHealth {
    pub(crate) fn new(server: String, disabled: Option<String>, health: Health) -> Self {
        Self {
            server_name: server.clone(),
            server,
            disabled,
            status: health.status,
            reasons: health.reasons,
        }
    }
}

impl From<facade::HealthReport> for HealthCheck {
    fn from(report: facade::HealthReport) -> Self {
        Self {
            server: report.server,
            server_name: report.server_name,
            status: report.health.status,
            reasons: report.health.reasons,
            probe: report.probe.map(|probe| ProbeView {
                session: probe.session.get(),
                alive: probe.alive,
                took_seconds: seconds(probe.took),
            }),
        }
    }
}

impl Reset {
    pub(crate) fn new(server: String, reset: &facade::Reset) -> Self {
        Self {
            server_name: server.clone(),
            server,
            breakers_closed: reset.breakers_closed,
            sessions_retired: reset.sessions_retired,
        }
    }
}
