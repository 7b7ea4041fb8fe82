//! Health of the program: status, liveness and readiness.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    admin::Shared,
    params::NoQuery,
    responses::{Foreign, Refused},
    view::{Readiness, Status},
};

/// Health and totals
#[utoipa::path(
    get,
    path = "/api/v1/mcp/status",
    tag = "watching",
    responses((status = 200, description = "Of all servers", body = Status), Refused),
)]
pub(super) async fn status(State(shared): State<Arc<Shared>>, _: NoQuery) -> Json<Status> {
    Json(shared.status(&shared.moment(), &shared.manager.alerts()))
}

/// Liveness of the program
///
/// Does not depend on its servers: restarting the program does not mend a server that is down.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "program",
    responses((status = 200, description = "The program is running", body = String, content_type = "text/plain"), Foreign),
)]
pub(super) async fn alive(_: NoQuery) -> &'static str {
    "ok\n"
}

/// Readiness to serve calls
///
/// Not ready before each server with `initialization = eager` has a session or has failed to open one, and during shutdown.
/// Servers that go down later make no difference: calls to the others are served.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "program",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "Starting or shutting down", body = Readiness),
        Foreign,
    ),
)]
pub(super) async fn ready(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
) -> (StatusCode, Json<Readiness>) {
    let reason = shared.not_ready();
    let status = match reason {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let ready = reason.is_none();
    (status, Json(Readiness { ready, reason }))
}
