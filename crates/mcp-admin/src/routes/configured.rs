//! What is configured.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    admin::Shared,
    responses::Refused,
    view::{ServerSettings, ServerView},
};

/// How servers are reached
#[utoipa::path(
    get,
    path = "/api/v1/mcp/servers",
    tag = "servers",
    responses((status = 200, description = "In the order of their names; secrets are `***`", body = [ServerView]), Refused),
)]
pub(super) async fn servers(State(shared): State<Arc<Shared>>) -> Json<Vec<ServerView>> {
    let status = shared.manager.status();
    let views = status.servers.iter().filter_map(|server| {
        let settings = shared.manager.settings(&server.name).ok()?;
        Some(ServerView::new(settings, server.transport))
    });
    Json(views.collect())
}

/// The settings in force, and where each came from
#[utoipa::path(
    get,
    path = "/api/v1/mcp/config",
    tag = "servers",
    responses((status = 200, description = "Of each server, in the order of their names", body = [ServerSettings]), Refused),
)]
pub(super) async fn config(State(shared): State<Arc<Shared>>) -> Json<Vec<ServerSettings>> {
    let names = shared.manager.servers();
    let settings = names
        .iter()
        .filter_map(|name| shared.manager.settings(name).ok());
    Json(settings.map(ServerSettings::new).collect())
}
