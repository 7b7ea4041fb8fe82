//! Configured servers and their settings.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    admin::Shared,
    params::{NoQuery, ServerName},
    problem::Problem,
    responses::{NoServer, Refused},
    view::{ServerDetail, ServerSettings, ServerView},
};

/// All servers, and how they are reached
#[utoipa::path(
    get,
    path = "/api/v1/mcp/servers",
    tag = "servers",
    responses((status = 200, description = "In the order of their names; secrets are `***`", body = [ServerView]), Refused),
)]
pub(super) async fn servers(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
) -> Json<Vec<ServerView>> {
    let status = shared.manager.status();
    let views = status.servers.iter().filter_map(|server| {
        let settings = shared.manager.settings(&server.name).ok()?;
        Some(ServerView::new(settings, server.transport))
    });
    Json(views.collect())
}

/// A server's configuration, settings and last lines of stderr
#[utoipa::path(
    get,
    path = "/api/v1/mcp/servers/{server}",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses((status = 200, description = "The server; secrets are `***`", body = ServerDetail), NoServer),
)]
pub(super) async fn server(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
    ServerName(name): ServerName,
) -> Result<Json<ServerDetail>, Problem> {
    let status = shared.manager.status();
    let mut servers = status.servers.iter();
    // A reload may have removed it meanwhile.
    let gone = || Problem::unknown_server(&name, shared.manager.servers());
    let transport = servers
        .find(|server| server.name == name)
        .map(|server| server.transport);
    let settings = shared.manager.settings(&name).map_err(|_| gone())?;
    let stderr = shared.manager.stderr_tail(&name).map_err(|_| gone())?;
    let transport = transport.ok_or_else(gone)?;
    Ok(Json(ServerDetail::new(settings, transport, stderr)))
}

/// The settings in force, and where each came from
#[utoipa::path(
    get,
    path = "/api/v1/mcp/config",
    tag = "servers",
    responses((status = 200, description = "Of each server, in the order of their names", body = [ServerSettings]), Refused),
)]
pub(super) async fn config(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
) -> Json<Vec<ServerSettings>> {
    let names = shared.manager.servers();
    let settings = names
        .iter()
        .filter_map(|name| shared.manager.settings(name).ok());
    Json(settings.map(ServerSettings::new).collect())
}
