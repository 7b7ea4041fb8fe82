//! The error type of this crate.

mod cause;
mod conversions;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use cause::Cause;
use mcp_pool_core::{
    AcquireError, AuthChallenge, CallFailure, CloseReason, OpenError, OpenErrorKind, Phase,
};
use rmcp::{
    ErrorData,
    model::{CreateTaskResult, ErrorCode},
    service::ServiceError,
};

use crate::{operation::Operation, secrets::Secrets, validation::Wrong};

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server could not be reached or started, or the connection broke before the request was sent.
    Connection,
    /// As many callers wait as may.
    Exhausted,
    /// The circuit breaker keeps callers from a server that fails.
    CircuitOpen,
    /// A limit in time passed.
    Timeout,
    /// A session did not answer a probe.
    HealthCheck,
    /// The request was sent and no answer came: the tool may have run.
    OutcomeUnknown,
    /// The session that held the state of the caller's scope is gone: see [`Error::is_state_lost`].
    StateLost,
    /// The arguments or the result are not what the tool's schema says.
    Validation,
    /// The server wants other credentials, or the source of a header had none to give.
    Authentication,
    /// The server answered with a JSON-RPC error: see [`Error::protocol`].
    Protocol,
    /// The configuration cannot be used.
    Config,
    /// The manager has been shut down.
    ShuttingDown,
    /// The caller cancelled the call, by the token it gave along.
    Cancelled,
    /// The tool started a task, whose result is asked for later: see [`Error::task`].
    Task,
}

impl ErrorKind {
    /// Its name in snake case, as `data.kind` of an [error of ours](Error::to_protocol) has it: `outcome_unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Exhausted => "exhausted",
            Self::CircuitOpen => "circuit_open",
            Self::Timeout => "timeout",
            Self::HealthCheck => "health_check",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::StateLost => "state_lost",
            Self::Validation => "validation",
            Self::Authentication => "authentication",
            Self::Protocol => "protocol",
            Self::Config => "config",
            Self::ShuttingDown => "shutting_down",
            Self::Cancelled => "cancelled",
            Self::Task => "task",
        }
    }
}

/// What went wrong, with which server, in which phase, and why.
///
/// Displays one line that says what to do where that is known. Causes beneath that the line does not quote are its
/// [`source`](StdError::source) chain, in words. Text of a server is quoted without secrets of the configuration, on one
/// line, with what a terminal obeys escaped, and up to 1 kB of it; [`Error::protocol`] has it as it was sent.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    server: Option<Arc<str>>,
    phase: Option<Phase>,
    message: String,
    retry_after: Option<Duration>,
    protocol: Option<ErrorData>,
    challenge: Option<AuthChallenge>,
    stderr: Vec<String>,
    violations: Vec<String>,
    task: Option<Box<CreateTaskResult>>,
    /// Rounds of input that the server asked for, if it did not end.
    rounds: Option<usize>,
    /// It says nothing about the server, whatever its kind does as a rule.
    excused: bool,
    opening: Option<Arc<OpenError>>,
    cause: Option<Cause>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            server: None,
            phase: None,
            message: message.into(),
            retry_after: None,
            protocol: None,
            challenge: None,
            stderr: Vec::new(),
            violations: Vec::new(),
            task: None,
            rounds: None,
            excused: false,
            opening: None,
            cause: None,
        }))
    }

    /// An answer of our own in the place of a server's.
    pub(crate) fn refused(code: i32, message: &str) -> Self {
        let data = serde_json::json!({ "source": "mcp-pool" });
        let mut error = Self::new(ErrorKind::Protocol, message);
        let message = message.to_owned();
        error.0.protocol = Some(ErrorData::new(ErrorCode(code), message, Some(data)));
        error
    }

    pub(crate) fn at(mut self, server: &Arc<str>, phase: Phase) -> Self {
        self.0.server = Some(Arc::clone(server));
        self.0.phase = Some(phase);
        self
    }

    pub(crate) fn of(mut self, server: &Arc<str>) -> Self {
        self.0.server = Some(Arc::clone(server));
        self
    }

    /// Adds the error beneath, but for what the message says already.
    pub(crate) fn caused_by(self, source: &(dyn StdError + 'static)) -> Self {
        self.caused_by_server(source, &Secrets::default())
    }

    /// The same with an error that may quote the server.
    fn caused_by_server(mut self, source: &(dyn StdError + 'static), secrets: &Secrets) -> Self {
        self.0.cause = Cause::beneath(&self.0.message, Some(source), secrets);
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The server concerned, if it is one.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.0.server.as_deref()
    }

    /// The part of the call in which it happened, if it was a call.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The server's own JSON-RPC error, as it was sent.
    #[must_use]
    pub fn protocol(&self) -> Option<&ErrorData> {
        self.0.protocol.as_ref()
    }

    /// Of an error of kind [`ErrorKind::Authentication`], what the server said about the authorization that it wants: where
    /// a consent flow starts. `None` if it said nothing, or if no server was asked.
    #[must_use]
    pub fn auth_challenge(&self) -> Option<&AuthChallenge> {
        self.0.challenge.as_ref()
    }

    /// The last lines that the server wrote to stderr before it failed, oldest first. They are the server's words,
    /// and may hold anything.
    #[must_use]
    pub fn stderr(&self) -> &[String] {
        &self.0.stderr
    }

    /// Of an error of kind [`ErrorKind::Validation`], what is wrong, at most a hundred things, each as `items.0.price: expected number, got
    /// string`. The message names the first twenty.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.0.violations
    }

    /// Of an error of kind [`ErrorKind::Task`], the task that the tool has started instead of an answer.
    /// [`get_task`](crate::Client::get_task) returns its state and result.
    #[must_use]
    pub fn task(&self) -> Option<&CreateTaskResult> {
        self.0.task.as_deref()
    }

    pub(crate) fn task_started(
        server: Option<&Arc<str>>,
        tool: &str,
        task: CreateTaskResult,
    ) -> Self {
        let (tool, id) = (cleaned(tool), cleaned(&task.task.task_id));
        let message =
            format!("tool `{tool}` started the task `{id}`: ask for its result by get_task");
        let mut error = Self::new(ErrorKind::Task, message);
        (error.0.server, error.0.phase) = (server.cloned(), Some(Phase::Call));
        error.0.task = Some(Box::new(task));
        error
    }

    /// Whether the same call may well succeed later, and does no harm if it is made again.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let tools = manager.tools("time")?;
    /// if let Err(error) = tools.call("get_current_time", ()).await
    ///     && error.is_retryable()
    /// {
    ///     println!("try again in {:?}: {error}", error.retry_after());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let permanent = || self.opening().is_some_and(OpenError::is_permanent);
        match self.0.kind {
            ErrorKind::Connection => !permanent(),
            ErrorKind::Exhausted | ErrorKind::CircuitOpen | ErrorKind::HealthCheck => true,
            // Once a call was sent, it is unknown whether it ran.
            ErrorKind::Timeout => self.0.phase != Some(Phase::Call),
            _ => false,
        }
    }

    /// Whether the session that held the state of the caller's scope is gone (`sharing = pinned`). The message says why.
    ///
    /// Reported once, in place of the scope's next call, which was not made: the call after it gets a fresh session, with
    /// no state of the earlier calls.
    #[must_use]
    pub fn is_state_lost(&self) -> bool {
        self.0.kind == ErrorKind::StateLost
    }

    /// Whether the error says nothing about its server, though its kind does as a rule.
    pub(crate) fn is_excused(&self) -> bool {
        self.0.excused
    }

    fn excused_if(mut self, excused: bool) -> Self {
        self.0.excused = excused;
        self
    }

    /// Why the session could not be opened, if that is what went wrong.
    pub(crate) fn opening(&self) -> Option<&OpenError> {
        self.0.opening.as_deref()
    }

    /// How long to wait before that, where it is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub(crate) fn acquire(server: &Arc<str>, secrets: &Secrets, error: AcquireError) -> Self {
        match error {
            AcquireError::Open { cause, retry_after } => {
                let mut error = Self::open(server, secrets, cause);
                error.0.retry_after = retry_after;
                error
            }
            AcquireError::Timeout {
                phase,
                after,
                cause,
            } => {
                let mut message = match phase {
                    Phase::Probe => format!("no session answered a probe within {after:?}"),
                    Phase::Queue => {
                        format!("no session became free within {after:?}; all are busy")
                    }
                    _ => format!("no session could be opened within {after:?}"),
                };
                if let Some(cause) = &cause {
                    message.push_str(&format!(" (last: {})", secrets.clean(&cause.to_string())));
                }
                let message = format!("{message} (connection_timeout)");
                let mut error = Self::new(ErrorKind::Timeout, message);
                let challenge = cause.as_ref().and_then(|cause| cause.auth_challenge());
                error.0.challenge = challenge.cloned();
                error.0.stderr = cause.map_or_else(Vec::new, |cause| stderr_of(&cause, secrets));
                // That all are busy is no fault of the server.
                error.at(server, phase).excused_if(phase == Phase::Queue)
            }
            AcquireError::Exhausted { waiters } => {
                let wait = if waiters == 1 {
                    "caller waits"
                } else {
                    "callers wait"
                };
                let message = format!(
                    "{waiters} {wait} already (max_waiters); try again, or raise max_connections"
                );
                Self::new(ErrorKind::Exhausted, message).at(server, Phase::Queue)
            }
            AcquireError::StateLost { reason } => Self::state_lost(server, lost_by(reason)),
            _ => Self::shutting_down(server),
        }
    }

    /// The session that held a scope's state is gone.
    pub(crate) fn state_lost(server: &Arc<str>, why: &str) -> Self {
        let message = format!(
            "the session with the state of earlier calls is gone: {why}; this call was not made, the next one gets a fresh session"
        );
        Self::new(ErrorKind::StateLost, message).of(server)
    }

    /// A session is closed under its owner.
    pub(crate) fn held_session_lost(server: &Arc<str>, reason: CloseReason) -> Self {
        let message = format!(
            "the session that is held is closed: {}; this call was not made, take another session",
            lost_by(reason)
        );
        Self::new(ErrorKind::StateLost, message).of(server)
    }

    fn open(server: &Arc<str>, secrets: &Secrets, cause: Arc<OpenError>) -> Self {
        let kind = match cause.kind() {
            _ if cause.is_authentication() => ErrorKind::Authentication,
            OpenErrorKind::Timeout => ErrorKind::Timeout,
            OpenErrorKind::Config => ErrorKind::Config,
            _ => ErrorKind::Connection,
        };
        let mut error =
            Self::new(kind, secrets.clean(&cause.to_string())).at(server, cause.phase());
        error.0.stderr = stderr_of(&cause, secrets);
        error.0.challenge = cause.auth_challenge().cloned();
        error = error.caused_by_server(&*cause, secrets);
        error.0.opening = Some(cause);
        error
    }

    pub(crate) fn disabled(server: &Arc<str>, reason: &str) -> Self {
        Self::new(
            ErrorKind::Config,
            format!("the server is disabled: {reason}"),
        )
        .of(server)
    }

    /// The server has gone from the configuration, or was switched off there, under a handle of it.
    pub(crate) fn gone(server: &Arc<str>, why: &str) -> Self {
        Self::new(ErrorKind::Config, why).of(server)
    }

    pub(crate) fn circuit_open(server: &Arc<str>, rejected: mcp_breaker::Rejected) -> Self {
        let mut error = Self::new(
            ErrorKind::CircuitOpen,
            format!("it has failed again and again: {rejected}"),
        );
        error.0.retry_after = rejected.retry_after;
        error.of(server)
    }

    pub(crate) fn cancelled(server: &Arc<str>, operation: &Operation, phase: Phase) -> Self {
        let message = match phase {
            Phase::Call => format!("{operation} was cancelled by its caller and may have run"),
            phase => format!(
                "{operation} was cancelled by its caller before it was sent (in phase {phase})"
            ),
        };
        Self::new(ErrorKind::Cancelled, message).at(server, phase)
    }

    pub(crate) fn invalid(server: &Arc<str>, what: &str, tool: &str, wrong: Wrong) -> Self {
        let Wrong { named: all, total } = wrong;
        // Names and values of the server's schema are in it.
        let all: Vec<_> = all.iter().map(|wrong| cleaned(wrong)).collect();
        let tool = cleaned(tool);
        /// A message is for a person.
        const NAMED: usize = 20;
        let named = &all[..all.len().min(NAMED)];
        let mut message = format!("{what} of tool `{tool}`: {}", named.join("; "));
        if total > NAMED {
            message.push_str(&format!("; and {} more", total - NAMED));
        }
        let mut error = Self::new(ErrorKind::Validation, message).of(server);
        error.0.violations = all;
        error
    }

    pub(crate) fn shutting_down_all() -> Self {
        Self::new(ErrorKind::ShuttingDown, "the manager is shut down")
    }

    pub(crate) fn shutting_down(server: &Arc<str>) -> Self {
        Self::new(ErrorKind::ShuttingDown, "the pool is shut down").of(server)
    }

    /// A call that ended in an error of rmcp. `cause` is what ended the session, if it has ended.
    pub(crate) fn call(
        server: &Arc<str>,
        secrets: &Secrets,
        operation: &Operation,
        failure: CallFailure,
        error: ServiceError,
        cause: Option<String>,
    ) -> Self {
        if let ServiceError::McpError(data) = error {
            let message = format!(
                "{operation}: the server answered with an error: {} ({})",
                secrets.clean(&data.message),
                data.code.0
            );
            let mut error = Self::new(ErrorKind::Protocol, message).at(server, Phase::Call);
            error.0.protocol = Some(data);
            return error;
        }
        if let ServiceError::InputRequiredRoundsExceeded { max_rounds } = error {
            let message = format!(
                "{operation}: the server asked for input in each of {max_rounds} rounds and gave no result"
            );
            let mut error = Self::new(ErrorKind::Protocol, message).at(server, Phase::Call);
            error.0.rounds = Some(max_rounds);
            return error;
        }
        let reason = cause.unwrap_or_else(|| CallFailure::reason(&error));
        let reason = secrets.clean(&reason);
        let (kind, message) = match failure {
            CallFailure::Answered => (
                ErrorKind::Protocol,
                format!("{operation}: the answer makes no sense: {reason}"),
            ),
            CallFailure::NotSent => (
                ErrorKind::Connection,
                format!("{operation} was not sent: {reason}"),
            ),
            CallFailure::Rejected(OpenErrorKind::Forbidden) => (
                ErrorKind::Authentication,
                format!("{operation}: the server refuses these credentials (HTTP 403)"),
            ),
            CallFailure::Rejected(OpenErrorKind::Unauthorized) | CallFailure::StaleCredentials => (
                ErrorKind::Authentication,
                format!("{operation}: the server wants other credentials (HTTP 401)"),
            ),
            CallFailure::Rejected(_) => (
                ErrorKind::Connection,
                format!("{operation} was turned away: {reason}"),
            ),
            _ if operation.has_effects() => (
                ErrorKind::OutcomeUnknown,
                format!("{operation} was sent and may have run, but no answer came: {reason}"),
            ),
            _ => (
                ErrorKind::Connection,
                format!("{operation} was not answered: {reason}"),
            ),
        };
        // It was the caller's request that was refused, and any other may be served.
        let rejected = matches!(failure, CallFailure::Rejected(_));
        let mut new = Self::new(kind, message)
            .at(server, Phase::Call)
            .excused_if(rejected);
        new.0.challenge = AuthChallenge::of(&error);
        new.0.retry_after = CallFailure::retry_after(&error);
        match &error {
            // Around the cause rmcp puts the names of Rust types.
            ServiceError::TransportSend(error) => new.caused_by_server(&*error.error, secrets),
            error => new.caused_by_server(error, secrets),
        }
    }

    /// `overdue` if the limit that passed is `call_timeout`, or longer.
    pub(crate) fn timeout(
        server: &Arc<str>,
        operation: &Operation,
        phase: Phase,
        (after, knob): (Duration, &str),
        overdue: bool,
    ) -> Self {
        let message = match phase {
            Phase::Call if operation.has_effects() => {
                format!(
                    "{operation} did not answer within {after:?} and may still run; raise {knob} if it needs longer"
                )
            }
            Phase::Call => format!("{operation} did not answer within {after:?} ({knob})"),
            phase => {
                format!("{operation} was not sent within {after:?} ({knob}, in phase {phase})")
            }
        };
        // To be slow for one caller's limit is no fault of the server, nor is that all sessions are busy.
        Self::new(ErrorKind::Timeout, message)
            .at(server, phase)
            .excused_if(!overdue || phase == Phase::Queue)
    }
}

fn lost_by(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Broken => "its process or connection ended",
        CloseReason::ProbeFailed => "it did not answer a health probe",
        CloseReason::Abandoned => "a call that was given up did not end on it within cancel_grace",
        CloseReason::Credentials => "the server refused its credentials",
        CloseReason::Drained => "it was replaced by a drain",
        CloseReason::Evicted => "it was evicted on request",
        _ => "the pool closed it",
    }
}

/// Text of a server whose secrets are not known here.
fn cleaned(text: &str) -> String {
    mcp_pool_core::sanitize(text, str::to_owned)
}

fn stderr_of(error: &OpenError, secrets: &Secrets) -> Vec<String> {
    let lines = error.stderr().iter();
    lines.map(|line| secrets.redact(line)).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.server {
            // A name from a file must not reach a terminal as a control sequence.
            Some(server) => write!(f, "server `{}`: {}", server.escape_debug(), self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("server", &self.0.server)
            .field("phase", &self.0.phase)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_ref().map(|cause| cause as _)
    }
}
