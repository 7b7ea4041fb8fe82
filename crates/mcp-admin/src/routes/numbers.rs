//! Numbers, for people and for Prometheus.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use mcp_metrics::Summary;
use tokio::time::timeout;

use crate::{
    admin::Shared,
    params::NoQuery,
    problem::Problem,
    responses::{Refused, TooBusy},
};

/// All numbers as JSON
#[utoipa::path(
    get,
    path = "/api/v1/mcp/metrics/summary",
    tag = "watching",
    responses((status = 200, description = "Totals, and the time just past", body = Summary), Refused),
)]
pub(super) async fn summary(State(shared): State<Arc<Shared>>, _: NoQuery) -> Json<Summary> {
    Json(shared.manager.summary())
}

/// All numbers as Prometheus reads them
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "watching",
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain"), TooBusy),
)]
pub(super) async fn prometheus(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    // One at a time: requests that come faster than they are answered must not take the processor from everything else.
    let turn = timeout(PATIENCE, shared.renders.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        let detail = "too many ask for this at once; one scraper is enough";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    // Whoever pipelines requests is not to keep the worker for all of them.
    tokio::task::yield_now().await;
    let text = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, text)], shared.manager.prometheus()))
}

/// Scrapers wait for ten seconds by default.
const PATIENCE: Duration = Duration::from_secs(5);
