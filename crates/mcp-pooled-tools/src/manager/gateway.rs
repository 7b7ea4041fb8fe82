//! The gateway's configuration, which a reload replaces.

use std::sync::Arc;

use mcp_config::GatewayConfig;

use super::ConnectionManager;

impl ConnectionManager {
    /// The configuration of the gateway to these servers: that of the last [`reload`](Self::reload). The same `Arc` as long as
    /// nothing of it has changed.
    #[must_use]
    pub fn gateway_config(&self) -> Arc<GatewayConfig> {
        Arc::clone(&self.0.gateway.read())
    }

    /// Takes over another configuration. Returns whether it differs.
    pub(super) fn configure_gateway(&self, config: GatewayConfig) -> bool {
        let mut current = self.0.gateway.write();
        let differs = **current != config;
        if differs {
            *current = Arc::new(config);
        }
        differs
    }
}
