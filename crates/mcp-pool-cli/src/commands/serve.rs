//! `mcp-pool serve`: the gateway in the foreground.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use mcp_config::{Config, Transport};
use serde::Serialize;

use crate::{
    context::Context,
    daemon::{self, Serving},
    failure::Failure,
    table,
};

/// Serves all servers at one address, in the foreground.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port, in place of the configured one; port 0 selects a free one.
    #[arg(long, value_name = "ADDR", conflicts_with = "stdio")]
    listen: Option<String>,

    /// Serves one client over standard input and output.
    #[arg(long)]
    stdio: bool,

    /// A Unix socket, for processes of this user alone.
    #[arg(long, value_name = "PATH", conflicts_with = "stdio")]
    socket: Option<PathBuf>,

    /// Serves a server of this program, without any configuration.
    #[arg(long)]
    demo: bool,

    /// Prints what would be served, and serves nothing.
    #[arg(long)]
    dry_run: bool,

    /// Is the daemon of this user: with its socket, its lock and its log.
    #[arg(long, hide = true, conflicts_with_all = ["listen", "stdio", "socket", "demo", "dry_run"])]
    daemon: bool,

    /// Ends without a client after this time; 0s for never.
    #[arg(long, hide = true, value_name = "TIME", default_value = "30min", value_parser = humantime::parse_duration)]
    linger: Duration,
}

/// What would be served.
#[derive(Debug, Serialize)]
struct Plan {
    addresses: Vec<String>,
    files: Vec<PathBuf>,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize)]
struct Server {
    server: String,
    transport: Option<&'static str>,
    sharing: String,
    sharing_reason: Option<&'static str>,
    disabled: Option<String>,
    source: String,
}

impl Serve {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        if self.daemon {
            return daemon::run(context, self.linger);
        }
        let serving = Serving {
            listen: self.listen,
            socket: self.socket,
            stdio: self.stdio,
            demo: self.demo,
            ..Serving::default()
        };
        if self.dry_run {
            return plan(&serving, context);
        }
        daemon::log_to_terminal(context.output);
        let served = context.block_on(serving.run(context, |addresses| {
            for address in addresses {
                // Not a remark: programs wait for it.
                anstream::eprintln!("listening on {address}");
            }
            Ok(())
        }));
        if self.stdio {
            // A read of standard input cannot be interrupted.
            let code = match &served {
                Ok(()) => crate::exit::Exit::Ok,
                Err(failure) => {
                    context.output.failure(failure);
                    failure.exit
                }
            };
            std::process::exit(code as i32);
        }
        served
    }
}

fn plan(serving: &Serving, context: &Context) -> Result<(), Failure> {
    let config = serving.loader(context)?.load();
    let config = config.map_err(|error| daemon::wrong(&error))?;
    let plan = Plan::of(serving, config);
    if context.json {
        return context.output.json(&plan);
    }
    for address in &plan.addresses {
        context.output.line(format!("would listen at {address}"))?;
    }
    let rows = plan.servers.iter().map(|server| {
        let state = server.disabled.as_deref().unwrap_or("ready");
        let transport = server.transport.unwrap_or("-");
        [&server.server, transport, &server.sharing, state].map(str::to_owned)
    });
    context
        .output
        .line(table::of(["SERVER", "TRANSPORT", "SHARING", "STATE"], rows))
}

impl Plan {
    fn of(serving: &Serving, config: Config) -> Self {
        let mut addresses = Vec::new();
        if serving.stdio {
            addresses.push("standard input and output".to_owned());
        } else {
            let tcp = config.gateway.address();
            addresses.extend(tcp.map(|address| format!("http://{address}/mcp")));
            let socket = config.gateway.socket.as_ref();
            addresses.extend(socket.map(|path| path.display().to_string()));
        }
        let mut servers: Vec<_> = config
            .servers
            .values()
            .map(|entry| Server {
                server: entry.name().to_owned(),
                transport: entry.server().ok().map(|server| match server.transport() {
                    Transport::Stdio(_) => "stdio",
                    _ => "http",
                }),
                sharing: entry.settings().sharing.to_string(),
                sharing_reason: entry.sharing_reason(),
                disabled: entry.disabled().map(ToString::to_string),
                source: entry.source().to_owned(),
            })
            .collect();
        if serving.demo {
            servers.push(Server {
                server: "demo".to_owned(),
                transport: Some("in_process"),
                sharing: "multiplexed".to_owned(),
                sharing_reason: None,
                disabled: None,
                source: "mcp-pool".to_owned(),
            });
        }
        Self {
            addresses,
            files: config.files,
            servers,
        }
    }
}
