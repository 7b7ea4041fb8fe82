//! Servers and their sessions.

use std::collections::BTreeMap;

use mcp_metrics::{BreakerState, Health, ServerSnapshot, WindowSnapshot};
use mcp_pooled_tools::{PoolStatus, ServerStatus, SessionStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::Names;

/// A server, with the metrics of its pools added up.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Pool {
    #[serde(flatten)]
    names: Names,
    /// How it is reached: `stdio`, `http`, `custom` or `mock`.
    transport: &'static str,
    /// Why it cannot be used, if it cannot.
    disabled: Option<String>,
    /// Its health, with reasons.
    health: Health,
    /// Sessions that are ready or being opened.
    total_connections: u32,
    /// Sessions that are ready and unused.
    available_connections: u32,
    /// Sessions that are being opened.
    connecting: u32,
    /// The limit on sessions.
    max_connections: u32,
    /// Calls that sessions carry.
    in_flight: u32,
    /// Calls that the maximum number of sessions can carry.
    capacity: u32,
    /// `in_flight` over `capacity`, from 0 to 1, of the pool in which callers wait, or else of the fullest.
    utilization: f64,
    /// Callers that wait.
    waiters: u32,
    /// How long the first of them has waited.
    longest_wait_seconds: f64,
    /// The state of the circuit breaker; of several, the worst.
    circuit_breaker_state: BreakerState,
    /// Seconds until the next try, while the breaker is open or openings back off.
    retry_after_seconds: Option<f64>,
    /// The last failure to open, until an opening succeeds.
    last_error: Option<String>,
    /// Callers served by a session that was already open.
    pool_hits: u64,
    /// Callers that waited for a session to be opened.
    pool_misses: u64,
    /// Openings that failed for good.
    connection_errors: u64,
    /// Health probes that were not answered.
    health_check_failures: u64,
    /// Calls that have ended.
    requests: u64,
    /// Calls that failed or were refused, through no fault of the caller. The window's `error_rate` counts only those that
    /// failed.
    errors: u64,
    /// Calls that the circuit breaker refused.
    refused: u64,
    /// The last minute.
    window: WindowSnapshot,
}

/// A server with its pools and their sessions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PoolDetail {
    #[serde(flatten)]
    pool: Pool,
    /// One for callers without an identity, and one for each identity, from their first use on.
    pools: Vec<IdentityPool>,
}

/// The pool of one identity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct IdentityPool {
    /// The identity; `null` for callers without.
    identity: Option<String>,
    /// Who may share a session: `exclusive`, `multiplexed` or `pinned`.
    sharing: String,
    /// The reason, if it comes from the table of known servers.
    sharing_reason: Option<&'static str>,
    /// Sessions, in whatever state.
    total_connections: u32,
    /// Sessions that are ready and unused.
    available_connections: u32,
    /// Sessions that are ready and in use.
    active_connections: u32,
    /// Sessions that are being opened.
    connecting: u32,
    /// Sessions that are being closed.
    closing: u32,
    /// The lower limit on sessions.
    min_connections: u32,
    /// The upper limit on sessions.
    max_connections: u32,
    /// Callers that wait.
    waiters: usize,
    /// Its circuit breaker.
    circuit_breaker: Breaker,
    /// Sessions opened.
    opened: u64,
    /// Sessions closed, by reason.
    closed: BTreeMap<String, u64>,
    /// Failures of openings, probes and sessions, by phase.
    errors: BTreeMap<String, u64>,
    /// The last failure to open, until an opening succeeds.
    last_error: Option<String>,
    /// Whether callers are made to wait.
    suspended: bool,
    /// Each session, the oldest first.
    sessions: Vec<Session>,
}

/// A circuit breaker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Breaker {
    /// `closed`, `half_open`, `open`, `forced_open`, `forced_closed`, `disabled` or `metrics_only`.
    state: &'static str,
    /// Seconds until it lets the next call through, if it is open.
    retry_after_seconds: Option<f64>,
}

/// A session.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its number.
    id: u64,
    /// Its state: `initializing`, `ready`, `error` or `shutdown`.
    state: String,
    /// Its protocol era, `legacy` or `modern`; unknown until it is ready.
    era: Option<String>,
    /// Seconds since it became ready; while it is being opened, since that began.
    age_seconds: f64,
    /// Seconds since its last call; zero while it is in use.
    idle_seconds: f64,
    /// Calls that it carries.
    in_flight: u32,
    /// Calls made on it.
    calls: u64,
    /// The process that serves it, if it is one of ours.
    pid: Option<u32>,
}

impl Pool {
    /// `max_connections` is the setting, which holds while there is no pool.
    pub(crate) fn new(
        server: &ServerStatus,
        snapshot: &ServerSnapshot,
        health: Health,
        max_connections: u32,
    ) -> Self {
        let breakers = server.pools.iter().filter_map(|pool| pool.retry_after);
        let openings = server.pools.iter().filter_map(|pool| pool.pool.retry_after);
        let last_error = server.pools.iter().find_map(|pool| pool.last_error.clone());
        Self {
            names: Names::new(server.name.clone()),
            transport: server.transport,
            disabled: server.disabled.clone(),
            health,
            total_connections: snapshot.total_connections,
            available_connections: snapshot.available_connections,
            connecting: snapshot.connecting,
            max_connections: snapshot.max_connections.max(max_connections),
            in_flight: snapshot.in_flight,
            capacity: snapshot.capacity,
            utilization: snapshot.utilization,
            waiters: snapshot.waiters,
            longest_wait_seconds: snapshot.longest_wait.as_secs_f64(),
            circuit_breaker_state: snapshot.circuit_breaker_state,
            retry_after_seconds: breakers
                .chain(openings)
                .max()
                .map(|after| after.as_secs_f64()),
            last_error,
            pool_hits: snapshot.pool_hits,
            pool_misses: snapshot.pool_misses,
            connection_errors: snapshot.connection_errors,
            health_check_failures: snapshot.health_check_failures,
            requests: snapshot.requests,
            errors: snapshot.errors,
            refused: snapshot.refused(),
            window: snapshot.window,
        }
    }
}

impl PoolDetail {
    pub(crate) fn new(pool: Pool, server: &ServerStatus) -> Self {
        let pools = server.pools.iter().map(IdentityPool::new).collect();
        Self { pool, pools }
    }
}

impl IdentityPool {
    fn new(status: &PoolStatus) -> Self {
        let connections = status.connections;
        let closed = status.closed.iter();
        let errors = status.errors.iter();
        Self {
            identity: status.identity.clone(),
            sharing: word(&status.sharing),
            sharing_reason: status.sharing_reason,
            total_connections: connections.total,
            available_connections: connections.idle,
            active_connections: connections.active,
            connecting: connections.connecting,
            closing: connections.closing,
            min_connections: connections.min,
            max_connections: connections.max,
            waiters: status.waiters,
            circuit_breaker: Breaker {
                state: status.circuit_breaker_state.as_str(),
                retry_after_seconds: status.retry_after.map(|after| after.as_secs_f64()),
            },
            opened: status.opened,
            closed: closed
                .map(|(reason, count)| (reason.as_str().to_owned(), *count))
                .collect(),
            errors: errors
                .map(|(phase, count)| ((*phase).to_owned(), *count))
                .collect(),
            last_error: status.last_error.clone(),
            suspended: status.suspended,
            sessions: status.sessions.iter().map(Session::new).collect(),
        }
    }
}

impl Session {
    fn new(status: &SessionStatus) -> Self {
        Self {
            id: status.id.get(),
            state: word(&status.state),
            era: status.era.as_ref().map(word),
            age_seconds: status.age.as_secs_f64(),
            idle_seconds: status.idle.as_secs_f64(),
            in_flight: status.in_flight,
            calls: status.calls,
            pid: status.pid,
        }
    }
}

/// The name of a value in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}
