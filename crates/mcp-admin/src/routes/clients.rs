//! The clients of a gateway.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::Shared,
    clients::{ChangedTool, Client},
    params::NoQuery,
    responses::Refused,
};

/// The clients of a gateway, and the tools that have changed.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ClientsView {
    /// Whether the program is a gateway.
    is_gateway: bool,
    /// Clients whose sessions are in use, in the order of principals and names.
    clients: Vec<Client>,
    /// Tools that are not what they were at their first use.
    changed_tools: Vec<ChangedTool>,
}

/// Clients of the gateway, and tools that have changed since their first use
///
/// Both are empty in a program that is no gateway.
#[utoipa::path(
    get,
    path = "/api/v1/mcp/clients",
    tag = "watching",
    responses((status = 200, description = "The clients", body = ClientsView), Refused),
)]
pub(super) async fn clients(State(shared): State<Arc<Shared>>, _: NoQuery) -> Json<ClientsView> {
    let Some(gateway) = &shared.clients else {
        return Json(ClientsView::default());
    };
    let mut clients = gateway.clients();
    clients.sort_by(|a, b| (&a.principal, &a.name).cmp(&(&b.principal, &b.name)));
    Json(ClientsView {
        is_gateway: true,
        clients,
        changed_tools: gateway.changed_tools(),
    })
}
