//! Actions on servers and alerts.

#![allow(unused_qualifications, reason = "in what utoipa makes of the query")]

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use mcp_metrics::AlertKind;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use crate::{
    admin::Shared,
    params::{NoQuery, Params, ServerName, text},
    problem::Problem,
    responses::NoChange,
    view::{Drained, HealthCheck, Names, Reset, Silenced},
};

const AN_HOUR: u64 = 3_600;
const A_YEAR: u64 = 365 * 24 * 3_600;

/// How long a drain waits before it answers 202. Idle sessions close sooner.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Probe a server
///
/// Sends a health probe on a session of the server, which is opened if there is none. A session that does not answer is
/// closed. Ends within the server's `probe_timeout`, and `connection_timeout` if it has to wait for a session.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/pools/{server}/health-check",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses((status = 200, description = "The outcome, good or bad", body = HealthCheck), NoChange),
)]
pub(super) async fn health_check(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
    ServerName(name): ServerName,
) -> Result<Json<HealthCheck>, Problem> {
    let report = shared.manager.check_health(&name).await?;
    Ok(Json(report.into()))
}

/// Reset a server
///
/// Closes its circuit breakers and clears their statistics, ends the back-off of openings, and retires suspect sessions.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/pools/{server}/reset",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses((status = 200, description = "What was done", body = Reset), NoChange),
)]
pub(super) async fn reset(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
    ServerName(name): ServerName,
) -> Result<Json<Reset>, Problem> {
    let reset = shared.manager.reset(&name)?;
    Ok(Json(Reset::new(name, &reset)))
}

/// Replace the sessions of a server
///
/// No call fails: a session closes when its calls have ended, and later calls use fresh ones.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/pools/{server}/drain",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "All sessions that were open are closed", body = Drained),
        (status = 202, description = "Some still have calls, and close after them", body = Drained),
        NoChange,
    ),
)]
pub(super) async fn drain(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
    ServerName(server): ServerName,
) -> Result<(StatusCode, Json<Drained>), Problem> {
    let done = match timeout(DRAIN_WAIT, shared.manager.drain(&server)).await {
        Ok(drained) => {
            drained?;
            true
        }
        // The drain goes on.
        Err(_) => false,
    };
    let status = if done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let names = Names::new(server);
    Ok((status, Json(Drained { names, done })))
}

/// An alert and the length of its silence.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SilenceQuery {
    /// The server.
    server: String,
    /// The kind of alert.
    #[param(inline)]
    kind: Kind,
    /// Seconds; 0 ends a silence.
    #[serde(default, deserialize_with = "text")]
    #[param(minimum = 0, maximum = 31536000, default = 3600)]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    PoolExhaustion,
    CircuitBreakerOpen,
    HighErrorRate,
    HealthCheckFailure,
    SlowResponses,
    CrashLoop,
}

/// Silence an alert
///
/// Alerts of this kind of the server are not reported for a while: no line in the log, no callback. They are listed, with
/// `silenced_until`. One that is active at the end is reported again.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/alerts/silence",
    tag = "watching",
    params(SilenceQuery),
    responses((status = 200, description = "The silence", body = Silenced), NoChange),
)]
pub(super) async fn silence(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<SilenceQuery>,
) -> Result<Json<Silenced>, Problem> {
    let server = shared.server_name(&query.server)?;
    let seconds = query.seconds.unwrap_or(AN_HOUR);
    if seconds > A_YEAR {
        let detail = format!("query parameter `seconds`: {seconds} is not between 0 and {A_YEAR}");
        return Err(Problem::field("seconds", detail));
    }
    let kind = match query.kind {
        Kind::PoolExhaustion => AlertKind::PoolExhaustion,
        Kind::CircuitBreakerOpen => AlertKind::CircuitBreakerOpen,
        Kind::HighErrorRate => AlertKind::HighErrorRate,
        Kind::HealthCheckFailure => AlertKind::HealthCheckFailure,
        Kind::SlowResponses => AlertKind::SlowResponses,
        Kind::CrashLoop => AlertKind::CrashLoop,
    };
    let time = Duration::from_secs(seconds);
    shared.manager.silence_alert(&server, kind, time)?;
    Ok(Json(Silenced {
        names: Names::new(server),
        kind,
        seconds,
    }))
}
