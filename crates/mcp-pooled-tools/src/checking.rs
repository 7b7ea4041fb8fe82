//! Calls held against the schemas of their tools, where that is wanted.

use std::{sync::Arc, time::Duration};

use mcp_config::{EffectiveSettings, Validate};
use mcp_metrics::CallOutcome;
use mcp_pool_core::Phase;
use rmcp::model::{CallToolRequestParams, CallToolResult};

use crate::{
    call::{Clock, Ended},
    error::Error,
    operation::Operation,
    scope::ScopeHandle,
    server::{Server, ServerPool},
    tool_list::ToolList,
};

/// A call whose arguments are as its tool wants them, as far as that is known.
pub(crate) struct Checked {
    against: Option<Arc<ToolList>>,
    also_the_result: bool,
}

impl Checked {
    /// Holds the arguments of a call against the list there is. Where there is none yet, the call goes unchecked while
    /// it is fetched.
    pub(crate) async fn arguments(
        server: &Server,
        pool: &Arc<ServerPool>,
        scope: &ScopeHandle,
        settings: &EffectiveSettings,
        params: &CallToolRequestParams,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let wanted = settings.validate != Validate::Off;
        if wanted && pool.draft.tools.wants_another() && !pool.is_cut_off() {
            let (pool, scope) = (Arc::clone(pool), scope.clone());
            let clock = Clock::start(settings.call_timeout);
            server.spawn(async move {
                let began = clock.began();
                if let Err(error) = pool.tool_list(&scope, &clock).await {
                    tracing::debug!("the list for validation could not be fetched: {error}");
                    pool.draft.tools.background_failed(began.elapsed());
                }
            });
        }
        Self::against(|| pool.draft.tools.last(), server, settings, params, clock).await
    }

    /// Holds the arguments of a call against the list that is known, if that is wanted and one is.
    pub(crate) async fn against(
        known: impl FnOnce() -> Option<Arc<ToolList>>,
        server: &Server,
        settings: &EffectiveSettings,
        params: &CallToolRequestParams,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let checked = Self {
            against: (settings.validate != Validate::Off).then(known).flatten(),
            also_the_result: settings.validate == Validate::Both,
        };
        let Some(list) = checked.list_with(&params.name) else {
            return Ok(checked);
        };
        let (name, tool) = (Arc::clone(&server.name), params.name.clone());
        let arguments = params.arguments.clone();
        let work = server.schema_work(move || {
            let schemas = list.schemas(&name, &tool)?;
            Some(schemas.wrong_arguments(arguments.as_ref()))
        });
        let (outcome, error) = match clock.within(work).await {
            Ok(wrong) => match wrong.flatten() {
                Some(wrong) if wrong.total > 0 => (
                    CallOutcome::Validation,
                    Error::invalid(&server.name, "arguments", &params.name, wrong),
                ),
                _ => return Ok(checked),
            },
            Err(ended) => {
                let operation = Operation::Tool(params.name.clone());
                match ended {
                    Ended::OutOfTime => {
                        let (phase, limit) = (Phase::Queue, clock.passed());
                        let error = Error::timeout(&server.name, &operation, phase, limit, false);
                        (CallOutcome::Timeout, error)
                    }
                    Ended::Cancelled => (
                        CallOutcome::Cancelled,
                        Error::cancelled(&server.name, &operation, Phase::Queue),
                    ),
                }
            }
        };
        // It ends before it begins.
        let metrics = &server.recording.metrics;
        metrics.call("tools/call", Some(&*params.name), outcome, Duration::ZERO);
        Err(error)
    }

    /// Holds the result against the same list. Out of time, it is handed on as it is.
    pub(crate) async fn result(
        self,
        server: &Server,
        tool: &str,
        result: CallToolResult,
        clock: &Clock,
    ) -> Result<CallToolResult, Error> {
        let Some(list) = self.list_with(tool).filter(|_| self.also_the_result) else {
            return Ok(result);
        };
        let (name, named) = (Arc::clone(&server.name), tool.to_owned());
        let result = Arc::new(result);
        let held = Arc::clone(&result);
        let work = server.schema_work(move || {
            let schemas = list.schemas(&name, &named)?;
            Some(schemas.wrong_result(&held))
        });
        match clock.within(work).await {
            Ok(Some(Some(wrong))) if wrong.total > 0 => {
                return Err(Error::invalid(&server.name, "result", tool, wrong));
            }
            Ok(_) => {}
            Err(_) => {
                tracing::warn!(server = %server.name, "the result of tool `{tool}` was not validated: out of time");
            }
        }
        Ok(Arc::try_unwrap(result).unwrap_or_else(|shared| (*shared).clone()))
    }

    fn list_with(&self, tool: &str) -> Option<Arc<ToolList>> {
        let list = self.against.as_ref()?;
        list.tool(tool).map(|_| Arc::clone(list))
    }
}
