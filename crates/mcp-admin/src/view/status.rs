//! Response types of the status endpoint and the pool actions.

use mcp_metrics::{AlertKind, Health, HealthStatus, health::HealthReason};
use mcp_pooled_tools as facade;
use serde::Serialize;
use utoipa::ToSchema;

use super::Names;

/// Health and totals.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// The worst health of all servers that are not disabled.
    pub(crate) status: HealthStatus,
    /// The version of the program's `mcp-admin`.
    pub(crate) version: &'static str,
    /// Seconds since the status API was made.
    pub(crate) uptime_seconds: f64,
    /// Servers.
    pub(crate) total_pools: usize,
    /// Calls that have ended.
    pub(crate) total_requests: u64,
    /// Calls that failed or were refused, through no fault of the caller.
    pub(crate) total_errors: u64,
    /// Sessions over all servers, counting those being opened and those not yet dead.
    pub(crate) connections: usize,
    /// The limit on these.
    pub(crate) max_connections: usize,
    /// Active alerts.
    pub(crate) active_alerts: AlertCounts,
    /// How often a changed configuration has been applied.
    pub(crate) reloads: u64,
    /// What was wrong with the last changed configuration.
    pub(crate) last_reload_error: Option<String>,
    /// Each server's health.
    pub(crate) servers: Vec<ServerHealth>,
}

/// Alerts by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AlertCounts {
    /// Calls are served.
    pub(crate) warning: usize,
    /// Calls fail.
    pub(crate) critical: usize,
}

/// The health of a server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerHealth {
    #[serde(flatten)]
    pub(crate) names: Names,
    /// Why it cannot be used, if it cannot.
    pub(crate) disabled: Option<String>,
    /// The worst of the reasons.
    pub(crate) status: HealthStatus,
    /// What is wrong, the worst first.
    pub(crate) reasons: Vec<HealthReason>,
}

/// The outcome of a health check.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HealthCheck {
    #[serde(flatten)]
    names: Names,
    /// The worst of the reasons.
    status: HealthStatus,
    /// What is wrong, the worst first.
    reasons: Vec<HealthReason>,
    /// The outcome of the probe; `null` if there was no session to send it on.
    probe: Option<ProbeView>,
}

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ProbeView {
    /// The session that was probed.
    session: u64,
    /// Whether it answered in time. If not, it is closed.
    alive: bool,
    /// Seconds until it answered, or the limit.
    took_seconds: f64,
}

/// The outcome of a reset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Reset {
    #[serde(flatten)]
    names: Names,
    /// Circuit breakers that were not closed.
    breakers_closed: usize,
    /// Suspect sessions, which close when their calls have ended.
    sessions_retired: usize,
}

/// The outcome of a drain.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Drained {
    #[serde(flatten)]
    pub(crate) names: Names,
    /// Whether all sessions that were open are closed. If not, some still have calls, and close after them.
    pub(crate) done: bool,
}

/// A silence of an alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Silenced {
    #[serde(flatten)]
    pub(crate) names: Names,
    /// The kind of alert.
    pub(crate) kind: AlertKind,
    /// Its length from now on; 0 if it has ended.
    pub(crate) seconds: u64,
}

/// Readiness to serve calls.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Readiness to serve calls.
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) reason: Option<&'static str>,
}

impl ServerHealth {
    pub(crate) fn new(server: String, disabled: Option<String>, health: Health) -> Self {
        Self {
            names: Names::new(server),
            disabled,
            status: health.status,
            reasons: health.reasons,
        }
    }
}

impl From<facade::HealthReport> for HealthCheck {
    fn from(report: facade::HealthReport) -> Self {
        Self {
            names: Names::new(report.server),
            status: report.health.status,
            reasons: report.health.reasons,
            probe: report.probe.map(|probe| ProbeView {
                session: probe.session.get(),
                alive: probe.alive,
                took_seconds: probe.took.as_secs_f64(),
            }),
        }
    }
}

impl Reset {
    pub(crate) fn new(server: String, reset: &facade::Reset) -> Self {
        Self {
            names: Names::new(server),
            breakers_closed: reset.breakers_closed,
            sessions_retired: reset.sessions_retired,
        }
    }
}
