//! The servers as one client: those of the daemon if it runs, else in a pool of this process alone.
//!
//! A pool of one's own reads the lists of its servers from the catalogue on disk, so that a server whose lists are known
//! is not started to list them.

use std::time::Duration;

use mcp_pooled_tools::{
    Aggregator, AggregatorSettings, Client, ConnectionManager, Initialization, PoolSettings,
    RequestOptions,
};

use crate::{
    context::Context,
    credentials,
    daemon::{self, DaemonClient},
    exit::Exit,
    failure::Failure,
    nearest,
    progress::Progress,
    questions::Questions,
    tools::{self, Tools},
};

/// What of the servers a command needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The server, or the tool, that the command names. The other servers are left alone.
    pub(crate) named: Option<&'a str>,
    /// The same, where the name need not say its server. If it says none, all servers are looked at.
    pub(crate) maybe_named: Option<&'a str>,
    /// How long a listing waits for a server.
    pub(crate) list_timeout: Option<Duration>,
    /// Whether lists are read from the servers even if the catalogue has them.
    pub(crate) refresh: bool,
    /// Whether the daemon is not used, though it runs.
    pub(crate) own: bool,
    /// Callers that may wait for a session, if many are to come.
    pub(crate) waiters: Option<u32>,
}

/// Connected servers.
pub(crate) struct Servers {
    from: From,
    questions: Questions,
}

enum From {
    Daemon {
        client: DaemonClient<Questions>,
        /// The only server that is seen, if it is one.
        server: Option<String>,
    },
    Own {
        manager: ConnectionManager,
        aggregator: Aggregator,
    },
}

/// Does something with the servers, and closes them at its end: also at Ctrl-C or SIGTERM, which end the calls under way.
pub(crate) fn with<T>(
    context: &Context,
    wanted: Wanted<'_>,
    work: impl AsyncFnOnce(&Servers) -> Result<T, Failure>,
) -> Result<T, Failure> {
    context.block_on(async {
        let interrupted = interrupted()?;
        tokio::pin!(interrupted);
        let servers = tokio::select! {
            servers = Servers::open(context, &wanted) => servers?,
            failure = &mut interrupted => return Err(failure),
        };
        let ended = tokio::select! {
            ended = work(&servers) => ended,
            failure = &mut interrupted => Err(failure),
        };
        servers.progress().end();
        servers.close().await;
        ended
    })
}

impl Servers {
    async fn open(context: &Context, wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let progress = Progress::new(context, "connecting");
        let questions = Questions::new(context.output, &progress);
        let from = match wanted.own || wanted.refresh {
            true => None,
            false => daemon(context, wanted, &questions).await?,
        };
        let from = match from {
            Some(from) => {
                context.output.detail("the servers are those of the daemon");
                from
            }
            None => {
                context
                    .output
                    .detail("the servers run in this process, not in the daemon");
                own(context, wanted).await?
            }
        };
        Ok(Self { from, questions })
    }

    /// Names are those that the servers are exposed under: [`Tool::exposed`](tools::Tool::exposed).
    pub(crate) fn client(&self) -> &dyn Client {
        match &self.from {
            From::Daemon { client, .. } => &**client,
            From::Own { aggregator, .. } => aggregator,
        }
    }

    /// Options of a request whose server may ask, and report progress.
    pub(crate) fn options(&self) -> RequestOptions {
        let progress = self.progress().clone();
        RequestOptions::new()
            .handler(self.questions.clone())
            .on_progress(move |reported| progress.report(&reported))
    }

    pub(crate) fn progress(&self) -> &Progress {
        self.questions.progress()
    }

    /// The tools of the servers that the command names.
    pub(crate) async fn tools(&self) -> Result<Tools, Failure> {
        self.progress().say("listing tools");
        match &self.from {
            From::Own { aggregator, .. } => Tools::known_to(aggregator).await,
            From::Daemon { server, .. } => Tools::listed_by(self.client(), server.as_deref()).await,
        }
    }

    /// The names of all configured servers, where they run in this process; else of the one that is looked at.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.from {
            From::Own { manager, .. } => manager.servers(),
            From::Daemon { server, .. } => server.iter().cloned().collect(),
        }
    }

    /// The pools, where the servers run in this process.
    pub(crate) fn manager(&self) -> Option<&ConnectionManager> {
        match &self.from {
            From::Own { manager, .. } => Some(manager),
            From::Daemon { .. } => None,
        }
    }

    async fn close(self) {
        match self.from {
            From::Daemon { client, .. } => client.close().await,
            From::Own { manager, .. } => manager.shutdown().await,
        }
    }
}

/// The servers of the daemon, if it runs and may be used.
async fn daemon(
    context: &Context,
    wanted: &Wanted<'_>,
    questions: &Questions,
) -> Result<Option<From>, Failure> {
    if !context.may_use_daemon() {
        return Ok(None);
    }
    let config = context.loader()?.load().map_err(Failure::usage)?;
    let names: Vec<_> = config.servers.keys().cloned().collect();
    let server = wanted.server(&names)?.filter(|_| wanted.named.is_some());
    let server = server.map(str::to_owned);
    let path = match &server {
        Some(server) => format!("/mcp/s/{}", daemon::segment(server)),
        None => "/mcp".to_owned(),
    };
    let client = daemon::client(context, &path, questions.of(server.as_deref())).await?;
    Ok(client.map(|client| From::Daemon { client, server }))
}

/// The servers in this process.
async fn own(context: &Context, wanted: &Wanted<'_>) -> Result<From, Failure> {
    let manager = manager(context, wanted).await?;
    let all = manager.aggregator();
    let aggregator = match wanted.server(&manager.servers())? {
        Some(server) => all.select([format!("mcp.{server}").as_str()])?,
        None => all,
    };
    Ok(From::Own {
        manager,
        aggregator,
    })
}

impl Wanted<'_> {
    /// The only server that is needed, if it is one.
    fn server<'a>(&self, servers: &'a [String]) -> Result<Option<&'a str>, Failure> {
        match (self.named, self.maybe_named) {
            _ if servers.is_empty() => Err(Failure::usage("no servers are configured")
                .fix("mcp-pool import, or mcp-pool add NAME -- COMMAND")),
            (Some(name), _) => server_of(name, servers).map(Some),
            (None, Some(name)) => Ok(server_of(name, servers).ok()),
            (None, None) => Ok(None),
        }
    }
}

/// A manager of the configured servers, which has opened none of them.
async fn manager(context: &Context, wanted: &Wanted<'_>) -> Result<ConnectionManager, Failure> {
    // It says which file is missing.
    drop(context.loader()?);
    let files = context.files().into_iter().filter(|file| file.exists());
    let mut lazy = PoolSettings::new().initialization(Initialization::Lazy);
    if let Some(waiters) = wanted.waiters {
        lazy = lazy.max_waiters(waiters);
    }
    let wait = wanted.list_timeout.unwrap_or(LIST_TIMEOUT);
    let mut builder = ConnectionManager::builder()
        .defaults(lazy)
        .aggregator(AggregatorSettings::new().list_timeout(wait));
    if wanted.refresh {
        forget_lists(context, wanted)?;
    }
    builder = builder.catalogue(tools::catalogue(&context.folders));
    for file in files {
        builder = builder.file(file);
    }
    let builder = credentials::attach(builder, &context.folders);
    Ok(builder.build().await?)
}

/// Removes the lists on disk of the servers that the command names. They are written again.
fn forget_lists(context: &Context, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let config = context.loader()?.load().map_err(Failure::usage)?;
    let names: Vec<_> = config.servers.into_keys().collect();
    let named = wanted.server(&names)?;
    let folder = tools::catalogue(&context.folders);
    let is_wanted = |name: &&String| named.is_none_or(|named| named == *name);
    names.iter().filter(is_wanted).try_for_each(|name| {
        mcp_pooled_tools::forget_lists(&folder, name).map_err(|error| {
            let folder = folder.display();
            Failure::internal(format!(
                "cannot remove the lists of {name} in {folder}: {error}"
            ))
        })
    })
}

/// The server that `server`, `server.tool` or `server__tool` names: the longest of those that it may be.
pub(crate) fn server_of<'a>(name: &str, servers: &'a [String]) -> Result<&'a str, Failure> {
    let fits = |server: &&String| {
        let rest = name.strip_prefix(server.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("__"))
    };
    let found = servers.iter().filter(fits).max_by_key(|name| name.len());
    found.map(String::as_str).ok_or_else(|| {
        let server = name.split(['.']).next().unwrap_or(name);
        let server = server.split("__").next().unwrap_or(server);
        let hint = nearest::hint(server, servers.iter().map(String::as_str));
        Failure::usage(format!(
            "there is no server `{}`{hint}",
            server.escape_debug()
        ))
        .fix("mcp-pool list shows servers and tools")
    })
}

/// Ends at Ctrl-C or SIGTERM. A second one ends the program at once.
fn interrupted() -> Result<impl Future<Output = Failure>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(Failure::internal);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        #[allow(clippy::disallowed_methods, reason = "ends with the program")]
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(Exit::Interrupted as i32);
        });
        Failure::new(Exit::Interrupted, "interrupted")
    })
}

/// `npx` and its like may have to download first.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_server_however_it_is_written() {
        let servers = ["a", "a.b", "time"].map(String::from);
        let server = |name| server_of(name, &servers).ok();
        assert_eq!(server("time"), Some("time"));
        assert_eq!(server("time.now"), Some("time"));
        assert_eq!(server("time__now"), Some("time"));
        assert_eq!(server("a.b.c"), Some("a.b"));
        assert_eq!(server("a.c"), Some("a"));
        assert_eq!(server("timer.now"), None);
        let failure = server_of("tim.now", &servers).unwrap_err().to_string();
        assert!(failure.contains("did you mean `time`?"), "{failure}");
    }
}
