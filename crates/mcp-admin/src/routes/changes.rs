//! What is done to a server.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use tokio::time::timeout;

use crate::{
    admin::Shared,
    params::ServerName,
    problem::Problem,
    responses::NoChange,
    view::{Drained, HealthCheck, Reset},
};

/// Ask a server for a sign of life
///
/// Sends a probe, now, on a session of the server, which is opened if there is none. A session that stays silent is retired.
/// Ends within the server's `probe_timeout`, and `connection_timeout` if it has to wait for a session.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/pools/{server}/health-check",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses((status = 200, description = "What was found, good or bad", body = HealthCheck), NoChange),
)]
pub(super) async fn health_check(
    State(shared): State<Arc<Shared>>,
    ServerName(name): ServerName,
) -> Result<Json<HealthCheck>, Problem> {
    let report = shared.manager.check_health(&name).await?;
    Ok(Json(report.into()))
}

/// Give a server a fresh start
///
/// Closes its circuit breakers, which forget what they have seen, has openings tried again at once, and retires sessions
/// that are under suspicion.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/pools/{server}/reset",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses((status = 200, description = "What was done", body = Reset), NoChange),
)]
pub(super) async fn reset(
    State(shared): State<Arc<Shared>>,
    ServerName(name): ServerName,
) -> Result<Json<Reset>, Problem> {
    let reset = shared.manager.reset(&name)?;
    Ok(Json(Reset::new(name, &reset)))
}

/// Replace the sessions of a server
///
/// No call fails: a session closes when its calls have ended, and later calls meet fresh ones.
#[utoipa::path(
    post,
    path = "/api/v1/mcp/pools/{server}/drain",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "All that were open have ended", body = Drained),
        (status = 202, description = "Some still have calls, and end after them", body = Drained),
        NoChange,
    ),
)]
pub(super) async fn drain(
    State(shared): State<Arc<Shared>>,
    ServerName(server_name): ServerName,
) -> Result<(StatusCode, Json<Drained>), Problem> {
    let done = match timeout(PATIENCE, shared.manager.drain(&server_name)).await {
        Ok(drained) => {
            drained?;
            true
        }
        // What has begun goes on.
        Err(_) => false,
    };
    let status = if done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(Drained { server_name, done })))
}

/// Idle sessions have ended by then.
const PATIENCE: Duration = Duration::from_secs(2);
