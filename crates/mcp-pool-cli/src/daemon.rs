//! The daemon: one process of this user that owns the servers, and how other commands reach it.
//!
//! It listens on a Unix socket in the runtime folder and speaks HTTP there: MCP at `/mcp`, the status API at `/api/v1/mcp`,
//! and what is the daemon's own at `/daemon`.

mod activity;
mod demo;
mod dial;
mod listen;
mod lock;
mod log;
mod routes;
mod serve;
mod socket;
mod start;
mod state;

use std::{io, ops::Deref, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rmcp::{
    RoleClient, ServiceExt as _,
    service::{RunningService, Service},
};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{bridge, context::Context, exit::Exit, failure::Failure};

pub(crate) use dial::{CONNECTION, Dial, Unreachable, is_absent};
pub(crate) use lock::Lock;
pub(crate) use log::to_terminal as log_to_terminal;
pub(crate) use serve::{Serving, wrong};
pub(crate) use socket::{Answer, Socket, is_unread, request as http_request, segment};

pub(crate) use start::{run, start};
pub(crate) use state::prepare;

/// What the daemon answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `null` if it is no JSON.
    pub(crate) body: Value,
}

/// Sends a request without a body to the daemon: its own routes at `/daemon`, the status API at `/api/v1/mcp`. `None` if the
/// daemon does not run. It is not started.
///
/// # Errors
/// [`Exit::Unreachable`] if it runs and does not answer.
///
/// # Cancel safety
/// If it is dropped, it is not known what became of the request.
pub(crate) async fn request(
    context: &Context,
    method: Method,
    path: &str,
) -> Result<Option<Reply>, Failure> {
    request_at(&Socket::at(context.folders.socket()), method, path).await
}

/// The same, of the daemon at this socket.
pub(crate) async fn request_at(
    socket: &Socket,
    method: Method,
    path: &str,
) -> Result<Option<Reply>, Failure> {
    let answered = timeout(PATIENCE, exchange(socket, method, path)).await;
    let answered = answered.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", PATIENCE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    });
    answered.map_err(|error| {
        let message = format!("daemon at {}: {error}", socket.path().display());
        let fix = "mcp-pool stop && mcp-pool start";
        Failure::new(Exit::Unreachable, message).fix(fix)
    })
}

async fn exchange(socket: &Socket, method: Method, path: &str) -> io::Result<Option<Reply>> {
    let connection = match socket.connect().await {
        Ok(connection) => connection,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let request = http_request(method, path).body(Full::default());
    let request = request.map_err(io::Error::other)?;
    let mut answer = connection.send(request).await.map_err(io::Error::other)?;
    let body = answer.response.body_mut().collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    Ok(Some(Reply {
        status: answer.response.status(),
        headers: std::mem::take(answer.response.headers_mut()),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }))
}

/// A session with the daemon, which is an rmcp client and so a [`Client`](mcp_pooled_tools::Client).
#[derive(Debug)]
pub(crate) struct DaemonClient<S: Service<RoleClient>> {
    service: RunningService<RoleClient, S>,
    bridge: AbortOnDropHandle<()>,
}

/// A client of all servers of the daemon, at `/mcp`, or of one, at `/mcp/s/NAME`. `service` gets its notifications and
/// questions; `()` takes none. `None` if the daemon does not run or has the servers of other files, or if a file was named by
/// `--config`: it is not started.
///
/// # Errors
/// [`Exit::Unreachable`] if it runs and does not answer.
///
/// # Cancel safety
/// May be dropped at any point.
pub(crate) async fn client<S: Service<RoleClient>>(
    context: &Context,
    path: &str,
    service: S,
) -> Result<Option<DaemonClient<S>>, Failure> {
    if !context.may_use_daemon() {
        return Ok(None);
    }
    let Some(reply) = request(context, Method::GET, "/daemon").await? else {
        return Ok(None);
    };
    if !has_files_of(context, &reply) {
        let files = files(&reply).collect::<Vec<_>>().join(", ");
        let note = format!("the daemon has the servers of other files: {files}");
        context.output.note(note);
        return Ok(None);
    }
    let socket = Socket::at(context.folders.socket());
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (reader, writer) = tokio::io::split(theirs);
    let (dial, path) = (Arc::new(Dial::running(socket)), path.to_owned());
    #[allow(clippy::disallowed_methods, reason = "ends with the client")]
    let bridge = tokio::spawn(async move {
        // The writer is a pipe of this process.
        let _ = bridge::run(dial, &path, reader, writer).await;
    });
    let bridge = AbortOnDropHandle::new(bridge);
    let service = timeout(PATIENCE, service.serve(ours)).await;
    let failed = |why: &dyn std::fmt::Display| {
        let message = format!("the daemon does not serve: {why}");
        Failure::new(Exit::Unreachable, message).fix("mcp-pool stop && mcp-pool start")
    };
    let service = service.map_err(|_| failed(&"it does not answer"))?;
    let service = service.map_err(|error| failed(&error))?;
    Ok(Some(DaemonClient { service, bridge }))
}

/// Whether the daemon reads the files of servers that this command reads. `reply` is what it says of itself.
pub(crate) fn has_files_of(context: &Context, reply: &Reply) -> bool {
    let real = |path: &Path| {
        let real = path.canonicalize().or_else(|_| std::path::absolute(path));
        real.unwrap_or_else(|_| path.to_owned())
    };
    let own = context.files();
    let own = own.iter().map(|path| real(path));
    own.eq(files(reply).map(|path| real(Path::new(path))))
}

/// The files of servers that the daemon reads, by what it says of itself.
pub(crate) fn files(reply: &Reply) -> impl Iterator<Item = &str> {
    let files = reply.body["server_files"].as_array();
    files.into_iter().flatten().filter_map(Value::as_str)
}

impl<S: Service<RoleClient>> DaemonClient<S> {
    /// Ends the session, with all that servers keep for it.
    pub(crate) async fn close(self) {
        // It has ended, in whatever way.
        let _ = self.service.cancel().await;
        let _ = timeout(PATIENCE, self.bridge).await;
    }
}

impl<S: Service<RoleClient>> Deref for DaemonClient<S> {
    type Target = RunningService<RoleClient, S>;

    fn deref(&self) -> &Self::Target {
        &self.service
    }
}

/// How long the daemon may take to answer: openings of servers are not waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const PIPE: usize = 64 * 1024;
