//! Tool calls checked against the schemas of their tools, where that is configured.

use std::{sync::Arc, time::Duration};

use mcp_config::{EffectiveSettings, Validate};
use mcp_metrics::CallOutcome;
use mcp_pool_core::Phase;
use rmcp::model::JsonObject;
use serde::Deserialize;

use super::{CallDeadline, Interrupted, Route};
use crate::{
    error::Error,
    operation::Operation,
    reply::{Reply, ReplyKind},
    request::Request,
    server::Server,
    tool_list::ToolList,
};

/// Checks the arguments of a call against the list that the pool has. Without a list, the call goes unchecked while one
/// is fetched in the background.
pub(super) async fn on_pool(
    route: &Route<'_>,
    settings: &EffectiveSettings,
    request: &Request,
    deadline: &CallDeadline,
) -> Result<Checked, Error> {
    let pool = route.pool;
    let wanted = settings.validate != Validate::Off && request.tool().is_some();
    if wanted && pool.context.tools().wants_another() && !pool.is_cut_off() {
        let (pool, scope) = (Arc::clone(pool), route.scope.clone());
        let deadline = CallDeadline::start(settings.call_timeout);
        route.server.spawn(async move {
            let began = deadline.began();
            if let Err(error) = pool.tool_list(&scope, &deadline).await {
                tracing::debug!("the list for validation could not be fetched: {error}");
                pool.context.tools().background_failed(began.elapsed());
            }
        });
    }
    arguments(
        || pool.context.tools().last(),
        route.server,
        settings,
        request,
        deadline,
    )
    .await
}

/// Checks the arguments of a call against the list that is known, if there is one.
pub(super) async fn arguments(
    known: impl FnOnce() -> Option<Arc<ToolList>>,
    server: &Server,
    settings: &EffectiveSettings,
    request: &Request,
    deadline: &CallDeadline,
) -> Result<Checked, Error> {
    #[derive(Deserialize)]
    struct Arguments {
        #[serde(default)]
        arguments: Option<JsonObject>,
    }
    let Some(tool) = request
        .tool()
        .filter(|_| settings.validate != Validate::Off)
    else {
        return Ok(Checked::default());
    };
    let checked = Checked {
        list: known().filter(|list| list.tool(tool).is_some()),
        tool: tool.to_owned(),
        result_too: settings.validate == Validate::Both,
    };
    let Some(list) = checked.list.clone() else {
        return Ok(checked);
    };
    let arguments = request.parse_params::<Arguments>();
    let arguments = arguments.map_err(|error| error.of(&server.name))?.arguments;
    let (name, named) = (Arc::clone(&server.name), checked.tool.clone());
    let work = server.schema_work(move || {
        let schemas = list.schemas(&name, &named)?;
        Some(schemas.wrong_arguments(arguments.as_ref()))
    });
    let (outcome, error) = match deadline.within(work).await {
        Ok(wrong) => match wrong.flatten() {
            Some(wrong) if wrong.total > 0 => (
                CallOutcome::Validation,
                Error::invalid(&server.name, "arguments", tool, wrong),
            ),
            _ => return Ok(checked),
        },
        Err(ended) => {
            let operation = Operation::Tool(tool.to_owned().into());
            match ended {
                Interrupted::OutOfTime => {
                    let (phase, limit) = (Phase::Queue, deadline.passed());
                    let error = Error::timeout(&server.name, &operation, phase, limit, false);
                    (CallOutcome::Timeout, error)
                }
                Interrupted::Cancelled => (
                    CallOutcome::Cancelled,
                    Error::cancelled(&server.name, &operation, Phase::Queue),
                ),
            }
        }
    };
    // It ends before it begins.
    let metrics = &server.telemetry.metrics;
    metrics.call("tools/call", Some(tool), outcome, Duration::ZERO);
    Err(error)
}

/// A call whose arguments are as its tool wants them, as far as that is known.
#[derive(Default)]
pub(super) struct Checked {
    tool: String,
    list: Option<Arc<ToolList>>,
    result_too: bool,
}

impl Checked {
    /// Checks the result against the same list. Out of time, it is returned as it is.
    pub(super) async fn result(
        self,
        server: &Server,
        reply: Reply,
        deadline: &CallDeadline,
    ) -> Result<Reply, Error> {
        let wanted = self.result_too && reply.kind() == ReplyKind::Complete;
        let Some(list) = self.list.filter(|_| wanted) else {
            return Ok(reply);
        };
        let (name, tool) = (Arc::clone(&server.name), self.tool.clone());
        let result = reply.clone().parse_tool_result().await?;
        let work = server.schema_work(move || {
            let schemas = list.schemas(&name, &tool)?;
            Some(schemas.wrong_result(&result))
        });
        match deadline.within(work).await {
            Ok(Some(Some(wrong))) if wrong.total > 0 => {
                Err(Error::invalid(&server.name, "result", &self.tool, wrong))
            }
            Ok(_) => Ok(reply),
            Err(_) => {
                tracing::warn!(server = %server.name, "the result of tool `{}` was not validated: out of time", self.tool);
                Ok(reply)
            }
        }
    }
}
