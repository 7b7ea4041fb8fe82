//! How a pooled session answers its server.

use rmcp::{
    ClientHandler,
    model::{ClientConfig, Implementation},
};

/// The client's side of a pooled session.
///
/// A pooled session serves many callers, and over legacy stdio a request of the server cannot be told to belong to
/// one of them. So it declares no capability that would let a server ask: sampling, elicitation and roots are
/// declined by rmcp's defaults, exactly as by the plain client `()`.
#[derive(Clone, Debug)]
pub struct SessionHandler {
    info: ClientConfig,
}

impl SessionHandler {
    /// A handler that introduces itself with `info`.
    #[must_use]
    pub fn new(info: ClientConfig) -> Self {
        Self { info }
    }
}

impl Default for SessionHandler {
    fn default() -> Self {
        let client = Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION"));
        Self::new(ClientConfig::new(Default::default(), client))
    }
}

impl ClientHandler for SessionHandler {
    fn get_info(&self) -> ClientConfig {
        self.info.clone()
    }
}
