//! Servers and their sessions.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::{
    admin::Shared,
    params::{NoQuery, ServerName},
    problem::Problem,
    responses::{NoServer, Refused},
    view::{Pool, PoolDetail},
};

/// All servers
#[utoipa::path(
    get,
    path = "/api/v1/mcp/pools",
    tag = "servers",
    responses((status = 200, description = "In the order of their names", body = [Pool]), Refused),
)]
pub(super) async fn pools(State(shared): State<Arc<Shared>>, _: NoQuery) -> Json<Vec<Pool>> {
    let moment = shared.moment();
    let servers = moment.status.servers.iter();
    Json(servers.map(|server| shared.pool(&moment, server)).collect())
}

/// A server with its sessions
#[utoipa::path(
    get,
    path = "/api/v1/mcp/pools/{server}",
    tag = "servers",
    params(("server" = String, Path, description = "Its name")),
    responses((status = 200, description = "The server", body = PoolDetail), NoServer),
)]
pub(super) async fn pool(
    State(shared): State<Arc<Shared>>,
    _: NoQuery,
    ServerName(name): ServerName,
) -> Result<Json<PoolDetail>, Problem> {
    let moment = shared.moment();
    let mut servers = moment.status.servers.iter();
    // A reload may have removed it meanwhile.
    let Some(server) = servers.find(|server| server.name == name) else {
        return Err(Problem::unknown_server(&name, shared.manager.servers()));
    };
    Ok(Json(PoolDetail::new(shared.pool(&moment, server), server)))
}
