//! `mcp-pool auth`: logs in to a server with OAuth, and out.
//!
//! The user consents in a browser, which is sent back to a port of this machine. The token is kept in the state folder, for
//! every command and the daemon.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use mcp_config::{Config, HttpServer, Transport};
use mcp_pooled_tools::{
    Client as _, ConnectionManager, PoolSettings,
    core::source::{AuthorizationCode, ConsentRequest, OAuth, Redirect, SourceError},
};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    context::Context, credentials::CredentialFile, exit::Exit, failure::Failure, output::Output,
};

/// Logs in to a server, or out.
#[derive(Debug, Args)]
pub(crate) struct Auth {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Logs in to a server: prints a page to open in a browser, and waits for your consent.
    Login {
        /// The server, which has to be one with a url.
        server: String,
        /// Asks for this scope, too; may be given several times.
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
        /// Waits so long for your consent.
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Forgets the token of a server.
    Logout {
        /// The server.
        server: String,
    },
}

/// The document of `mcp-pool auth --json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    server: &'a str,
    /// Whether there is a token now.
    logged_in: bool,
    /// The tools that the server lists; not at a logout.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<usize>,
}

impl Auth {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let config = context.loader()?.load().map_err(Failure::usage)?;
        match self.command {
            AuthCommand::Login {
                server,
                scope,
                timeout,
            } => {
                let login = Login {
                    http: http(&config, &server)?,
                    server: &server,
                    scopes: scope,
                    timeout,
                };
                context.block_on(login.run(context))
            }
            AuthCommand::Logout { server } => logout(context, &config, &server),
        }
    }
}

struct Login<'a> {
    server: &'a str,
    http: &'a HttpServer,
    scopes: Vec<String>,
    timeout: Duration,
}

impl Login<'_> {
    /// Opens the server, which asks for a token if it wants one, and lists its tools with it.
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let file = CredentialFile::of(&context.folders, self.server, &self.http.url);
        let code = consent_by_browser(context.output).await?;
        let code = code.client_name("mcp-pool").scopes(self.scopes);
        let source = OAuth::authorization_code(&*self.http.url, code).store(file.clone());
        let settings = PoolSettings::new()
            .min_connections(0)
            .max_connections(1)
            .retry_attempts(0)
            .connection_timeout(self.timeout)
            .call_timeout(self.timeout);
        let server = mcp_pooled_tools::ServerConfig::http(&*self.http.url).pool(settings);
        let manager = ConnectionManager::builder()
            .server(self.server, server)
            .header_from(self.server, "Authorization", Arc::new(source))
            .build()
            .await?;
        let tools = manager.tools(self.server)?;
        let listed = tokio::select! {
            listed = tools.list_all_tools() => listed.map_err(Failure::from),
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "no login")),
        };
        manager.shutdown().await;
        let tools = listed?.len();
        let logged_in = file.exists();
        if logged_in {
            replace_sessions(context, self.server).await;
        }
        if context.json {
            let server = self.server;
            let tools = Some(tools);
            return context.output.json(&Document {
                server,
                logged_in,
                tools,
            });
        }
        let server = self.server;
        context.output.line(match logged_in {
            true => format!("Logged in to {server}: it lists {tools} tools."),
            false => format!("{server} wants no login: it lists {tools} tools."),
        })
    }
}

fn logout(context: &Context, config: &Config, server: &str) -> Result<(), Failure> {
    let http = http(config, server)?;
    let file = CredentialFile::of(&context.folders, server, &http.url);
    let removed = file.remove().map_err(|error| {
        Failure::internal(format!("cannot remove the token of {server}: {error}"))
    })?;
    if removed {
        context.block_on(async {
            replace_sessions(context, server).await;
            Ok(())
        })?;
    }
    if context.json {
        return context.output.json(&Document {
            server,
            logged_in: false,
            tools: None,
        });
    }
    context.output.line(match removed {
        true => format!("The token of {server} is forgotten. The server may still take it."),
        false => format!("There is no token of {server}."),
    })
}

/// Has a daemon that runs open the sessions of this server again, with the token that there is now.
async fn replace_sessions(context: &Context, server: &str) {
    if !context.may_use_daemon() {
        return;
    }
    let restarted = super::restart::restart(context, server).await;
    // A daemon of other files has no such server.
    if restarted.is_err_and(|failure| failure.exit != Exit::Usage) {
        let output = context.output;
        output.note(format!(
            "The sessions of the daemon go on as before: mcp-pool restart {server}"
        ));
    }
}

fn http<'a>(config: &'a Config, server: &str) -> Result<&'a HttpServer, Failure> {
    let entry = config.servers.get(server).ok_or_else(|| {
        Failure::usage(format!("no server has the name {server}")).fix("mcp-pool config show")
    })?;
    let found = entry.server().map_err(Failure::usage)?;
    match found.transport() {
        Transport::Http(http) => Ok(http),
        _ => Err(Failure::usage(format!(
            "{server} is a process of this machine: it has no login"
        ))
        .fix("set its credentials in env of its entry")),
    }
}

/// Shows the page on stderr, and serves the address that the browser is sent back to.
async fn consent_by_browser(output: Output) -> Result<AuthorizationCode, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|error| {
        Failure::internal(format!("no port for the browser to come back to: {error}"))
    })?;
    let address = listener.local_addr().map_err(Failure::internal)?;
    let listener = Arc::new(listener);
    let redirect = format!("http://{address}{CALLBACK}");
    let ask = move |consent: ConsentRequest| {
        let listener = Arc::clone(&listener);
        async move {
            if let Some(issuer) = &consent.issuer {
                output.note(format!("{} asks for your consent.", issuer.escape_debug()));
            }
            // Not a remark: without it nothing goes on.
            Output {
                quiet: false,
                ..output
            }
            .note(format!(
                "Open this page in a browser:\n{}",
                consent.url.escape_debug()
            ));
            loop {
                let (stream, _) = listener.accept().await.map_err(failed)?;
                if let Some(redirect) = redirected(stream).await {
                    return redirect;
                }
            }
        }
    };
    Ok(AuthorizationCode::new(redirect, ask))
}

/// Reads one request. `None` if it is not the redirect, such as one for an icon.
async fn redirected(stream: TcpStream) -> Option<Result<Redirect, SourceError>> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_line(&mut line));
    read.await.ok()?.ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let is_redirect = target.split('?').next() == Some(CALLBACK);
    let redirect = is_redirect.then(|| Redirect::from_url(&target));
    let (status, text) = match &redirect {
        Some(Ok(_)) => ("200 OK", "Done. You can close this page."),
        Some(Err(_)) => ("200 OK", "There is no consent. You can close this page."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // The browser has sent what matters.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    redirect
}

fn failed(error: std::io::Error) -> SourceError {
    SourceError::new(format!("the browser's answer cannot be received: {error}"))
}

const CALLBACK: &str = "/callback";
