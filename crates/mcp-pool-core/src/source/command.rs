//! A value from a program's output.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    process::ExitStatus,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::ChildStdout,
    time::{timeout, timeout_at},
};
use tokio_util::task::TaskTracker;

use super::{Asked, LONGEST, SourceError, ValueSource};
use crate::{
    deadline,
    future::BoxFuture,
    process::{ChildProcess, safe_environment},
    redact::Redactor,
};

/// Runs a program each time it is asked, and takes what it writes to its stdout: `op read …`, `gcloud auth
/// print-access-token`.
///
/// White space around the output is not part of the value. The program runs without a shell, in a process group of its
/// own that is killed when its time is up, with nothing on stdin. It gets the same few variables as a server does
/// (PATH, HOME and the like), and those that are named here.
///
/// ```
/// use std::time::Duration;
///
/// use mcp_pool_core::source::{Command, Prefixed};
///
/// let token = Command::new("op")
///     .args(["read", "op://vault/github/token"])
///     .time_limit(Duration::from_secs(5));
/// let authorization = Prefixed::new("Bearer ", token);
/// ```
#[derive(Clone)]
pub struct Command {
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    time_limit: Duration,
}

impl Command {
    /// Runs `program`, a path or a name to look up in `PATH`.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            time_limit: Duration::from_secs(10),
        }
    }

    /// Adds arguments. They appear in no message, but in a list of processes: a secret is better passed in a
    /// variable.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// How long the program may take (default 10 s). `connection_timeout` ends it too, with the opening.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    async fn run(&self) -> Result<String, SourceError> {
        let deadline = deadline::after(self.time_limit);
        let tasks = TaskTracker::new();
        let Self { args, env, .. } = self.clone();
        let configure = move |command: &mut tokio::process::Command| {
            command.env_clear().envs(safe_environment());
            command.args(args).envs(env);
        };
        let spawned =
            ChildProcess::spawn(None, &self.program, &tasks, Redactor::default(), configure).await;
        let (process, stdin, mut stdout) = spawned.map_err(|error| self.not_started(error))?;
        drop(stdin);
        let mut output = Vec::new();
        let ended = timeout_at(deadline, to_the_end(&process, &mut stdout, &mut output)).await;
        // What it left behind, or what goes on past its time.
        process.kill();
        let _ = timeout(Duration::from_secs(1), process.wait_exit()).await;
        let failed = match ended {
            Ok(Ok(status)) if status.success() => return self.value_in(output),
            Ok(Ok(status)) => format!("command `{}` failed: {status}", self.program),
            Ok(Err(error)) => format!("command `{}`: {error}", self.program),
            Err(_) => format!(
                "command `{}` gave no answer within {:?} and was killed",
                self.program, self.time_limit
            ),
        };
        let said = process.last_words().await;
        Err(SourceError::new(failed).with_stderr(self.hide(&output, said)))
    }

    fn value_in(&self, output: Vec<u8>) -> Result<String, SourceError> {
        let program = &self.program;
        let text = String::from_utf8(output).map_err(|_| {
            SourceError::new(format!(
                "command `{program}` wrote something that is no text"
            ))
        })?;
        match text.trim() {
            "" => Err(SourceError::new(format!(
                "command `{program}` wrote nothing to stdout"
            ))),
            value => Ok(value.to_owned()),
        }
    }

    fn not_started(&self, error: io::Error) -> SourceError {
        let program = &self.program;
        let message = match error.kind() {
            ErrorKind::NotFound => {
                format!("command not found: `{program}`; install it, or give its full path")
            }
            _ => format!("command `{program}` could not be started: {error}"),
        };
        SourceError::new(message).with_source(error)
    }

    /// A program that is traced (`set -x`) says on stderr what it writes to stdout, and what it was given.
    fn hide(&self, output: &[u8], lines: Vec<String>) -> Vec<String> {
        /// Shorter ones would take ordinary words with them.
        const SHORTEST: usize = 6;
        let output = String::from_utf8_lossy(output);
        let secrets: Vec<_> = output
            .split_whitespace()
            .chain(self.env.values().map(String::as_str))
            .filter(|secret| secret.len() >= SHORTEST)
            .collect();
        let hide = |line: String| {
            secrets
                .iter()
                .fold(line, |line, secret| line.replace(secret, "***"))
        };
        lines.into_iter().map(hide).collect()
    }
}

/// Reads until the program has ended. What it started in the background may hold its stdout open for longer.
async fn to_the_end(
    process: &ChildProcess,
    stdout: &mut ChildStdout,
    output: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    const END_FOLLOWS_WITHIN: Duration = Duration::from_millis(100);
    let reading = read(stdout, output);
    tokio::pin!(reading);
    tokio::select! {
        read = &mut reading => {
            read?;
            process.wait_exit().await;
        }
        () = process.wait_exit() => {
            if let Ok(read) = timeout(END_FOLLOWS_WITHIN, reading).await {
                read?;
            }
        }
    }
    process
        .exit_status()
        .ok_or_else(|| io::Error::other("it ended unseen"))
}

async fn read(stdout: &mut ChildStdout, output: &mut Vec<u8>) -> io::Result<()> {
    let limit = LONGEST as u64 + 1;
    stdout.take(limit).read_to_end(output).await?;
    if output.len() > LONGEST {
        return Err(io::Error::other("its output is too long for a token"));
    }
    Ok(())
}

impl ValueSource for Command {
    fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(self.run())
    }
}

/// Arguments and variables may hold secrets: they are left out.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("time_limit", &self.time_limit)
            .finish()
    }
}
