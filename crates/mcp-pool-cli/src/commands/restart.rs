//! `mcp-pool restart`: replaces the sessions of a server.

use clap::Args;
use http::{Method, StatusCode};
use serde_json::json;

use crate::{context::Context, daemon, exit::Exit, failure::Failure};

/// Replaces the sessions of a server: calls under way end on the old ones.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The server.
    #[arg(value_name = "SERVER")]
    server: String,
}

impl Restart {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let drained = context.block_on(restart(context, &self.server))?;
        let drained = drained.ok_or_else(|| {
            Failure::new(Exit::Unreachable, "the daemon does not run").fix("mcp-pool start")
        })?;
        if context.json {
            return context
                .output
                .json(&json!({ "server": self.server, "drained": drained }));
        }
        context.output.note(match drained {
            true => format!(
                "{}: its sessions were closed; the next call opens one",
                self.server
            ),
            false => format!(
                "{}: its sessions close when their calls have ended",
                self.server
            ),
        });
        Ok(())
    }
}

/// Returns whether no session of before is left; `None` if the daemon does not run.
pub(super) async fn restart(context: &Context, server: &str) -> Result<Option<bool>, Failure> {
    let mut drained = false;
    // First the breaker and the pause after failures, then the sessions.
    for action in ["reset", "drain"] {
        let path = format!("/api/v1/mcp/pools/{}/{action}", daemon::segment(server));
        let Some(reply) = daemon::request(context, Method::POST, &path).await? else {
            return Ok(None);
        };
        if !reply.status.is_success() {
            let why = reply.body["detail"]
                .as_str()
                .unwrap_or("refused")
                .to_owned();
            let exit = match reply.status {
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::CONFLICT => {
                    Exit::Usage
                }
                _ => Exit::Unreachable,
            };
            return Err(Failure::new(exit, why).fix("mcp-pool status"));
        }
        drained = reply.status == StatusCode::OK;
    }
    Ok(Some(drained))
}
