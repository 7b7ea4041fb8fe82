//! Connector for child processes, over their stdin and stdout.

use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use super::{BoxFuture, Connected, Connector, Handshake, lines::LineTransport};
use crate::{
    error::{OpenError, OpenErrorKind, Phase},
    process::{ChildProcess, safe_environment},
    transport_report::TransportReport,
};

/// Starts a process for every session.
#[derive(Clone)]
pub struct Stdio {
    name: Arc<str>,
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    inherit_env: bool,
    current_dir: Option<PathBuf>,
    max_message_size: usize,
}

impl Stdio {
    /// Starts `command`, looked up in PATH unless it is a path.
    pub fn new(command: impl Into<String>) -> Self {
        let command = command.into();
        Self {
            name: command.as_str().into(),
            command,
            args: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: false,
            current_dir: None,
            max_message_size: super::lines::DEFAULT_MAX_MESSAGE_SIZE,
        }
    }

    /// Names the server in the log. Default: the command.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, on top of a small safe list (PATH, HOME and the like).
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Hands the whole environment of this process on. Default: no, for it may hold the secrets of others.
    #[must_use]
    pub fn inherit_env(mut self, inherit: bool) -> Self {
        self.inherit_env = inherit;
        self
    }

    /// Starts the process in this directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Limits one message of the server to this many bytes (default 16 MiB).
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    async fn open(&self, handshake: &Handshake) -> Result<Connected, OpenError> {
        let Self {
            args,
            env,
            inherit_env,
            current_dir,
            ..
        } = self.clone();
        let configure = move |command: &mut tokio::process::Command| {
            if !inherit_env {
                command.env_clear().envs(safe_environment());
            }
            command.args(args).envs(env);
            if let Some(dir) = current_dir {
                command.current_dir(dir);
            }
        };
        let (name, redactor) = (Arc::clone(&self.name), handshake.redactor().clone());
        let spawned = ChildProcess::spawn(
            Some(name),
            &self.command,
            handshake.tasks(),
            redactor,
            configure,
        );
        let (process, stdin, stdout) = spawned.await.map_err(|error| self.not_started(error))?;
        handshake.set_stderr(process.stderr());
        let report = Arc::new(TransportReport::default());
        let transport =
            LineTransport::new(stdout, stdin, self.max_message_size, Arc::clone(&report));
        match handshake.perform(transport, report).await {
            Ok(connected) => Ok(connected.with_process(process)),
            Err(error) => Err(self.not_agreed(handshake, &process, error).await),
        }
    }

    fn not_started(&self, error: io::Error) -> OpenError {
        let command = &self.command;
        if let Some(dir) = self.current_dir.as_ref().filter(|dir| !dir.is_dir()) {
            let message = format!(
                "`{command}` cannot start in {}: no such directory",
                dir.display()
            );
            return OpenError::new(OpenErrorKind::Config, Phase::Open, message).with_source(error);
        }
        let (kind, message) = match error.kind() {
            io::ErrorKind::NotFound => (OpenErrorKind::CommandNotFound, self.not_found()),
            io::ErrorKind::PermissionDenied => (
                OpenErrorKind::NotExecutable,
                format!("`{command}` may not be executed; check its permissions"),
            ),
            _ => (
                OpenErrorKind::Spawn,
                format!("`{command}` could not be started: {error}"),
            ),
        };
        OpenError::new(kind, Phase::Open, message).with_source(error)
    }

    fn not_found(&self) -> String {
        let command = &self.command;
        let mut words = command.split_whitespace();
        match (words.next(), words.collect::<Vec<_>>()) {
            (Some(program), args) if !args.is_empty() => format!(
                "command not found: `{command}`; `command` is the program alone: set it to `{program}`, and `args` to \
                 {args:?}"
            ),
            _ => format!("command not found: `{command}`; install it, or give its full path"),
        }
    }

    /// Where the server ended the connection, the process has nearly always exited, and its exit says more. Where it did
    /// not, an exit says nothing: the handshake has closed its stdin by now.
    async fn not_agreed(
        &self,
        handshake: &Handshake,
        process: &ChildProcess,
        error: OpenError,
    ) -> OpenError {
        /// Wrappers exit some time after the server that they have started.
        const EXIT_FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
        if !handshake.was_disconnected() {
            return error.with_stderr(process.stderr_tail());
        }
        let _ = tokio::time::timeout(EXIT_FOLLOWS_WITHIN, process.wait_exit()).await;
        let Some(status) = process.exit_status() else {
            return error.with_stderr(process.stderr_tail());
        };
        let stderr = process.last_words().await;
        let mut message = format!("`{}` exited during the handshake: {status}", self.command);
        if status.success() {
            message.push_str("; is it a server that speaks MCP over stdin and stdout?");
        }
        OpenError::new(OpenErrorKind::ProcessExited, Phase::Handshake, message)
            .with_stderr(stderr)
            .with_source(error)
    }
}

impl Connector for Stdio {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(self.open(handshake))
    }
}

/// The values of variables and the arguments may hold secrets: they are left out.
impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio")
            .field("command", &self.command)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("current_dir", &self.current_dir)
            .finish_non_exhaustive()
    }
}
