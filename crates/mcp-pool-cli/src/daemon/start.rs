//! The start of the daemon: in the process that starts it, and in its own.
//!
//! The daemon is this program again, without a terminal and in a session of its own. It says on its standard output that it
//! listens, or why it does not, and closes it.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::setsid;

use super::{Serving, lock::Lock, log, state};
use crate::{context::Context, exit::Exit, failure::Failure};

const READY: &str = "ready";

/// Starts the daemon, and returns when it listens. Of several at once, one starts it and the others wait. The caller
/// has looked whether it runs; `runs` looks again when it is this one's turn. Returns whether this one has started it.
///
/// # Errors
/// Why it does not start.
pub(crate) fn start(
    context: &Context,
    linger: Duration,
    runs: impl FnOnce() -> bool,
) -> Result<bool, Failure> {
    state::prepare(&context.folders)?;
    let path = context.folders.runtime.join("start.lock");
    let failed = |error: io::Error| Failure::internal(format!("{}: {error}", path.display()));
    let _turn = Lock::take(&path).map_err(failed)?;
    if runs() {
        return Ok(false);
    }
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    for file in &context.config {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        command.arg("--config").arg(file);
    }
    // The daemon has another working folder.
    if let Some(file) = std::env::var_os("MCP_CONFIG_PATH")
        && let Ok(file) = std::path::absolute(file)
    {
        command.env("MCP_CONFIG_PATH", file);
    }
    let linger = humantime::format_duration(linger).to_string();
    let mut child = command
        .args(["serve", "--daemon", "--linger", &linger])
        .current_dir(&context.folders.home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut said).map_err(failed)?;
    }
    if said.trim() == READY {
        return Ok(true);
    }
    let code = child.wait().map_err(failed)?.code();
    let exit = match code {
        Some(1) => Exit::Usage,
        Some(3) => Exit::Authentication,
        Some(4) => Exit::Unreachable,
        _ => Exit::Internal,
    };
    let mut lines = said.lines().map(str::to_owned);
    let first = lines
        .next()
        .unwrap_or_else(|| format!("the daemon ended, see {}", context.folders.log().display()));
    let (mut details, mut fix) = (Vec::new(), None);
    for line in lines {
        match line.strip_prefix("Fix: ") {
            Some(text) => fix = Some(text.to_owned()),
            None => details.push(line.trim().to_owned()),
        }
    }
    let failure = Failure::new(exit, first.trim_start_matches("error: ")).details(details);
    Err(failure.fix(fix.unwrap_or_else(|| "mcp-pool logs".to_owned())))
}

/// Runs the daemon.
pub(crate) fn run(context: &Context, linger: Duration) -> Result<(), Failure> {
    let served = serve(context, linger);
    if let Err(failure) = &served {
        tracing::error!("{failure}");
        // Only the process that waits for the start reads it.
        let _ = writeln!(io::stdout(), "{failure}");
    }
    served
}

fn serve(context: &Context, linger: Duration) -> Result<(), Failure> {
    // Fails for a session leader, which has one of its own.
    let _ = setsid();
    state::prepare(&context.folders)?;
    let folders = &context.folders;
    log::to_file(&folders.log())?;
    let path = folders.runtime.join("daemon.lock");
    // One that is ending still has it.
    let _lock = Lock::take(&path)
        .map_err(|error| Failure::internal(format!("{}: {error}", path.display())))?;
    create_servers(context);
    let serving = Serving {
        socket: Some(folders.socket()),
        linger: (!linger.is_zero()).then_some(linger),
        log: Some(folders.log()),
        ..Serving::default()
    };
    context.block_on(serving.run(context, |_| ready()))
}

/// Reports to the process that waits for the start that it listens. From here on nothing reads standard output.
fn ready() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::internal(format!("standard output: {error}"));
    // It may have gone.
    let _ = writeln!(io::stdout(), "{READY}");
    let null = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(failed)?;
    rustix::stdio::dup2_stdout(&null).map_err(|error| failed(error.into()))
}

/// A file that is there is watched, so that the first server that is added is noticed. One that another process makes meanwhile
/// stays, as does a link that leads nowhere.
fn create_servers(context: &Context) {
    let path = context.folders.servers();
    if !context.config.is_empty() || path.symlink_metadata().is_ok() {
        return;
    }
    let made = std::fs::create_dir_all(&context.folders.config)
        .and_then(|()| state::create(&path, "{\n  \"mcpServers\": {}\n}\n"));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => tracing::warn!(
            "{}: {error}; servers that are added are not noticed",
            path.display()
        ),
        _ => {}
    }
}
