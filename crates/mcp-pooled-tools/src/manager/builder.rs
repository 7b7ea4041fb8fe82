//! Builder of a manager.

use std::{fmt, path::PathBuf, sync::Arc};

use mcp_config::{
    AggregatorSettings, Config, Exposure, GatewayConfig, HttpServer, Initialization, LimitSettings,
    Loader, PoolSettings, ServerConfig,
};
use mcp_metrics::{AlertEvent, AlertRules, HealthRules, Metrics};
use mcp_pool_core::{Budget, Connector, source::ValueSource};
use parking_lot::{Mutex, RwLock};
use rmcp::model::ClientConfig;

#[cfg(feature = "watch")]
use super::watch::Watching;
use super::{
    ConnectionManager, ConnectorFactories, Inner, Reloads, Servers,
    aggregate::Aggregate,
    connectors::{Declarations, FoundSources, Sources},
};
use crate::{
    credentials::SharedSource,
    error::Error,
    monitor::{Monitor, MonitorSettings},
    server::{Server, Tasks},
    trace::{TraceContext, TraceSource},
};

/// Makes a [`ConnectionManager`] of servers named in code, in files, or both.
///
/// What is said of one server wins over what is said of all of them, and each has its layers, the later over the earlier:
///
/// | of all servers | of one server |
/// | --- | --- |
/// | `[defaults]` of `mcp-pool.toml` beside a [`file`](Self::file) | the `pool` table of its entry in a file |
/// | `MCP_POOL_*` and `MCP_CIRCUIT_BREAKER_*` | `MCP_SERVER_<NAME>_*` |
/// | [`defaults`](Self::defaults) | [`ServerConfig::pool`], and over it [`ConnectionManager::configure_server`] |
///
/// [`ConnectionManager::settings`] returns the origin of every value.
#[must_use = "nothing is made before `build`"]
pub struct ConnectionManagerBuilder {
    loader: Loader,
    connectors: Vec<(Arc<str>, Arc<dyn Connector>)>,
    sources: Sources,
    found: FoundSources,
    declarations: Declarations,
    monitor: MonitorSettings,
    catalogue: Option<PathBuf>,
}

impl ConnectionManagerBuilder {
    pub(super) fn new() -> Self {
        Self {
            loader: Loader::new().process_environment(),
            connectors: Vec::new(),
            sources: Sources::new(),
            found: FoundSources::new(),
            declarations: Declarations::default(),
            monitor: MonitorSettings::default(),
            catalogue: None,
        }
    }

    /// Adds the servers of a file, and the settings in `mcp-pool.toml` (or `.yaml`, `.json`) beside it. Of several files
    /// that name the same server, the last one wins; a server named in code wins over them all.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.loader = self.loader.file(path);
        self
    }

    /// Reads what this loader finds, in place of what was given before.
    pub fn loader(mut self, loader: Loader) -> Self {
        self.loader = loader;
        self
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

    /// Sends a header to an HTTP server, in place of a configured one of this name. The source is asked for its value when
    /// a session is opened, and again when the server has refused its value (401). The server may be one of a file. What
    /// an [`Identity`](crate::Identity) says of the header goes before it, and [`build`](Self::build) fails if the server
    /// is not there or is not reached over HTTP.
    pub fn header_from(
        mut self,
        server: impl Into<Arc<str>>,
        header: impl Into<String>,
        source: Arc<dyn ValueSource>,
    ) -> Self {
        let headers = self.sources.entry(server.into()).or_default();
        headers.insert(header.into().to_ascii_lowercase(), SharedSource(source));
        self
    }

    /// Asks for a source of a header of each server over HTTP that is set up, also by a reload: `find` is given its name and
    /// its entry. A source of [`header_from`](Self::header_from) goes before it.
    ///
    /// A source that may have no value yet says so by [`SourceError::none_yet`](mcp_pool_core::source::SourceError::none_yet).
    pub fn find_header(
        mut self,
        header: impl Into<String>,
        find: impl Fn(&str, &HttpServer) -> Option<Arc<dyn ValueSource>> + Send + Sync + 'static,
    ) -> Self {
        let header = header.into().to_ascii_lowercase();
        self.found.insert(header, Arc::new(find));
        self
    }

    /// What sessions declare to every server: name and version of the client, its capabilities and extensions. Servers
    /// show tools, and send requests, by what their client declares. Default: `mcp-pool`, without capabilities.
    ///
    /// A pooled session answers requests of a server as the plain client `()` does, unless a call has a
    /// [handler](crate::RequestOptions::handler).
    pub fn client_info(mut self, info: ClientConfig) -> Self {
        self.declarations.everywhere = Some(info);
        self
    }

    /// What sessions declare to one server, in place of [`client_info`](Self::client_info). The server may be one of a
    /// file. [`PooledTools::with_client_info`](crate::PooledTools::with_client_info) goes before it, and
    /// [`build`](Self::build) fails if the server is not there.
    pub fn server_client_info(mut self, server: impl Into<Arc<str>>, info: ClientConfig) -> Self {
        self.declarations.by_server.insert(server.into(), info);
        self
    }

    /// Settings for all servers: over those of the settings file and of `MCP_POOL_*`, and under whatever is said of one
    /// server, be it in its own `pool` table.
    pub fn defaults(mut self, settings: PoolSettings) -> Self {
        self.loader = self.loader.defaults(settings);
        self
    }

    /// Limits over all servers.
    pub fn limits(mut self, limits: LimitSettings) -> Self {
        self.loader = self.loader.limits(limits);
        self
    }

    /// Settings of [`ConnectionManager::aggregator`]: over those of the settings file and of `MCP_AGGREGATOR_*`, and under
    /// what is set for one server.
    pub fn aggregator(mut self, settings: AggregatorSettings) -> Self {
        self.loader = self.loader.aggregator(settings);
        self
    }

    /// The gateway from code, over that of files and variables.
    pub fn gateway(mut self, config: GatewayConfig) -> Self {
        self.loader = self.loader.gateway(config);
        self
    }

    /// What [`ConnectionManager::aggregator`] exposes of one server, in place of what its entry says. The server may be one
    /// of a file, and [`build`](Self::build) fails if it is not there.
    pub fn expose(mut self, server: impl Into<String>, exposure: Exposure) -> Self {
        self.loader = self.loader.expose(server, exposure);
        self
    }

    /// Keeps the lists that [`ConnectionManager::aggregator`] merges in this directory, so that a program that starts again
    /// knows its servers before it has started them. Private lists of a server that is given secrets are not kept.
    pub fn catalogue(mut self, directory: impl Into<PathBuf>) -> Self {
        self.catalogue = Some(directory.into());
        self
    }

    /// Records into these metrics, which may have a window of their own, or tell tools apart. Default: `Metrics::new()`.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.monitor.metrics = metrics;
        self
    }

    /// What alerts are raised for. Default: [`AlertRules::default`].
    pub fn alert_rules(mut self, rules: AlertRules) -> Self {
        self.monitor.alerts = rules;
        self
    }

    /// What is no longer healthy. Default: [`HealthRules::default`].
    pub fn health_rules(mut self, rules: HealthRules) -> Self {
        self.monitor.health = rules;
        self
    }

    /// Adds a callback for alerts that are raised, become critical or are resolved. May be called several times. Runs on
    /// a runtime thread: it must not block.
    pub fn on_alert(mut self, callback: impl Fn(&AlertEvent) + Send + Sync + 'static) -> Self {
        self.monitor.on_alert.push(Box::new(callback));
        self
    }

    /// Asks for the trace that a request is part of, on the path of each that goes out through a call, and within its span;
    /// what there is to tell travels in the request's `_meta`. Parameters that carry a `traceparent` already are left as
    /// they are. Default: [`TraceContext::current`] with the feature `otel`, and nothing without.
    pub fn trace_context(
        mut self,
        current: impl Fn() -> Option<TraceContext> + Send + Sync + 'static,
    ) -> Self {
        self.monitor.traces = TraceSource::new(current);
        self
    }

    /// Makes the manager. Opens nothing, unless `initialization` says so.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with everything that is wrong with what all servers share and with
    /// servers named in code, or with [`header_from`](Self::header_from); with `initialization = fail_fast`, the error of a server that does not start.
    pub async fn build(self) -> Result<ConnectionManager, Error> {
        let config = self.loader.load()?;
        // What is named in code is not skipped like an entry of a file.
        let in_code = config
            .servers
            .values()
            .filter(|entry| entry.source() == "code");
        let wrong: Vec<_> = in_code.filter_map(Server::problems_of).collect();
        if !wrong.is_empty() {
            config.check()?;
        }
        let factories = ConnectorFactories::new(self.connectors, config.switches)?;
        let factories = factories
            .with_sources(self.sources, &config)?
            .with_found(self.found)?
            .with_declarations(self.declarations, &config)?;
        build(
            config,
            factories,
            Some(self.loader),
            self.monitor,
            self.catalogue,
        )
        .await
    }
}

pub(super) async fn build(
    config: Config,
    factories: ConnectorFactories,
    loader: Option<Loader>,
    monitor: MonitorSettings,
    catalogue: Option<PathBuf>,
) -> Result<ConnectionManager, Error> {
    let mut reloads = Reloads::default();
    reloads.log_notes(&config);
    for problem in config.problems() {
        tracing::warn!("a server cannot be used: {problem}");
    }
    let aggregate = Aggregate::new(config.aggregator.clone(), catalogue);
    let limits = &config.limits;
    let budget = Budget::new(
        limits.max_total_connections as usize,
        limits.max_connecting as usize,
    );
    let tasks = Tasks::here();
    let monitor = Monitor::start(monitor, &tasks);
    let live = config.servers.into_iter().map(|(name, entry)| {
        let name: Arc<str> = name.into();
        let factory = factories.factory(&name, &entry);
        let (tasks, monitor) = (tasks.clone(), Arc::clone(&monitor));
        let server = Server::new(entry, factory, budget.clone(), tasks, monitor);
        (name, Arc::new(server))
    });
    let manager = ConnectionManager(Arc::new(Inner {
        servers: RwLock::new(Servers::new(live.collect())),
        factories,
        budget: budget.clone(),
        tasks,
        monitor,
        reloads: Mutex::new(reloads),
        aggregate,
        gateway: RwLock::new(Arc::new(config.gateway)),
        #[cfg(feature = "watch")]
        watching: Watching::by(loader),
    }));
    // Its files are not watched.
    #[cfg(not(feature = "watch"))]
    drop(loader);
    initialize(&manager).await?;
    Ok(manager)
}

/// Opens what is to be open before the first call.
async fn initialize(manager: &ConnectionManager) -> Result<(), Error> {
    let mut first = tokio::task::JoinSet::new();
    let servers = manager.all();
    for server in servers.iter().filter(|server| server.disabled().is_none()) {
        let settings = server.settings();
        if settings.initialization == Initialization::Lazy {
            continue;
        }
        let pool = server.pool(None)?;
        pool.snapshot().pool.warm_up();
        if settings.initialization == Initialization::FailFast {
            first.spawn(async move {
                let acquired = pool.snapshot().pool.acquire().await;
                acquired
                    .map(drop)
                    .map_err(|error| Error::acquire(&pool.server, pool.secrets(), error))
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
