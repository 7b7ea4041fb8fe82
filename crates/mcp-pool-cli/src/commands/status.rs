//! `mcp-pool status`: the daemon, its servers and its clients.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::Value;

use crate::{context::Context, daemon, exit::Exit, failure::Failure, table, version};

/// Shows the daemon, its servers and its clients.
#[derive(Debug, Args)]
pub(crate) struct Status {}

/// The daemon and its servers.
#[derive(Debug, Serialize)]
pub(super) struct State {
    running: bool,
    /// What the daemon says of itself; null if it does not run.
    daemon: Value,
    /// As the status API has them.
    servers: Vec<Value>,
    /// Clients with a session.
    clients: Vec<Value>,
    #[serde(skip)]
    pub(super) difference: Option<String>,
}

impl Status {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let state = context.block_on(State::of(context))?;
        if context.json {
            context.output.json(&state)?;
        }
        if !state.running {
            let failure = Failure::new(Exit::Unreachable, "the daemon does not run");
            return Err(failure.fix("mcp-pool start"));
        }
        if let Some(difference) = &state.difference {
            context.output.note(difference);
        }
        if context.json {
            return Ok(());
        }
        context.output.line(state.summary())?;
        context.output.line("")?;
        context.output.line(state.table())?;
        let clients = state.connections();
        if !clients.is_empty() {
            context.output.line("")?;
            context
                .output
                .line(table::of(["CLIENT", "PROCESS", "SINCE"], clients))?;
        }
        Ok(())
    }
}

impl State {
    pub(super) async fn of(context: &Context) -> Result<Self, Failure> {
        let Some(info) = daemon::request(context, Method::GET, "/daemon").await? else {
            return Ok(Self {
                running: false,
                daemon: Value::Null,
                servers: Vec::new(),
                clients: Vec::new(),
                difference: None,
            });
        };
        let get = async |path: &str| -> Result<Value, Failure> {
            let reply = daemon::request(context, Method::GET, path).await?;
            Ok(reply.map(|reply| reply.body).unwrap_or_default())
        };
        let mut servers = get("/api/v1/mcp/pools").await?;
        let mut clients = get("/api/v1/mcp/clients").await?;
        let all = |value: Value| match value {
            Value::Array(all) => all,
            _ => Vec::new(),
        };
        Ok(Self {
            running: true,
            daemon: info.body,
            servers: all(servers.take()),
            clients: all(clients["clients"].take()),
            difference: version::difference(&info.headers),
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn has_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    pub(super) fn summary(&self) -> String {
        let daemon = &self.daemon;
        let since = daemon["uptime_seconds"].as_f64().unwrap_or_default();
        let clients = daemon["connections"].as_array().map_or(0, Vec::len);
        format!(
            "daemon: running for {}, process {}, version {}, {clients} {} connected",
            time(since),
            daemon["pid"],
            daemon["version"].as_str().unwrap_or("?"),
            if clients == 1 { "client" } else { "clients" },
        )
    }

    pub(super) fn table(&self) -> String {
        let rows = self.servers.iter().map(|server| {
            let text = |name: &str| server[name].as_str().unwrap_or("-").to_owned();
            [
                text("server"),
                text("transport"),
                server["total_connections"].to_string(),
                server["in_flight"].to_string(),
                server["requests"].to_string(),
                state_of(server),
            ]
        });
        table::of(
            [
                "SERVER",
                "TRANSPORT",
                "SESSIONS",
                "IN FLIGHT",
                "CALLS",
                "STATE",
            ],
            rows,
        )
    }

    fn connections(&self) -> Vec<[String; 3]> {
        let all = self.daemon["connections"].as_array().into_iter().flatten();
        let rows = all.map(|client| {
            let name = client["client"].as_str().filter(|name| !name.is_empty());
            let since = client["seconds"].as_f64().unwrap_or_default();
            [
                name.unwrap_or("-").to_owned(),
                client["pid"].to_string(),
                time(since),
            ]
        });
        rows.collect()
    }
}

/// One or a few words, and why.
pub(super) fn state_of(server: &Value) -> String {
    if let Some(why) = server["disabled"].as_str() {
        return format!("disabled: {why}");
    }
    if let Some(why) = server["last_error"].as_str() {
        return format!("failed: {why}");
    }
    match server["circuit_breaker_state"].as_str() {
        Some("closed") | None => {}
        Some(state) => return format!("circuit breaker {}", state.replace('_', " ")),
    }
    let sessions = server["total_connections"].as_u64().unwrap_or_default();
    let state = if sessions == 0 {
        "not started"
    } else {
        "ready"
    };
    state.to_owned()
}

/// A time as people say it.
fn time(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}
