//! `mcp-pool start`: starts the daemon.

use std::{os::unix::net::UnixStream, time::Duration};

use clap::Args;
use http::Method;
use serde_json::json;

use crate::{
    context::Context,
    daemon::{self, Reply},
    exit::Exit,
    failure::Failure,
    version,
};

/// Starts the daemon.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Ends without a client after this time; 0s for never.
    #[arg(long, value_name = "TIME", default_value = "30min", value_parser = humantime::parse_duration)]
    linger: Duration,
}

impl Start {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let socket = context.folders.socket();
        let runs = || UnixStream::connect(&socket).is_ok();
        let started = !runs() && daemon::start(context, self.linger, runs)?;
        let Some(reply) = context.block_on(daemon::request(context, Method::GET, "/daemon"))?
        else {
            let failure = Failure::new(Exit::Unreachable, "the daemon has ended again");
            return Err(failure.fix("mcp-pool logs"));
        };
        report(context, &reply, started)
    }
}

fn report(context: &Context, reply: &Reply, started: bool) -> Result<(), Failure> {
    if let Some(difference) = version::difference(&reply.headers) {
        context.output.note(difference);
    }
    if !started && !daemon::has_files_of(context, reply) {
        let files = daemon::files(reply).collect::<Vec<_>>().join(", ");
        let note = format!("the daemon runs already, with the servers of other files: {files}");
        context.output.note(note);
    }
    if context.json {
        return context.output.json(&json!({
            "started": started,
            "pid": reply.body["pid"],
            "version": reply.body["version"],
            "socket": context.folders.socket(),
        }));
    }
    let what = if started { "started" } else { "runs already" };
    let (pid, version) = (
        &reply.body["pid"],
        reply.body["version"].as_str().unwrap_or("?"),
    );
    context.output.note(format!(
        "the daemon {what}: version {version}, process {pid}"
    ));
    Ok(())
}
