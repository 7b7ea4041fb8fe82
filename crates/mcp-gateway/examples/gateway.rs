//! Many servers behind one address: a built-in one, and two that others wrote where `npx` and `uvx` can start them.
//!
//! ```console
//! $ cargo run --release --example gateway
//! $ cargo run --release --example gateway -- --port 8931 --config ~/.mcp.json
//! ```
//!
//! It prints the address and what to tell five clients. Stop it with Ctrl-C or SIGTERM and start it again: its clients go on
//! where they were, because the key of their sessions is in a file.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, ConnectionManagerBuilder, PoolSettings, ServerConfig};
use tokio::net::TcpListener;

const USAGE: &str = "\
Serves many MCP servers at one address.

Usage: gateway [OPTIONS]

Options:
  --port N          The port on 127.0.0.1 (8931; 0 takes a free one)
  --config FILE     The servers, as in `.mcp.json` (default: a built-in one, and two real ones if they are installed)
  --key FILE        The key of the sessions (default: `mcp-gateway.key` in the folder for temporary files)
  --keep-alive N    Milliseconds until a comment is sent on a silent stream (15000)
  --help            Print this
";

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    let wanted = match Wanted::read(std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    match runtime.block_on(serve(wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// What the command line asks for.
struct Wanted {
    port: u16,
    config: Option<PathBuf>,
    key: PathBuf,
    keep_alive: Duration,
}

impl Wanted {
    /// `None` if it asks for help.
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let mut wanted = Self {
            port: 8931,
            config: None,
            key: std::env::temp_dir().join("mcp-gateway.key"),
            keep_alive: Duration::from_secs(15),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--help" => return Ok(None),
                "--port" => wanted.port = value()?.parse().context("--port")?,
                "--config" => wanted.config = Some(value()?.into()),
                "--key" => wanted.key = value()?.into(),
                "--keep-alive" => {
                    let milliseconds = value()?.parse().context("--keep-alive")?;
                    wanted.keep_alive = Duration::from_millis(milliseconds);
                }
                _ => bail!("there is no option {argument}; see --help"),
            }
        }
        Ok(Some(wanted))
    }
}

async fn serve(wanted: Wanted) -> anyhow::Result<()> {
    let builder = ConnectionManager::builder().client_info(mcp_gateway::listing_client());
    let builder = match &wanted.config {
        Some(file) => builder.file(file),
        None => servers(builder)?,
    };
    let manager = builder.build().await?;
    let names = manager.servers().join(", ");
    let gateway = Gateway::builder(manager)
        .key_file(wanted.key)
        .keep_alive(wanted.keep_alive)
        .build()?;
    let listener = TcpListener::bind(("127.0.0.1", wanted.port))
        .await
        .with_context(|| format!("port {}", wanted.port))?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    introduce(&url, &names);
    gateway.serve(listener, end()).await;
    Ok(())
}

/// This program as a server, and those that are installed.
fn servers(builder: ConnectionManagerBuilder) -> anyhow::Result<ConnectionManagerBuilder> {
    let this = std::env::current_exe().context("the path of this program")?;
    let this = ServerConfig::stdio(this.to_string_lossy()).args(["--mcp-testkit-server"]);
    let mut builder = builder
        .server("test", this)
        .defaults(PoolSettings::new().min_connections(0));
    if on_path("npx") {
        let everything = ["-y", "@modelcontextprotocol/server-everything"];
        builder = builder.server("everything", ServerConfig::stdio("npx").args(everything));
    }
    if on_path("uvx") {
        let time = ServerConfig::stdio("uvx").args(["mcp-server-time"]);
        builder = builder.server("time", time);
    }
    Ok(builder)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn introduce(url: &str, names: &str) {
    println!("{url} serves {names}. One server alone: {url}/s/NAME\n");
    println!("Claude Code      claude mcp add --transport http pool {url}");
    println!("Codex            codex mcp add pool --url {url}");
    println!("Cursor           {{ \"mcpServers\": {{ \"pool\": {{ \"url\": \"{url}\" }} }} }}");
    println!(
        "VS Code          {{ \"servers\": {{ \"pool\": {{ \"type\": \"http\", \"url\": \"{url}\" }} }} }}"
    );
    println!(
        "stdio only       {{ \"mcpServers\": {{ \"pool\": {{ \"command\": \"npx\", \"args\": [\"mcp-remote\", \"{url}\"] }} }} }}"
    );
}

/// Ctrl-C or SIGTERM.
async fn end() {
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminated = tokio::signal::unix::signal(kind).expect("signals can be received");
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}
