//! The span of one attempt at a call, with the names that OpenTelemetry's conventions for MCP give its fields.
//!
//! A call that is made once more has two of them, one after the other: each has a session of its own, an end of its own,
//! and the trace context of a request names this very span. `mcp.session.id` is left out. It is what the server knows an HTTP
//! session by, and a reader of a log could use it in that session's name.

use mcp_metrics::CallOutcome;
use mcp_pool_core::Session;
use tracing::{
    Span,
    field::{Empty, display},
};

use super::{Call, CallDeadline, classify::outcome_of};
use crate::{error::Error, reply::Reply};

/// An attempt that has not ended. Without an outcome it ran out of time or its caller went away.
pub(super) struct CallSpan<'a> {
    span: Span,
    deadline: &'a CallDeadline,
    over: bool,
}

impl<'a> CallSpan<'a> {
    pub(super) fn begin(call: &'a Call<'_>, attempt: u32) -> Self {
        let (method, tool) = (call.operation.method(), call.operation.tool());
        let span = tracing::debug_span!(
            "mcp.call",
            otel.name = %call.operation.title(),
            otel.kind = "client",
            otel.status_code = Empty,
            server = %call.server,
            session = Empty,
            attempt,
            outcome = Empty,
            mcp.method.name = method,
            mcp.protocol.version = Empty,
            gen_ai.operation.name = tool.map(|_| "execute_tool"),
            gen_ai.tool.name = tool,
            network.transport = call.telemetry.transport,
            error.type = Empty,
            rpc.response.status_code = Empty,
        );
        Self {
            span,
            deadline: &call.deadline,
            over: false,
        }
    }

    /// For what is done in it.
    pub(super) fn to_instrument(&self) -> Span {
        self.span.clone()
    }

    /// The attempt has a session.
    pub(super) fn on(&self, session: &Session) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("session", display(session.id()));
        if let Some(info) = session.peer_info() {
            let version = info.protocol_version.as_str();
            self.span.record("mcp.protocol.version", version);
        }
    }

    /// The attempt has ended.
    pub(super) fn end(mut self, outcome: Result<&Reply, &Error>) {
        self.over = true;
        if self.span.is_disabled() {
            return;
        }
        match outcome {
            Ok(reply) if reply.is_tool_error() => self.record(CallOutcome::ToolError),
            Ok(_) => self.record(CallOutcome::Ok),
            Err(error) => match error.protocol() {
                Some(answer) => {
                    let code = display(answer.code.0);
                    self.span.record("rpc.response.status_code", &code);
                    self.span.record("error.type", &code);
                    self.record(CallOutcome::Protocol);
                }
                None => self.record(outcome_of(error)),
            },
        }
    }

    fn record(&self, outcome: CallOutcome) {
        self.span.record("outcome", outcome.as_str());
        if outcome == CallOutcome::Ok {
            return;
        }
        self.span.record("otel.status_code", "ERROR");
        // Of what the server answered with, that is the code.
        if outcome != CallOutcome::Protocol {
            self.span.record("error.type", outcome.as_str());
        }
    }
}

impl Drop for CallSpan<'_> {
    fn drop(&mut self) {
        if !self.over && !self.span.is_disabled() {
            self.record(if self.deadline.is_over() {
                CallOutcome::Timeout
            } else {
                CallOutcome::Cancelled
            });
        }
    }
}
