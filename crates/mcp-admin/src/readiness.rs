//! Readiness: whether calls are served.

use std::sync::atomic::Ordering;

use mcp_pooled_tools::{Initialization, ServerStatus};

use crate::admin::Shared;

impl Shared {
    /// Why calls are not served; `None` if they are.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        if self.shutdown.is_draining() {
            return Some("the program is about to end");
        }
        // Later on, a server that goes down must not turn away callers of the others.
        if self.started.load(Ordering::Relaxed) {
            return None;
        }
        let status = self.manager.status();
        if status.servers.iter().any(|server| self.is_starting(server)) {
            return Some("sessions of servers with `initialization = eager` are being opened");
        }
        self.started.store(true, Ordering::Relaxed);
        None
    }

    fn is_starting(&self, server: &ServerStatus) -> bool {
        let settings = self.manager.settings(&server.name);
        let eager = settings.is_ok_and(|settings| {
            let effective = &settings.effective;
            effective.initialization == Initialization::Eager && effective.min_connections > 0
        });
        let known =
            |pool: &mcp_pooled_tools::PoolStatus| pool.opened > 0 || pool.last_error.is_some();
        eager && server.disabled.is_none() && !server.pools.iter().any(known)
    }
}
