//! Alerts, active and resolved.

#![allow(unused_qualifications, reason = "in what utoipa makes of the query")]

use std::sync::Arc;

use axum::{Json, extract::State};
use mcp_metrics::{Alert, alert::Severity};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    admin::Shared,
    params::{Params, text},
    problem::Problem,
    responses::BadQuery,
};

/// Which alerts are returned.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertsQuery {
    /// Only those of this severity.
    #[param(inline)]
    severity: Option<Level>,
    /// Only active ones (`true`) or resolved ones (`false`).
    #[serde(deserialize_with = "text")]
    active: Option<bool>,
    /// Only those of one server.
    server: Option<String>,
    /// The maximum number.
    #[serde(deserialize_with = "text")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    Warning,
    Critical,
}

/// Alerts, the latest raised first
///
/// All active alerts, and the last resolved ones.
#[utoipa::path(
    get,
    path = "/api/v1/mcp/alerts",
    tag = "watching",
    params(AlertsQuery),
    responses(
        (status = 200, description = "The alerts that match", body = [Alert]),
        (status = 404, description = "There is no such server", content_type = "application/problem+json", body = Problem),
        BadQuery,
    ),
)]
pub(super) async fn alerts(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<AlertsQuery>,
) -> Result<Json<Vec<Alert>>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        let detail = format!("query parameter `limit`: {limit} is not between 1 and {MOST}");
        return Err(Problem::field("limit", detail));
    }
    let severity = query.severity.map(|level| match level {
        Level::Warning => Severity::Warning,
        Level::Critical => Severity::Critical,
    });
    let alerts = shared.manager.alerts();
    let server = query.server.map(|name| {
        let known = shared.server_name(&name);
        // It may be one that is no longer configured.
        known.or_else(|problem| {
            let has_alerts = alerts.iter().any(|alert| alert.server == name);
            if has_alerts { Ok(name) } else { Err(problem) }
        })
    });
    let server = server.transpose()?;
    let wanted = |alert: &Alert| {
        severity.is_none_or(|severity| alert.severity == severity)
            && query
                .active
                .is_none_or(|active| alert.is_active() == active)
            && server.as_ref().is_none_or(|server| alert.server == *server)
    };
    let alerts = alerts.into_iter();
    Ok(Json(alerts.filter(wanted).take(limit).collect()))
}

const DEFAULT: usize = 100;

/// So many are kept.
const MOST: usize = 1_000;
