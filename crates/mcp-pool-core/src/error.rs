//! Errors of opening and acquiring a session.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    challenge::AuthChallenge, lifecycle::CloseReason, process::error_line, redact::Redactor,
};

/// The part of a call in which something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a place on a session.
    Queue,
    /// Starting a process or dialling a server.
    Open,
    /// Agreeing on a protocol version with the server.
    Handshake,
    /// Asking a session for a sign of life.
    Probe,
    /// The call itself.
    Call,
}

impl Phase {
    /// The name under which the phase appears in messages, status and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Open => "open",
            Self::Handshake => "handshake",
            Self::Probe => "probe",
            Self::Call => "call",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kept a session from opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// There is no such command.
    CommandNotFound,
    /// The command may not be executed.
    NotExecutable,
    /// The operating system would not start the process for another reason.
    Spawn,
    /// The process ended before the handshake was done.
    ProcessExited,
    /// The server could not be reached.
    Unreachable,
    /// No secure connection could be made.
    Tls,
    /// The server answered with an HTTP status that is no answer to a handshake.
    Http(u16),
    /// The server wants other credentials (401).
    Unauthorized,
    /// The server refuses these credentials (403).
    Forbidden,
    /// The source of a header's value had none to give: see [`source`](crate::source).
    Credentials,
    /// Client and server share no protocol version.
    NoCommonVersion,
    /// The server refused the handshake for good, or its reply is invalid.
    Incompatible,
    /// The handshake failed in another way: the server ended the connection, or answered with an error that may pass.
    Handshake,
    /// The time ran out.
    Timeout,
    /// The configuration of the server cannot be used.
    Config,
    /// Something broke inside the connector.
    Internal,
}

impl fmt::Display for OpenErrorKind {
    /// The kind as `error.type` of a span has it; of an HTTP status, its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandNotFound => "command_not_found",
            Self::NotExecutable => "not_executable",
            Self::Spawn => "spawn",
            Self::ProcessExited => "process_exited",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Http(status) => return write!(f, "{status}"),
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Credentials => "credentials",
            Self::NoCommonVersion => "no_common_version",
            Self::Incompatible => "incompatible",
            Self::Handshake => "handshake",
            Self::Timeout => "timeout",
            Self::Config => "config",
            Self::Internal => "internal",
        })
    }
}

/// A session could not be opened.
///
/// Displays its own level on one line; the cause beneath, if there is one, is its [`source`](StdError::source).
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    phase: Phase,
    message: String,
    stderr: Vec<String>,
    challenge: Option<Box<AuthChallenge>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl OpenError {
    /// An error that happened in `phase`, in words that say what to do where that is known.
    pub fn new(kind: OpenErrorKind, phase: Phase, message: impl Into<String>) -> Self {
        Self {
            kind,
            phase,
            message: message.into(),
            stderr: Vec::new(),
            challenge: None,
            source: None,
        }
    }

    /// Adds the error beneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the last lines that the server wrote to stderr, oldest first.
    #[must_use]
    pub fn with_stderr(mut self, lines: Vec<String>) -> Self {
        self.stderr = lines;
        self
    }

    /// Adds what the server said about the authorization that it wants.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Option<AuthChallenge>) -> Self {
        self.challenge = challenge.map(Box::new);
        self
    }

    /// The same error, where another handshake had failed before on a connection of its own.
    #[must_use]
    pub(crate) fn after(mut self, first: &Self) -> Self {
        if first.message != self.message {
            self.message.push_str("; before that: ");
            self.message.push_str(&first.message);
        }
        self
    }

    /// The same error and its causes without secrets, on one line each. A cause that shows a secret is left out.
    #[must_use]
    pub(crate) fn redacted(self, redactor: &Redactor) -> Self {
        Self {
            message: redactor.sanitize(&self.message),
            stderr: self
                .stderr
                .into_iter()
                .map(|line| redactor.apply(line))
                .collect(),
            challenge: self
                .challenge
                .map(|challenge| Box::new(challenge.redacted(redactor))),
            source: self.source.and_then(|source| redactor.clean(source)),
            ..self
        }
    }

    /// What kept the session from opening.
    #[must_use]
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// Where it happened.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The last lines that the server wrote to stderr, oldest first.
    #[must_use]
    pub fn stderr(&self) -> &[String] {
        &self.stderr
    }

    /// What the server said about the authorization that it wants, if it answered 401 or 403 with a challenge.
    #[must_use]
    pub fn auth_challenge(&self) -> Option<&AuthChallenge> {
        self.challenge.as_deref()
    }

    /// Another try with the same configuration would fail the same way.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self.kind {
            OpenErrorKind::CommandNotFound
            | OpenErrorKind::NotExecutable
            | OpenErrorKind::Unauthorized
            | OpenErrorKind::Forbidden
            | OpenErrorKind::Credentials
            | OpenErrorKind::NoCommonVersion
            | OpenErrorKind::Incompatible
            | OpenErrorKind::Config => true,
            OpenErrorKind::Http(status) => status == 404 || status == 405 || status == 410,
            _ => false,
        }
    }

    /// The server wants other credentials, or there were none to give it.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        matches!(
            self.kind,
            OpenErrorKind::Unauthorized | OpenErrorKind::Forbidden | OpenErrorKind::Credentials
        )
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // All lines are in `stderr()`.
        if let Some(line) = error_line(&self.stderr) {
            write!(f, "; stderr: {line}")?;
        }
        Ok(())
    }
}

impl StdError for OpenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref().map(|source| source as _);
        unquoted(&self.message, source)
    }
}

/// A caller was given no session.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// No session is live, and opening one failed.
    #[error("no session could be opened")]
    Open {
        /// What went wrong.
        #[source]
        cause: Arc<OpenError>,
        /// How long no further opening is tried; callers in between are given the same cause at once.
        retry_after: Option<Duration>,
    },
    /// `connection_timeout` passed.
    #[error("no session became free within {after:?} (in phase {phase})")]
    Timeout {
        /// What the caller was waiting for.
        phase: Phase,
        /// The limit.
        after: Duration,
        /// What went wrong with the last try at opening, if there was one.
        #[source]
        cause: Option<Arc<OpenError>>,
    },
    /// `max_waiters` callers wait already.
    #[error("{waiters} callers wait already, which is the limit")]
    Exhausted {
        /// How many.
        waiters: usize,
    },
    /// The session that held the state of the caller's scope is gone. Reported once: the next lease is of a fresh session.
    #[error("the state of the scope is lost: its session was closed ({reason})")]
    StateLost {
        /// Why the session was closed.
        reason: CloseReason,
    },
    /// The pool has been closed.
    #[error("the pool is closed")]
    Closed,
}

impl AcquireError {
    /// As `error.type` of a span has it.
    pub(crate) fn class(&self) -> String {
        match self {
            Self::Open { cause, .. } => cause.kind().to_string(),
            Self::Timeout { .. } => "timeout".to_owned(),
            Self::Exhausted { .. } => "exhausted".to_owned(),
            Self::StateLost { .. } => "state_lost".to_owned(),
            Self::Closed => "closed".to_owned(),
        }
    }
}

/// The first error from `source` on that `message` does not quote: a chain that is printed says nothing twice.
pub(crate) fn unquoted<'a>(
    message: &str,
    source: Option<&'a (dyn StdError + 'static)>,
) -> Option<&'a (dyn StdError + 'static)> {
    std::iter::successors(source, |error: &&'a (dyn StdError + 'static)| {
        (*error).source()
    })
    .find(|error| !message.contains(&error.to_string()))
}
