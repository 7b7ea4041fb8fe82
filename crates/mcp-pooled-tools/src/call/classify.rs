//! Classification of outcomes: what the end of a call says about its server.
//!
//! Maps an error to its [`CallOutcome`]. The table of what that says about the server is
//! [`CallOutcome::judgement`], which error rates, health and alerts read; the breaker receives the same as a [`Verdict`].

use mcp_breaker::Permit;
use mcp_metrics::{CallOutcome, Judgement};
use mcp_pool_core::Phase;

use crate::error::{Error, ErrorKind};

/// The outcome of a call that ended in an error.
pub(crate) fn outcome_of(error: &Error) -> CallOutcome {
    match error.kind() {
        ErrorKind::Connection => CallOutcome::Connection,
        ErrorKind::Exhausted => CallOutcome::Exhausted,
        ErrorKind::CircuitOpen => CallOutcome::CircuitOpen,
        ErrorKind::Timeout => CallOutcome::Timeout,
        ErrorKind::HealthCheck => CallOutcome::HealthCheck,
        ErrorKind::OutcomeUnknown => CallOutcome::OutcomeUnknown,
        ErrorKind::StateLost => CallOutcome::StateLost,
        ErrorKind::Validation => CallOutcome::Validation,
        ErrorKind::Authentication => CallOutcome::Authentication,
        ErrorKind::Protocol => CallOutcome::Protocol,
        ErrorKind::Config => CallOutcome::Config,
        ErrorKind::ShuttingDown => CallOutcome::ShuttingDown,
        ErrorKind::Cancelled => CallOutcome::Cancelled,
        // The server did what it was asked to.
        ErrorKind::Task => CallOutcome::Ok,
    }
}

/// What a call that ended in an error says about its server.
pub(crate) fn judge(error: &Error) -> Judgement {
    if error.is_excused() {
        Judgement::Nothing
    } else {
        outcome_of(error).judgement()
    }
}

/// The outcome of a call as the breaker counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server answered, with a result or an error.
    Answered,
    /// It did not, and should have.
    Fault,
    /// It did not within `call_timeout`. One tool may be slow: only so many in a row are a fault.
    TimedOut,
    /// Nothing is known of it.
    Nothing,
}

impl Verdict {
    /// Of a call that had a session.
    pub(crate) fn of(error: &Error) -> Self {
        match judge(error) {
            Judgement::Answered => Self::Answered,
            Judgement::Fault if error.kind() == ErrorKind::Timeout => Self::TimedOut,
            Judgement::Fault => Self::Fault,
            _ => Self::Nothing,
        }
    }

    /// Of a call that got no session. The pool reports an opening that failed, once for all who waited for it. A probe
    /// speaks for itself, and so does a call whose session was to be opened for it alone: whatever its limit was, it may
    /// end before the opening does.
    pub(crate) fn without_session(error: &Error, probe_or_alone: bool) -> Self {
        if !probe_or_alone {
            return Self::Nothing;
        }
        match Self::of(error) {
            Self::Nothing
                if error.kind() == ErrorKind::Timeout && error.phase() != Some(Phase::Queue) =>
            {
                Self::Fault
            }
            verdict => verdict,
        }
    }

    pub(crate) fn record(self, permit: Permit) {
        match self {
            Self::Answered => permit.success(),
            Self::Fault => permit.fault(),
            Self::TimedOut => permit.timed_out(),
            Self::Nothing => permit.ignore(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::operation::Operation;

    #[test]
    fn the_breaker_counts_what_the_error_rate_counts() {
        for (kind, judgement, verdict) in [
            (ErrorKind::Connection, Judgement::Fault, Verdict::Fault),
            (ErrorKind::HealthCheck, Judgement::Fault, Verdict::Fault),
            (ErrorKind::OutcomeUnknown, Judgement::Fault, Verdict::Fault),
            (ErrorKind::Timeout, Judgement::Fault, Verdict::TimedOut),
            (ErrorKind::Protocol, Judgement::Answered, Verdict::Answered),
            (ErrorKind::CircuitOpen, Judgement::Refused, Verdict::Nothing),
            (ErrorKind::Exhausted, Judgement::Nothing, Verdict::Nothing),
            (
                ErrorKind::Authentication,
                Judgement::Nothing,
                Verdict::Nothing,
            ),
            (ErrorKind::StateLost, Judgement::Nothing, Verdict::Nothing),
            (ErrorKind::Validation, Judgement::Nothing, Verdict::Nothing),
            (ErrorKind::Cancelled, Judgement::Nothing, Verdict::Nothing),
            (ErrorKind::Config, Judgement::Nothing, Verdict::Nothing),
            (
                ErrorKind::ShuttingDown,
                Judgement::Nothing,
                Verdict::Nothing,
            ),
        ] {
            let error = Error::new(kind, "");
            assert_eq!(
                (judge(&error), Verdict::of(&error)),
                (judgement, verdict),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_timeout_is_the_servers_where_call_timeout_itself_passed_on_a_session() {
        let (server, operation) = (Arc::from("a"), Operation::Request("tools/list"));
        for (phase, overdue, verdict) in [
            (Phase::Call, true, Verdict::TimedOut),
            (Phase::Call, false, Verdict::Nothing),
            (Phase::Open, true, Verdict::TimedOut),
            (Phase::Open, false, Verdict::Nothing),
            (Phase::Queue, true, Verdict::Nothing),
        ] {
            let after = (Duration::from_secs(1), "call_timeout");
            let error = Error::timeout(&server, &operation, phase, after, overdue);
            assert_eq!(Verdict::of(&error), verdict, "{phase} {overdue}");
        }
    }

    #[test]
    fn a_call_without_a_session_speaks_of_the_server_only_as_a_probe_or_alone() {
        let (server, operation) = (Arc::from("a"), Operation::Request("tools/list"));
        let timeout = |phase| {
            let after = (Duration::from_secs(1), "RequestOptions::timeout");
            Error::timeout(&server, &operation, phase, after, false)
        };
        let connection = Error::new(ErrorKind::Connection, "");
        for (error, alone, verdict) in [
            (&connection, false, Verdict::Nothing),
            (&connection, true, Verdict::Fault),
            (&timeout(Phase::Open), false, Verdict::Nothing),
            (&timeout(Phase::Open), true, Verdict::Fault),
            (&timeout(Phase::Queue), true, Verdict::Nothing),
            (
                &Error::new(ErrorKind::Cancelled, ""),
                true,
                Verdict::Nothing,
            ),
        ] {
            assert_eq!(Verdict::without_session(error, alone), verdict, "{error}");
        }
    }
}
