//! Section Runtime: the daemon, its socket and its state.

use std::{
    io::ErrorKind,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    time::Duration,
};

use http::Method;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    catalog,
    config::quoted,
    finding::{Finding, Mend},
};
use crate::{context::Context, daemon, version};

/// The daemon of this user.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Daemon {
    pub(super) running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
}

/// Looks at the state folder and at the daemon, which is not started.
pub(super) async fn check(context: &Context, findings: &mut Vec<Finding>) -> Daemon {
    let state = &context.folders.state;
    let mode = state.metadata().map(|state| state.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        let message = format!("other users may look into {}", state.display());
        let found = catalog::READABLE_STATE.found(message);
        let fix = format!("chmod 700 {}, or mcp-pool doctor --fix", quoted(state));
        findings.push(found.fix(fix).mend(Mend::MakePrivate(state.clone())));
    }
    let socket = context.folders.socket();
    let asked = daemon::request(context, Method::GET, "/healthz");
    let answer = match timeout(LIMIT, asked).await {
        Ok(Ok(answer)) => answer,
        silent => {
            let why = match silent {
                Ok(failed) => failed.err().map(|failure| failure.to_string()),
                Err(_) => Some(format!("no answer within {} s", LIMIT.as_secs())),
            };
            let message = format!("the daemon at {} does not answer", socket.display());
            let found = catalog::SILENT_DAEMON.found(message);
            let found = found.cause(why.unwrap_or_default());
            findings.push(found.fix("mcp-pool stop && mcp-pool start"));
            return Daemon {
                running: true,
                version: None,
            };
        }
    };
    let Some(answer) = answer else {
        if is_stale(&socket) {
            let message = format!("{} has no daemon", socket.display());
            let found = catalog::STALE_SOCKET.found(message);
            let fix = format!("rm {}, or mcp-pool doctor --fix", quoted(&socket));
            findings.push(found.fix(fix).mend(Mend::RemoveSocket(socket)));
        }
        return Daemon::default();
    };
    let version = answer.headers.get(version::HEADER);
    let version = version.and_then(|version| Some(version.to_str().ok()?.to_owned()));
    let own = version::own();
    if let Some(other) = version.as_ref().filter(|version| **version != own) {
        let message = format!("the daemon is mcp-pool {other}, and this is {own}");
        let found = catalog::OTHER_VERSION.found(message);
        findings.push(found.fix("mcp-pool stop && mcp-pool start"));
    }
    Daemon {
        running: true,
        version,
    }
}

/// Whether nothing listens at this socket.
pub(super) fn is_stale(socket: &Path) -> bool {
    let connected = UnixStream::connect(socket);
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

const LIMIT: Duration = Duration::from_secs(5);
