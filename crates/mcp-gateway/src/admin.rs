//! The status API, metrics and dashboard beside the endpoint, behind a check of their own.

use std::sync::{Arc, Weak};

use axum::Router;
use mcp_admin::{Admin, ChangedTool, Client, Clients};

use crate::{
    gateway::{Gateway, GatewayBuilder, Inner},
    modern,
};

impl Gateway {
    /// The [`router`](Gateway::router), and the routes of the [`admin`](GatewayBuilder::admin) if there is one.
    pub fn app(&self) -> Router {
        let Some(admin) = &self.0.admin else {
            return self.router();
        };
        let clients = ClientsOf(Arc::downgrade(&self.0));
        let config = self.0.manager.gateway_config();
        let names = config.public_url.iter().chain(&config.allowed_hosts);
        let admin = names.fold(admin.clone(), Admin::allow_host);
        admin
            .shutdown(self.0.shutdown.clone())
            .clients(Arc::new(clients))
            .router()
            .merge(self.router())
    }
}

impl GatewayBuilder {
    /// Serves the status API, `/metrics`, `/healthz`, `/readyz` and the dashboard on the same listener, with these settings.
    /// They have a check of their own, with a token of their own: `admin(|admin| admin.token(token))`. Without a token
    /// only probes are answered, unless reading is [open](Admin::open_reads).
    pub fn admin(mut self, settings: impl FnOnce(Admin) -> Admin) -> Self {
        self.admin = Some(settings(Admin::new(self.manager.clone())));
        self
    }
}

/// What the status API shows of a gateway that may be gone.
struct ClientsOf(Weak<Inner>);

impl Clients for ClientsOf {
    fn clients(&self) -> Vec<Client> {
        let Some(gateway) = self.0.upgrade() else {
            return Vec::new();
        };
        let sessions = gateway.sessions.all();
        let clients = sessions.iter().map(|session| {
            let (calls, in_flight) = session.counts();
            let client = &session.client;
            let is_modern = client.protocol_version.as_str() >= modern::VERSION;
            Client {
                principal: session.principal.to_string(),
                name: client.name.clone(),
                version: client.version.clone(),
                protocol_version: client.protocol_version.clone(),
                era: if is_modern { "modern" } else { "legacy" }.to_owned(),
                path: session.path.to_string(),
                calls,
                in_flight,
                idle_seconds: session
                    .idle_since()
                    .map(|since| since.elapsed().as_secs_f64()),
            }
        });
        clients.collect()
    }

    fn changed_tools(&self) -> Vec<ChangedTool> {
        let changes = self.0.upgrade().map(|gateway| gateway.edge.pins.changes());
        let changes = changes.into_iter().flatten();
        changes
            .map(|change| ChangedTool {
                server: change.server,
                tool: change.tool,
                new_sha256: change.new_sha256,
                differences: change.differences,
            })
            .collect()
    }
}
