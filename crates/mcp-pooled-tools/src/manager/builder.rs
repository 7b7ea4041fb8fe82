//! From a configuration to a manager.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mcp_config::{Config, Initialization, LimitSettings, Loader, PoolSettings, ServerConfig};
use mcp_pool_core::{Budget, Connector};

use super::ConnectionManager;
use crate::{
    dial::{Dialer, Target},
    error::Error,
    server::{Server, Tasks},
};

/// Makes a [`ConnectionManager`] of servers named in code.
///
/// `MCP_POOL_*` and the other variables of the environment count here too, under what is set in code.
#[must_use = "nothing is made before `build`"]
pub struct ConnectionManagerBuilder {
    loader: Loader,
    connectors: Vec<(Arc<str>, Arc<dyn Connector>)>,
}

impl ConnectionManagerBuilder {
    pub(super) fn new() -> Self {
        Self {
            loader: Loader::new().process_environment(),
            connectors: Vec::new(),
        }
    }

    /// Adds a server.
    pub fn server(mut self, name: impl Into<String>, server: ServerConfig) -> Self {
        self.loader = self.loader.server(name, server);
        self
    }

    /// Adds a server that is reached by a connector of your own, with these settings.
    pub fn connector(
        mut self,
        name: impl Into<String>,
        connector: impl Connector,
        settings: PoolSettings,
    ) -> Self {
        let name = name.into();
        // The entry carries the name and the settings; its command is never started.
        let entry = ServerConfig::stdio("custom connector").pool(settings);
        self.loader = self.loader.server(name.clone(), entry);
        self.connectors.push((name.into(), Arc::new(connector)));
        self
    }

    /// Settings for all servers that do not say otherwise.
    pub fn defaults(mut self, settings: PoolSettings) -> Self {
        self.loader = self.loader.defaults(settings);
        self
    }

    /// Limits over all servers.
    pub fn limits(mut self, limits: LimitSettings) -> Self {
        self.loader = self.loader.limits(limits);
        self
    }

    /// Makes the manager. Opens nothing, unless `initialization` says so.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with everything that is wrong; with
    /// `initialization = fail_fast`, the error of a server that does not start.
    pub async fn build(self) -> Result<ConnectionManager, Error> {
        let config = self.loader.load()?;
        // What is named in code is not skipped over like an entry of somebody's file.
        config.check()?;
        build(config, self.connectors).await
    }
}

pub(super) async fn build(
    config: Config,
    connectors: Vec<(Arc<str>, Arc<dyn Connector>)>,
) -> Result<ConnectionManager, Error> {
    let limits = &config.limits;
    let budget = Budget::new(
        limits.max_total_connections as usize,
        limits.max_connecting as usize,
    );
    let tasks = Tasks::here();
    let mut connectors: BTreeMap<_, _> = connectors.into_iter().collect();
    let servers = config.servers.into_iter().map(|(name, entry)| {
        let name: Arc<str> = name.into();
        let target = match (connectors.remove(&name), entry.server()) {
            (Some(connector), _) => Target::Custom(connector),
            (None, Ok(server)) => Target::Config(Box::new(server.clone())),
            // Kept, so that asking for it says why it cannot be used.
            (None, Err(_)) => Target::Config(Box::new(ServerConfig::stdio("disabled"))),
        };
        let dialer = Dialer::new(Arc::clone(&name), target);
        let server = Server::new(entry, dialer, budget.clone(), tasks.clone());
        (name, Arc::new(server))
    });
    let manager = ConnectionManager::new(servers.collect(), budget.clone(), tasks);
    initialize(&manager).await?;
    Ok(manager)
}

/// Opens what is to be open before the first call.
async fn initialize(manager: &ConnectionManager) -> Result<(), Error> {
    let mut first = tokio::task::JoinSet::new();
    for server in manager
        .0
        .servers
        .values()
        .filter(|server| server.disabled().is_none())
    {
        let settings = server.settings();
        if settings.initialization == Initialization::Lazy {
            continue;
        }
        let pool = server.pool(None)?;
        pool.current().pool.warm_up();
        if settings.initialization == Initialization::FailFast {
            first.spawn(async move {
                let acquired = pool.current().pool.acquire().await;
                acquired
                    .map(drop)
                    .map_err(|error| Error::acquire(&pool.server, &pool.secrets, error))
            });
        }
    }
    while let Some(opened) = first.join_next().await {
        if let Ok(Err(error)) = opened {
            manager.shutdown().await;
            return Err(error);
        }
    }
    Ok(())
}

impl fmt::Debug for ConnectionManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionManagerBuilder")
            .finish_non_exhaustive()
    }
}
