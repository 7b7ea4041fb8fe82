//! `mcp-pool` alone: one screen that says how things are and how to go on.

use serde_json::json;

use super::status::State;
use crate::{context::Context, daemon, failure::Failure};

/// Never fails for what it finds: that is what it shows.
pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let output = context.output;
    let state = context.block_on(State::of(context));
    let configured = context
        .loader()
        .and_then(|loader| loader.load().map_err(|error| daemon::wrong(&error)));
    if context.json {
        let servers = configured
            .as_ref()
            .map(|config| config.servers.keys().collect::<Vec<_>>());
        return output.json(&json!({
            "daemon": state.as_ref().ok(),
            "daemon_error": state.as_ref().err().map(ToString::to_string),
            "servers": servers.as_ref().ok(),
            "configuration_error": servers.err().map(ToString::to_string),
        }));
    }
    let mut next = Vec::new();
    match &state {
        Ok(state) if state.is_running() => {
            output.line(state.summary())?;
            if let Some(difference) = &state.difference {
                output.line(difference)?;
            }
            if state.has_servers() {
                output.line("")?;
                output.line(state.table())?;
            }
        }
        Ok(_) => output.line("daemon: not running (a client starts it)")?,
        Err(failure) => output.line(format!("daemon: {failure}"))?,
    }
    match &configured {
        Ok(config) if config.servers.is_empty() => {
            output.line("servers: none is configured")?;
            next.extend([
                ("mcp-pool import", "takes over the servers of your clients"),
                ("mcp-pool add NAME -- COMMAND", "adds a server"),
                ("mcp-pool serve --demo", "tries it without a server"),
            ]);
        }
        Ok(config) => {
            if !state.as_ref().is_ok_and(State::has_servers) {
                let names: Vec<_> = config.servers.keys().map(String::as_str).collect();
                output.line(format!("servers: {}", names.join(", ")))?;
            }
            next.extend([
                ("mcp-pool list", "shows the tools"),
                ("mcp-pool call SERVER.TOOL k=v", "calls one"),
                (
                    "mcp-pool install --client NAME",
                    "points a client at the daemon",
                ),
                ("mcp-pool doctor", "looks for what is wrong"),
            ]);
        }
        Err(failure) => {
            output.line(format!("servers: {failure}"))?;
            next.push(("mcp-pool config check", "says what is wrong"));
        }
    }
    output.line("")?;
    for (command, what) in next {
        output.line(format!("  {command:<32}{what}"))?;
    }
    output.line(format!(
        "  {:<32}{}",
        "mcp-pool --help", "shows every command"
    ))
}
