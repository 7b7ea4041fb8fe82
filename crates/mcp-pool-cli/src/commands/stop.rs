//! `mcp-pool stop`: ends the daemon.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use clap::Args;
use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    context::Context,
    daemon::{self, Lock},
    exit::Exit,
    failure::Failure,
};

/// Ends the daemon and its servers.
#[derive(Debug, Args)]
pub(crate) struct Stop {}

impl Stop {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let stopped = context.block_on(stop(context))?;
        if context.json {
            return context.output.json(&json!({ "stopped": stopped }));
        }
        context.output.note(match stopped {
            true => "the daemon has ended",
            false => "the daemon does not run",
        });
        Ok(())
    }
}

/// Ends the daemon, and waits for its end. Returns whether it ran.
async fn stop(context: &Context) -> Result<bool, Failure> {
    let socket = context.folders.socket();
    let (before, bound) = (pid(context).await?, identity(&socket));
    let asked = daemon::request(context, Method::POST, "/daemon/stop").await?;
    let path = context.folders.runtime.join("daemon.lock");
    if asked.is_none() && !path.exists() {
        return Ok(false);
    }
    let since = Instant::now();
    let mut waited = false;
    loop {
        let lock = Lock::try_take(&path);
        // It has the lock as long as it has servers.
        if lock
            .map_err(|error| Failure::internal(format!("{}: {error}", path.display())))?
            .is_some()
        {
            return Ok(asked.is_some() || waited);
        }
        // A client may have started the next one, which waits for the lock, too. It has bound the socket again. One that is
        // as it was may be of a service manager: a connection to it would start the daemon.
        let now = identity(&socket);
        if before.is_some() && now.is_some() && now != bound {
            let now = pid(context).await.ok().flatten();
            if now.is_some() && now != before {
                return Ok(true);
            }
        }
        if since.elapsed() > PATIENCE {
            let failure = Failure::new(Exit::Unreachable, "the daemon has not ended yet");
            return Err(failure.fix("mcp-pool logs"));
        }
        sleep(PAUSE).await;
        waited = true;
    }
}

/// The process of the daemon, if it listens.
async fn pid(context: &Context) -> Result<Option<u64>, Failure> {
    let reply = daemon::request(context, Method::GET, "/daemon").await?;
    Ok(reply.and_then(|reply| reply.body["pid"].as_u64()))
}

/// The file of the socket: which one it is, and when it was last bound or changed.
fn identity(socket: &Path) -> Option<(u64, i64, i64)> {
    let file = socket.symlink_metadata().ok()?;
    Some((file.ino(), file.ctime(), file.ctime_nsec()))
}

/// Calls under way have 30 seconds, and servers some more.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
