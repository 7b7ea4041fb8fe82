//! The program itself.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    admin::Shared,
    params::NoQuery,
    responses::{Foreign, Refused},
    view::{Readiness, Status},
};

/// Everything at a glance
#[utoipa::path(
    get,
    path = "/api/v1/mcp/status",
    tag = "watching",
    responses((status = 200, description = "Health and totals", body = Status), Refused),
)]
pub(super) async fn status(State(shared): State<Arc<Shared>>, _: NoQuery) -> Json<Status> {
    Json(shared.status(&shared.moment(), &shared.manager.alerts()))
}

/// Whether the program lives
///
/// Says nothing of its servers: a program is not helped by a new start because a server of it is down.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "program",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"), Foreign),
)]
pub(super) async fn alive(_: NoQuery) -> &'static str {
    "ok\n"
}

/// Whether calls are served
///
/// Not before servers with `initialization = eager` have a session or are known to have none, and no longer once the end has
/// come. Servers that are down make no difference: the others are served.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "program",
    responses(
        (status = 200, description = "They are", body = Readiness),
        (status = 503, description = "Not yet, or no longer", body = Readiness),
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
