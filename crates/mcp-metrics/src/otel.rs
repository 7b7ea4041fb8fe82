//! The same durations under the names that OpenTelemetry's conventions for MCP give them.
//!
//! `mcp.client.operation.duration` asks for `mcp.method.name`, and for `error.type` if the operation failed: a tool that
//! says itself that it failed counts, as `tool_error`. `gen_ai.tool.name` is there if tools are labelled.
//! `mcp.client.session.duration` asks for `error.type` if the session ended by an error. Both have `network.transport`
//! if it is known: `pipe` for stdio, `tcp` for HTTP. The conventions have no word for which of several servers it was;
//! that is our own label, `server`. Their stability is "development": names may change with them.

use std::borrow::Cow;

use crate::{catalog, outcome::CallOutcome, series::Collected, server::Totals};

pub(crate) fn series(totals: &Totals, all: &mut Collected) {
    let transport = || {
        let transport = totals.transport.clone();
        transport.map(|transport| ("network.transport", transport))
    };
    for calls in &totals.calls {
        let is_tool = calls.method == "tools/call";
        for (outcome, durations) in &calls.outcomes {
            let error = (*outcome != CallOutcome::Ok)
                .then(|| ("error.type", Cow::Borrowed(outcome.as_str())));
            let labels = [("mcp.method.name", calls.method.clone())]
                .into_iter()
                .chain(error)
                .chain(is_tool.then_some(("gen_ai.operation.name", Cow::Borrowed("execute_tool"))))
                .chain(calls.tool.clone().map(|tool| ("gen_ai.tool.name", tool)))
                .chain(transport());
            all.histogram(catalog::OTEL_OPERATION, labels, durations.clone());
        }
    }
    for closed in &totals.closed {
        let error = (closed.faults > 0).then(|| ("error.type", closed.reason.clone()));
        let labels = error.into_iter().chain(transport());
        all.histogram(catalog::OTEL_SESSION, labels, closed.ages.clone());
    }
}
