//! The gateway with all that belongs to it, from its start to its end.

use std::{
    fs,
    path::{PathBuf, absolute},
    time::Duration,
};

use axum::http::HeaderValue;
use mcp_config::{ConfigError, EffectiveSettings, GatewayConfig, Loader, PoolSettings};
use mcp_gateway::Gateway;
use mcp_http_server::{Shutdown, Token};
use mcp_pooled_tools::{ConnectionManager, core::connect::in_process::InProcess};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    demo::Demo,
    listen::Listeners,
    routes::{self, Facts, Shared},
    state,
};
use crate::{context::Context, credentials, failure::Failure, version};

/// What is served, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serving {
    /// An address, in place of the configured one.
    pub(crate) listen: Option<String>,
    pub(crate) socket: Option<PathBuf>,
    /// Serves standard input and output, and no address.
    pub(crate) stdio: bool,
    /// Serves a server of this program, and none that is configured.
    pub(crate) demo: bool,
    /// Ends when it had no client for so long.
    pub(crate) linger: Option<Duration>,
    /// Where it logs to, if that is a file.
    pub(crate) log: Option<PathBuf>,
}

impl Serving {
    /// What the servers are read from.
    pub(crate) fn loader(&self, context: &Context) -> Result<Loader, Failure> {
        let loader = match self.demo {
            true => Loader::new().environment([("", ""); 0]),
            false => context.loader()?,
        };
        let mut gateway = GatewayConfig::default();
        gateway.listen.clone_from(&self.listen);
        gateway.socket.clone_from(&self.socket);
        if self.demo {
            return Ok(loader.gateway(gateway));
        }
        // What the user has not set lies in the state folder.
        let set = loader.load().map_err(|error| wrong(&error))?;
        let folders = &context.folders;
        let unset = |path: &Option<PathBuf>, own: PathBuf| path.is_none().then_some(own);
        gateway.key_file = unset(&set.gateway.key_file, folders.key());
        gateway.pins_file = unset(&set.gateway.pins_file, folders.pins());
        gateway.audit_file = unset(&set.gateway.audit_file, folders.audit());
        let built_in = EffectiveSettings::default().min_connections;
        let loader = loader.gateway(gateway);
        Ok(match set.defaults.min_connections == built_in {
            // No server is started before its first call.
            true => loader.defaults(PoolSettings::new().min_connections(0)),
            false => loader,
        })
    }

    /// Serves until a signal, `mcp-pool stop`, or the end of the linger. `ready` is called with the addresses when it listens.
    ///
    /// # Errors
    /// Wrong configuration, or an address that cannot be used.
    pub(crate) async fn run(
        self,
        context: &Context,
        ready: impl FnOnce(&[String]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        state::prepare(&context.folders)?;
        let loader = self.loader(context)?;
        let loaded = loader.load().map_err(|error| wrong(&error))?;
        let mut files = loaded.files.clone();
        // Those that were looked for are among them.
        files.retain(|file| file.exists());
        let server_files = match self.demo {
            true => Vec::new(),
            false => context.files(),
        };
        let server_files = server_files
            .iter()
            .map(|file| absolute(file).unwrap_or_else(|_| file.clone()))
            .collect();
        let mut builder = ConnectionManager::builder()
            .loader(loader)
            .client_info(mcp_gateway::listing_client());
        builder = match self.demo {
            true => builder.connector("demo", InProcess::new(|| Demo), PoolSettings::new()),
            false => credentials::attach(builder, &context.folders)
                .catalogue(context.folders.catalogue()),
        };
        let manager = builder.build().await?;
        if !self.demo {
            manager.watch()?;
        }
        let end = CancellationToken::new();
        let shutdown = Shutdown::new();
        let token = random()?;
        let authorization = format!("Bearer {token}");
        let token = Token::new(token).map_err(Failure::internal)?;
        let config = manager.gateway_config();
        let gateway = Gateway::builder(manager.clone())
            .shutdown(shutdown.clone())
            // The routes say who else may read.
            .admin(|admin| admin.token(token).open_reads(false))
            .build()
            .map_err(Failure::usage)?;
        if self.stdio {
            ready(&[])?;
            let served = gateway.serve_stdio(ended(&end)).await;
            return served
                .map_err(|error| Failure::internal(format!("cannot write the output: {error}")));
        }
        let listeners = Listeners::of(&gateway, &config).await?;
        let facts = Facts {
            version: version::own(),
            pid: std::process::id(),
            addresses: listeners.addresses.clone(),
            files,
            server_files,
            log: self.log,
            linger_seconds: self.linger.map(|linger| linger.as_secs()),
            began,
        };
        let authorization = HeaderValue::from_str(&authorization).map_err(Failure::internal)?;
        let shared = Shared::new(manager, facts, authorization, shutdown);
        let app = routes::app(gateway.app(), &shared);
        ready(&listeners.addresses)?;
        tracing::info!("listening at {}", listeners.addresses.join(", "));
        let file = listeners.file;
        let over = async {
            let rest = async {
                match self.linger {
                    Some(linger) => shared.activity.rests_for(linger).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ended(&shared.end) => {}
                () = rest => tracing::info!("stopping: there was no client for {:?}", self.linger.unwrap_or_default()),
            }
            // A client that finds no socket starts the next daemon, which waits for the end of this one.
            if let Some(file) = &file {
                let _ = fs::remove_file(file);
            }
            shared.end.cancel();
        };
        gateway.serve_app(listeners.listeners, app, over).await;
        shared.tasks.close();
        shared.tasks.wait().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Completes at SIGTERM, at Ctrl-C, or when `end` is cancelled. A second signal ends the program at once.
async fn ended(end: &CancellationToken) {
    let (Ok(mut terminated), Ok(mut interrupted)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be received");
        return end.cancelled().await;
    };
    let signal = tokio::select! {
        _ = terminated.recv() => "SIGTERM",
        _ = interrupted.recv() => "SIGINT",
        () = end.cancelled() => return,
    };
    tracing::info!("stopping: {signal}");
    #[allow(
        clippy::disallowed_methods,
        reason = "ends with the program, which it ends"
    )]
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        std::process::exit(130);
    });
}

/// What is wrong with a configuration.
pub(crate) fn wrong(error: &ConfigError) -> Failure {
    let problems = error.problems().iter().map(ToString::to_string);
    Failure::usage("the configuration cannot be used")
        .details(problems)
        .fix("mcp-pool config check")
}

fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::internal(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
