//! All servers of a program.

mod aggregate;
mod builder;
mod connectors;
mod control;
mod gateway;
mod health;
mod reload;
#[cfg(feature = "watch")]
mod watch;

use std::{fmt, path::Path, sync::Arc, time::Duration};

pub(crate) use aggregate::WeakManager;
pub use builder::ConnectionManagerBuilder;
use connectors::ConnectorFactories;
pub use control::{Drained, Reset};
pub use health::{HealthReport, Probe};
use mcp_config::{Config, GatewayConfig, Loader, PoolSettings};
use mcp_pool_core::Budget;
use parking_lot::{Mutex, RwLock};
use reload::{Reloads, Servers};
use tokio::time::timeout;

use crate::{
    direct::DirectTools,
    error::{Error, ErrorKind},
    monitor::{Monitor, MonitorSettings},
    server::{Server, ServerPool, Tasks},
    status::{ManagerStatus, PoolStatus, ServerSettings, ServerStatus},
    tools::PooledTools,
};

/// The pools of all servers of a program. Cheap to clone.
///
/// Nothing is started before it is used, unless `initialization` says so. Dropping the last clone, and the last
/// handle taken from it, closes everything in the background; [`ConnectionManager::shutdown`] does so and waits.
#[derive(Clone)]
pub struct ConnectionManager(Arc<Inner>);

struct Inner {
    servers: RwLock<Servers>,
    factories: ConnectorFactories,
    budget: Budget,
    tasks: Tasks,
    /// Held while a reload is under way: one after the other.
    reloads: Mutex<Reloads>,
    #[cfg(feature = "watch")]
    watching: watch::Watching,
    monitor: Arc<Monitor>,
    aggregate: aggregate::Aggregate,
    gateway: RwLock<Arc<GatewayConfig>>,
}

impl ConnectionManager {
    /// A manager of servers named in code.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, PoolSettings, ServerConfig};
    /// # async fn example() -> Result<(), Error> {
    /// let manager = ConnectionManager::builder()
    ///     .server("time", ServerConfig::stdio("mcp-server-time"))
    ///     .server("docs", ServerConfig::http("https://docs.example.com/mcp"))
    ///     .defaults(PoolSettings::new().max_connections(4))
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ConnectionManagerBuilder {
        ConnectionManagerBuilder::new()
    }

    /// A manager of the servers in an `.mcp.json` file, with `MCP_*` from the environment.
    ///
    /// A server that cannot be used is disabled, with the reason; the others are not.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example() -> Result<(), Error> {
    /// let manager = ConnectionManager::from_file(".mcp.json").await?;
    /// let now = manager.tools("time")?.call("get_current_time", serde_json::json!({ "timezone": "UTC" })).await?;
    /// manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with everything that is wrong with more than one server.
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let loader = Loader::new().process_environment();
        Self::from_loader(loader.file(path.as_ref())).await
    }

    /// The same, from the file that `MCP_CONFIG_PATH` names, or `.mcp.json` in the current directory.
    ///
    /// # Errors
    /// As [`ConnectionManager::from_file`].
    pub async fn from_env() -> Result<Self, Error> {
        Self::from_loader(Loader::new().process_environment().discover()).await
    }

    /// A manager of whatever the loader finds: files, variables, and what was given to it in code.
    ///
    /// # Errors
    /// As [`ConnectionManager::from_file`].
    pub async fn from_loader(loader: Loader) -> Result<Self, Error> {
        let config = loader.load()?;
        let factories = ConnectorFactories::new(Vec::new(), config.switches)?;
        let monitor = MonitorSettings::default();
        builder::build(config, factories, Some(loader), monitor, None).await
    }

    /// A manager of everything that was configured.
    ///
    /// # Errors
    /// With `initialization = fail_fast`, the error of a server that does not start.
    pub async fn from_config(config: Config) -> Result<Self, Error> {
        let factories = ConnectorFactories::new(Vec::new(), config.switches)?;
        builder::build(config, factories, None, MonitorSettings::default(), None).await
    }

    /// The names of all servers, usable or not, in order.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let servers = self.0.servers.read();
        servers.live.keys().map(ToString::to_string).collect()
    }

    /// The tools of a server, named as configured or with `mcp.` before it. Opens nothing yet.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let tools = manager.tools("time")?;
    /// for tool in tools.list_all_tools().await? {
    ///     println!("{}", tool.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a server that is not known, or disabled; [`ErrorKind::ShuttingDown`].
    pub fn tools(&self, server: &str) -> Result<PooledTools, Error> {
        let server = self.server(server)?;
        let pool = server.pool(None)?;
        Ok(PooledTools::new(server, pool))
    }

    /// The tools of a server, each call over a temporary session of its own.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let result = manager.direct_tools("time")?.call("get_current_time", serde_json::json!({ "timezone": "UTC" })).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ConnectionManager::tools`].
    pub fn direct_tools(&self, server: &str) -> Result<DirectTools, Error> {
        let server = self.server(server)?;
        match server.disabled() {
            None => Ok(DirectTools::new(server)),
            Some(reason) => Err(Error::disabled(&server.name, &reason)),
        }
    }

    /// The settings of a server as they hold now, each with where it came from, and how the server is reached. Secrets
    /// are shown as `***`, here and in JSON.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// for setting in manager.settings("time")?.settings {
    ///     println!("{} = {} ({})", setting.setting, setting.value, setting.origin);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a server that is not known. One that is disabled has settings, too.
    pub fn settings(&self, server: &str) -> Result<ServerSettings, Error> {
        let server = self.server(server)?;
        Ok(ServerSettings::of(&server.entry(), &server.factory()))
    }

    /// Merges settings over those of a server, over files and variables, now and after a reload. Takes
    /// effect at once, without disturbing a call; where a pool cannot change under its sessions, a new one takes its
    /// place and the old one is drained.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, PoolSettings};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// manager.configure_server("time", PoolSettings::new().max_connections(20))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a server that is not known, or settings that contradict themselves. Nothing has
    /// changed then.
    pub fn configure_server(&self, server: &str, settings: PoolSettings) -> Result<(), Error> {
        self.server(server)?.configure(settings)
    }

    /// Everything at this moment.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// for server in manager.status().servers {
    ///     let open: u32 = server.pools.iter().map(|pool| pool.total_connections).sum();
    ///     println!("{}: {open} sessions", server.server);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> ManagerStatus {
        let (reloads, last_reload_error) = self.0.reloads.lock().summary();
        let servers = self.all();
        let servers = servers.iter().map(|server| {
            let sharing_reason = server.entry().sharing_reason();
            let pools = server.pools();
            let pools = pools.iter().map(|pool| pool_status(pool, sharing_reason));
            ServerStatus {
                server: server.name.to_string(),
                name: server.name.to_string(),
                transport: server.factory().kind(),
                disabled: server.disabled(),
                pools: pools.collect(),
            }
        });
        ManagerStatus {
            servers: servers.collect(),
            connections: self.0.budget.in_use(),
            max_connections: self.0.budget.max_total(),
            reloads,
            last_reload_error,
        }
    }

    /// The pool of a server at this moment, for callers without an identity.
    ///
    /// # Errors
    /// As [`ConnectionManager::tools`].
    pub fn pool_status(&self, server: &str) -> Result<PoolStatus, Error> {
        let server = self.server(server)?;
        let pool = server.pool(None)?;
        Ok(pool_status(&pool, server.entry().sharing_reason()))
    }

    /// Ends everything: no more calls are taken, those in flight may finish within `shutdown_grace`, then all
    /// sessions are closed side by side. Afterwards no process, task or connection of the manager is left.
    ///
    /// # Cancel safety
    /// May be dropped at any point: what has begun goes on in the background. May be called again.
    pub async fn shutdown(&self) {
        /// The longest a pool takes beyond its grace, and a little.
        const CLOSING: Duration = Duration::from_secs(8);
        self.0.monitor.stop();
        let servers = self.0.servers.write().shut();
        #[cfg(feature = "watch")]
        self.stop_watching().await;
        let mut grace = Duration::ZERO;
        for server in servers {
            for pool in server.shut() {
                grace = grace.max(pool.options().shutdown_grace);
                self.0.tasks.spawn(async move { pool.close().await });
            }
        }
        let limit = grace.saturating_add(CLOSING);
        self.0.tasks.tracker.close();
        if timeout(limit, self.0.tasks.tracker.wait()).await.is_err() {
            tracing::error!("shutdown did not end within {limit:?}");
        }
        self.0.monitor.events.end();
    }

    pub(crate) fn all(&self) -> Vec<Arc<Server>> {
        self.all_and(|| ()).0
    }

    /// All servers, and what `read` returns while no reload changes them.
    pub(crate) fn all_and<T>(&self, read: impl FnOnce() -> T) -> (Vec<Arc<Server>>, T) {
        let servers = self.0.servers.read();
        (servers.live.values().cloned().collect(), read())
    }

    pub(crate) fn server(&self, name: &str) -> Result<Arc<Server>, Error> {
        let servers = self.0.servers.read();
        let found = servers
            .live
            .get(name)
            .or_else(|| servers.live.get(name.strip_prefix("mcp.")?));
        found.cloned().ok_or_else(|| {
            let known = servers
                .live
                .keys()
                .map(|name| name.escape_debug().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            let known = if known.is_empty() {
                "none is configured".into()
            } else {
                format!("known: {known}")
            };
            Error::new(
                ErrorKind::Config,
                format!("there is no server `{}`; {known}", name.escape_debug()),
            )
        })
    }
}

fn pool_status(pool: &ServerPool, sharing_reason: Option<&'static str>) -> PoolStatus {
    let current = pool.snapshot();
    let breaker = current.circuit.breaker();
    let status = current.pool.status();
    let (retries, fallbacks) = pool.context.telemetry.retries_and_fallbacks();
    PoolStatus {
        identity: pool
            .context
            .identity
            .as_ref()
            .map(|identity| identity.name().to_owned()),
        sharing_reason,
        total_connections: status.connections.total,
        available_connections: status.connections.idle,
        connection_errors: errors(&status, |phase| phase != "probe"),
        health_check_failures: errors(&status, |phase| phase == "probe"),
        pool: status,
        circuit_breaker_state: breaker.state(),
        circuit_breaker: breaker.counts(),
        retry_after: breaker.retry_after(),
        retries,
        fallbacks,
    }
}

fn errors(status: &mcp_pool_core::SessionPoolStatus, counts: impl Fn(&str) -> bool) -> u64 {
    let errors = status.errors.iter();
    errors
        .filter(|(phase, _)| counts(phase))
        .map(|(_, count)| count)
        .sum()
}

impl fmt::Debug for ConnectionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionManager")
            .field("servers", &self.servers())
            .field("connections", &self.0.budget.in_use())
            .finish_non_exhaustive()
    }
}
