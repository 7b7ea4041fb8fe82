//! How each server of a manager is reached, those to come too.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mcp_config::{Entry, ServerConfig, Switches};
use mcp_pool_core::Connector;

use crate::{
    dial::{Dialer, Target},
    error::Error,
};

pub(super) struct Dialers {
    connectors: BTreeMap<Arc<str>, Arc<dyn Connector>>,
    mocks: bool,
}

impl Dialers {
    /// # Errors
    /// `MCP_ENABLE_MOCKS`, where no mock was built in.
    pub(super) fn new(
        connectors: Vec<(Arc<str>, Arc<dyn Connector>)>,
        switches: Switches,
    ) -> Result<Self, Error> {
        if switches.enable_mocks {
            mock("")?;
            tracing::warn!("MCP_ENABLE_MOCKS: every server is replaced by a mock");
        }
        Ok(Self {
            connectors: connectors.into_iter().collect(),
            mocks: switches.enable_mocks,
        })
    }

    pub(super) fn dialer(&self, name: &Arc<str>, entry: &Entry) -> Dialer {
        let mocked = if self.mocks { mock(name).ok() } else { None };
        let target = match (mocked, self.connectors.get(name), entry.server()) {
            (Some(mock), ..) => Target::Mock(mock),
            (None, Some(connector), _) => Target::Custom(Arc::clone(connector)),
            (None, None, Ok(server)) => Target::Config(Box::new(server.clone())),
            // Kept, so that asking for it says why it cannot be used.
            (None, None, Err(_)) => Target::Config(Box::new(ServerConfig::stdio("disabled"))),
        };
        Dialer::new(Arc::clone(name), target)
    }
}

#[cfg(feature = "in-process")]
#[allow(
    clippy::unnecessary_wraps,
    reason = "the same call with and without the feature"
)]
fn mock(server: &str) -> Result<Arc<dyn Connector>, Error> {
    Ok(crate::mock::connector(server))
}

#[cfg(not(feature = "in-process"))]
fn mock(_: &str) -> Result<Arc<dyn Connector>, Error> {
    Err(Error::new(
        crate::error::ErrorKind::Config,
        "MCP_ENABLE_MOCKS is set, but there are no mocks: build mcp-pooled-tools with the feature `in-process`, or \
         unset the variable",
    ))
}

impl fmt::Debug for Dialers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialers")
            .field("connectors", &self.connectors.keys())
            .field("mocks", &self.mocks)
            .finish()
    }
}
