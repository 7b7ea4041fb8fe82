//! Whether a call that failed is made once more. Nothing runs twice by accident.
//!
//! | what happened | what is done |
//! | --- | --- |
//! | the request was not sent | once more |
//! | the server refused it for stale credentials, and there is a source of others | once more, with those |
//! | it was sent and no answer came; the tool only reads, or says that repeating it does no harm | once more |
//! | the same, any other tool | the caller decides |
//! | the server answered, with whatever | never |

use mcp_config::Replay;
use mcp_pool_core::CallFailure;

/// What is known when it has to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Again,
    Not,
    /// Only if the tool says that it may be repeated.
    IfRepeatable,
}

pub(crate) fn decide(policy: Replay, failure: CallFailure, is_tool: bool) -> Decision {
    match (policy, failure) {
        (Replay::Never, _) | (_, CallFailure::Answered | CallFailure::Rejected(_)) => Decision::Not,
        (_, CallFailure::NotSent | CallFailure::StaleCredentials)
        | (Replay::Always, CallFailure::Lost) => Decision::Again,
        // Lists and reads change nothing.
        (_, CallFailure::Lost) if !is_tool => Decision::Again,
        (_, CallFailure::Lost) => Decision::IfRepeatable,
        _ => Decision::Not,
    }
}

#[cfg(test)]
mod tests {
    use mcp_pool_core::OpenErrorKind;

    use super::*;

    #[test]
    fn the_table() {
        use CallFailure::{Answered, Lost, NotSent, Rejected, StaleCredentials};
        use Decision::{Again, IfRepeatable, Not};
        for (policy, failure, is_tool, decision) in [
            (Replay::Safe, NotSent, true, Again),
            (Replay::Safe, Lost, true, IfRepeatable),
            (Replay::Safe, Lost, false, Again),
            (Replay::Safe, StaleCredentials, true, Again),
            (Replay::Safe, Answered, true, Not),
            (
                Replay::Safe,
                Rejected(OpenErrorKind::Unauthorized),
                true,
                Not,
            ),
            (Replay::Never, NotSent, true, Not),
            (Replay::Never, StaleCredentials, true, Not),
            (Replay::Never, Lost, false, Not),
            (Replay::Always, Lost, true, Again),
            (Replay::Always, Answered, true, Not),
        ] {
            assert_eq!(
                decide(policy, failure, is_tool),
                decision,
                "{policy} {failure:?} {is_tool}"
            );
        }
    }
}
