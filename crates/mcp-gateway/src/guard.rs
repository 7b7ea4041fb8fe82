//! What a request of a known principal passes on its way to the servers: allow lists, pins, the audit.
//!
//! Names are resolved to server and tool before anything is decided, so that an alias or a reference is the tool that it
//! stands for.

use std::{borrow::Cow, fmt};

use mcp_pooled_tools::{
    Aggregator, Client as _, Error, ErrorKind, Reply, ReplyKind, Request, RequestOptions,
    ToolTarget, config::Pins as PinMode,
};
use rmcp::{ErrorData, model::ErrorCode};
use serde_json::{json, value::RawValue};
use tokio::time::Instant;

use crate::{
    audit::{Audit, Line, hash},
    edge::{Edge, Rules},
    members::Members,
    message,
    pins::Checked,
    principal::Principal,
    search,
    turns::Turns,
};

/// Why a request has no reply.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The gateway does not let it pass.
    Refused(ErrorData),
    /// A server or the pool failed it.
    Failed(Error),
    /// It was cancelled before it was sent.
    Cancelled,
}

/// On whose behalf a request is sent.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) principal: &'a Principal,
    /// What the client calls itself.
    pub(crate) client: &'a str,
    pub(crate) turns: Option<&'a Turns>,
    /// Is given where a call goes to, before it goes. An error refuses it.
    pub(crate) routed: &'a (dyn Fn(&str) -> Result<(), ErrorData> + Sync),
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("principal", &self.principal)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Sends a request, if its principal may.
    ///
    /// # Cancel safety
    /// As [`mcp_pooled_tools::Client::send`]; a call that is dropped is in the audit as cancelled.
    pub(crate) async fn send(
        &self,
        caller: Caller<'_>,
        view: &Aggregator,
        request: Request,
        options: RequestOptions,
    ) -> Result<Reply, Failure> {
        let rules = self.rules().await;
        let searches = rules.settings.tool_search;
        match request.method() {
            "tools/list" if searches => Ok(search::list()),
            "tools/call" if searches && request.tool() == Some(search::SEARCH) => {
                self.search(&rules, caller, view, &request).await
            }
            "tools/list" => {
                let reply = view.send(request, options).await?;
                self.sync_pins().await;
                let reply = self.permitted(&rules, caller, view, reply);
                self.sync_pins().await;
                Ok(reply)
            }
            "tools/call" => {
                let unwrapped = searches.then(|| search::unwrapped(&request)).flatten();
                let (request, only_reads) = unwrapped.transpose()?.unwrap_or((request, false));
                self.call(&rules, caller, view, request, options, only_reads)
                    .await
            }
            _ => Ok(view.send(request, options).await?),
        }
    }

    async fn call(
        &self,
        rules: &Rules,
        caller: Caller<'_>,
        view: &Aggregator,
        request: Request,
        options: RequestOptions,
        only_reads: bool,
    ) -> Result<Reply, Failure> {
        let Some(name) = request.tool().map(str::to_owned) else {
            return Ok(view.send(request, options).await?);
        };
        let mut entry = Entry::new(&self.audit, caller, &request);
        let target = match view.find_tool(&name).await {
            Ok(target) => target,
            Err(error) => {
                entry.line.tool = name;
                return Err(entry.failed(error));
            }
        };
        entry.line.server = target.server.to_string();
        entry.line.tool.clone_from(&target.tool);
        self.sync_pins().await;
        let judged = self.judge(rules, caller, &name, &target);
        let judged = judged.and_then(|()| match only_reads {
            true => search::check_reads(&target),
            false => Ok(()),
        });
        let judged = judged.and_then(|()| (caller.routed)(&target.server));
        if let Err(error) = judged {
            return Err(entry.refused(error));
        }
        self.sync_pins().await;
        let turn = match caller.turns {
            Some(turns) => turns.take(&target.server).await.map(Some),
            None => Ok(None),
        };
        let _turn = match turn {
            Ok(turn) => turn,
            Err(error) => return Err(entry.refused(error)),
        };
        match view.send(request, options).await {
            Ok(reply) => Ok(entry.answered(reply)),
            Err(error) => Err(entry.failed(error)),
        }
    }

    /// Whether the caller may call this tool as it is.
    fn judge(
        &self,
        rules: &Rules,
        caller: Caller<'_>,
        name: &str,
        target: &ToolTarget,
    ) -> Result<(), ErrorData> {
        let name = name.escape_debug();
        if !rules.allow.permits(caller.principal, target) {
            let message = format!("tool `{name}` is not allowed for {}", caller.principal);
            return Err(refused(message, "ask the operator of the gateway: allow"));
        }
        if rules.pins() && self.changed(target) && rules.settings.pins == PinMode::Block {
            let message =
                format!("tool `{name}` is blocked: it is not what it was at its first use");
            return Err(refused(
                message,
                "have the operator of the gateway look at the change and approve it",
            ));
        }
        Ok(())
    }

    /// Whether a tool is not what it was; the first time, the log tells the difference.
    fn changed(&self, target: &ToolTarget) -> bool {
        match self.pins.check(target) {
            Checked::AsPinned => false,
            Checked::Changed(told) => {
                if let Some(change) = told {
                    let (server, tool) = (&change.server, change.tool.escape_debug());
                    let differences = change.differences.join("; ");
                    tracing::warn!(%server, "tool `{tool}` has changed since its first use: {differences}; approve {}", change.new_sha256);
                }
                true
            }
        }
    }

    /// Whether the caller sees this tool.
    pub(crate) fn shows(&self, rules: &Rules, caller: Caller<'_>, target: &ToolTarget) -> bool {
        let changed = rules.pins() && self.changed(target);
        rules.allow.permits(caller.principal, target)
            && !(changed && rules.settings.pins == PinMode::Block)
    }

    /// The page without the tools that the caller may not call.
    fn permitted(
        &self,
        rules: &Rules,
        caller: Caller<'_>,
        view: &Aggregator,
        reply: Reply,
    ) -> Reply {
        if !rules.pins() && !rules.allow.restricts(caller.principal) {
            return reply;
        }
        let known = view.known_tools();
        let mut page = Members::of(reply.raw());
        let items: Vec<Box<RawValue>> = page
            .get("tools")
            .and_then(|tools| serde_json::from_str(tools.get()).ok())
            .unwrap_or_default();
        let before = items.len();
        let kept: Vec<_> = items
            .into_iter()
            .filter(|item| {
                let target = Members::of(item).text("name");
                // What is not known any more cannot be called either.
                let Some(target) = target.and_then(|name| known.get(&name)) else {
                    return !rules.allow.restricts(caller.principal);
                };
                self.shows(rules, caller, target)
            })
            .collect();
        if kept.len() == before {
            return reply;
        }
        page.set("tools", message::json(&kept));
        Reply::new(page.written())
    }
}

/// A call's line of the audit, which is written when the call ends, in whatever way.
struct Entry<'a> {
    audit: &'a Audit,
    line: Line,
    since: Instant,
}

impl<'a> Entry<'a> {
    fn new(audit: &'a Audit, caller: Caller<'_>, request: &Request) -> Self {
        let mut line = Line {
            event: "call",
            // Until it has ended otherwise.
            outcome: "cancelled",
            ..Line::default()
        };
        if audit.is_on() {
            line.principal = caller.principal.to_string();
            line.client = caller.client.to_owned();
            let params = request.params().map(Members::of).unwrap_or_default();
            if let Some(arguments) = params.get("arguments") {
                line.arguments_sha256 = hash(arguments);
                line.arguments = audit.with_arguments.then(|| arguments.to_owned());
            }
            let trace = request.meta().get("traceparent");
            let trace = trace.and_then(|trace| trace.as_str()?.split('-').nth(1));
            line.trace_id = trace.unwrap_or_default().chars().take(32).collect();
        }
        Self {
            audit,
            line,
            since: Instant::now(),
        }
    }

    fn answered(mut self, reply: Reply) -> Reply {
        self.line.bytes = reply.raw().get().len();
        self.line.outcome = match reply.kind() {
            ReplyKind::InputRequired => "input_required",
            _ if reply.is_tool_error() => "tool_error",
            _ => "ok",
        };
        reply
    }

    fn failed(mut self, error: Error) -> Failure {
        if error.kind() != ErrorKind::Cancelled {
            self.line.outcome = "error";
            self.line.error = error.to_string();
        }
        Failure::Failed(error)
    }

    fn refused(mut self, error: ErrorData) -> Failure {
        self.line.outcome = "refused";
        self.line.error = error.message.to_string();
        Failure::Refused(error)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.audit.is_on() {
            let ms = self.since.elapsed().as_millis();
            self.line.ms = u64::try_from(ms).unwrap_or(u64::MAX);
            self.audit.record(std::mem::take(&mut self.line));
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(crate) fn refused(message: impl Into<Cow<'static, str>>, hint: &str) -> ErrorData {
    let data = json!({"source": "mcp-pool", "phase": "authorize", "hint": hint});
    ErrorData::new(ErrorCode::INVALID_PARAMS, message, Some(data))
}
