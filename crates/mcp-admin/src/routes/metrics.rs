//! Metrics, as JSON and for Prometheus.

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

/// How long a scrape waits for others. Scrapers wait for ten seconds by default.
const RENDER_WAIT: Duration = Duration::from_secs(5);

/// All metrics as JSON
#[utoipa::path(
    get,
    path = "/api/v1/mcp/metrics/summary",
    tag = "watching",
    responses((status = 200, description = "Totals, and the last minute", body = Summary), Refused),
)]
pub(super) async fn summary(State(shared): State<Arc<Shared>>, _: NoQuery) -> Json<Summary> {
    Json(shared.manager.summary())
}

/// All metrics in Prometheus' text format
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
    // One at a time: a flood of scrapes must not take the processor from calls.
    let turn = timeout(RENDER_WAIT, shared.renders.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        let detail = "too many scrapes at once; one scraper is enough";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    // Pipelined requests must not occupy the worker all at once.
    tokio::task::yield_now().await;
    let text = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, text)], shared.manager.prometheus()))
}
