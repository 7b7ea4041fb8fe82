//! Retry rules: whether a failed call is made once more. Nothing runs twice by accident.
//!
//! | what happened | what is done |
//! | --- | --- |
//! | the request was not sent | once more |
//! | the server refused it for stale credentials, and there is a source of others | once more, with those |
//! | it was sent and no answer came; the tool only reads, or says that repeating it does no harm | once more |
//! | the same, any other tool | the caller decides |
//! | the server answered, with whatever | never |

use std::{pin::pin, sync::Arc};

use mcp_config::Replay;
use mcp_pool_core::CallFailure;
use tracing::Instrument;

use super::{
    Call, Failed, Route,
    circuit::{self, Replaced},
    gate,
    span::CallSpan,
};
use crate::{error::Error, reply::Reply, server::Snapshot};

/// Makes an attempt, and another where that does no harm.
pub(super) async fn attempts(
    call: &Call<'_>,
    route: &Route<'_>,
    snapshot: Arc<Snapshot>,
) -> Result<Reply, Error> {
    gate::pass("retry", &snapshot);
    let (first, snapshot) = match attempt(call, route, 1, snapshot).await {
        (Ok(reply), _) => return Ok(reply),
        (Err(first), snapshot) => (first, snapshot),
    };
    let harmless = match repetition(call, route, &snapshot, &first).await {
        Repetition::No => return Err(first.error),
        Repetition::Harmless => true,
        Repetition::AtTheCallersRisk => false,
    };
    if let Some(session) = first.lost_on() {
        snapshot.avoid(session);
    }
    tracing::warn!(server = %call.server, "retrying {}: {}", call.operation, first.error);
    if !harmless {
        *call.progress.unknown.lock() = Some(first.error);
    }
    call.telemetry.retried();
    call.progress.begin_again();
    let (second, _) = attempt(call, route, 2, route.pool.snapshot()).await;
    second.map_err(|second| call.progress.of_both(second))
}

/// Makes one attempt, wholly on one snapshot, which is returned. If the pool of a snapshot is replaced before there is a
/// session, the attempt begins again with the newest.
async fn attempt(
    call: &Call<'_>,
    route: &Route<'_>,
    number: u32,
    mut snapshot: Arc<Snapshot>,
) -> (Result<Reply, Failed>, Arc<Snapshot>) {
    let span = CallSpan::begin(call, number);
    let outcome = {
        let attempt = pin!(async {
            loop {
                match circuit::around(call, route, &snapshot, &span).await {
                    Ok(outcome) => return outcome,
                    Err(Replaced) => snapshot = route.pool.snapshot(),
                }
            }
        });
        attempt.instrument(span.to_instrument()).await
    };
    span.end(outcome.as_ref().map_err(|failed| &failed.error));
    (outcome, snapshot)
}

/// Whether a call that failed is made once more.
enum Repetition {
    No,
    /// It had no effect, or may have it twice.
    Harmless,
    /// It may have run, and the caller wants it made again all the same.
    AtTheCallersRisk,
}

async fn repetition(
    call: &Call<'_>,
    route: &Route<'_>,
    snapshot: &Snapshot,
    failed: &Failed,
) -> Repetition {
    let Some(failure) = failed.failure else {
        return Repetition::No;
    };
    // This very failure may have opened the breaker: nothing is requested of the server then, its list neither.
    if route.pool.is_cut_off() {
        return Repetition::No;
    }
    let tool = call.operation.tool();
    let replay = call.options.replay.unwrap_or(snapshot.settings.replay);
    match decide(replay, failure, tool.is_some()) {
        Decision::Again if failure == CallFailure::Lost && tool.is_some() => {
            // What the call did may be gone with the state of its scope, and its caller has to know of both.
            if snapshot.is_stateful() {
                return Repetition::No;
            }
            Repetition::AtTheCallersRisk
        }
        Decision::Again => Repetition::Harmless,
        Decision::Not => Repetition::No,
        Decision::IfRepeatable => match tool {
            Some(tool) if route.pool.says_repeatable(route.scope, tool).await => {
                Repetition::Harmless
            }
            _ => Repetition::No,
        },
    }
}

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
