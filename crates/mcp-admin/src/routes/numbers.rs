//! Numbers, for people and for Prometheus.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, header},
};
use mcp_metrics::Summary;

use crate::{admin::Shared, responses::Refused};

/// All numbers as JSON
#[utoipa::path(
    get,
    path = "/api/v1/mcp/metrics/summary",
    tag = "watching",
    responses((status = 200, description = "Totals, and the time just past", body = Summary), Refused),
)]
pub(super) async fn summary(State(shared): State<Arc<Shared>>) -> Json<Summary> {
    Json(shared.manager.summary())
}

/// All numbers as Prometheus reads them
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "watching",
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain"), Refused),
)]
pub(super) async fn prometheus(
    State(shared): State<Arc<Shared>>,
) -> ([(HeaderName, &'static str); 1], String) {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], shared.manager.prometheus())
}
