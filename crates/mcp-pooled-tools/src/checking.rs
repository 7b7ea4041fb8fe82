//! Calls held against the schemas of their tools, where that is wanted.

use std::{sync::Arc, time::Duration};

use mcp_config::{EffectiveSettings, Validate};
use mcp_metrics::CallOutcome;
use rmcp::model::{CallToolRequestParams, CallToolResult};

use crate::{
    error::Error,
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
    pub(crate) fn arguments(
        server: &Server,
        pool: &Arc<ServerPool>,
        scope: &ScopeHandle,
        settings: &EffectiveSettings,
        params: &CallToolRequestParams,
    ) -> Result<Self, Error> {
        let wanted = settings.validate != Validate::Off;
        if wanted && pool.draft.tools.wants_another() && !pool.is_cut_off() {
            let (pool, scope) = (Arc::clone(pool), scope.clone());
            server.spawn(async move {
                if let Err(error) = pool.tool_list(&scope).await {
                    tracing::debug!("the list that calls are to be checked against could not be fetched: {error}");
                }
            });
        }
        Self::against(|| pool.draft.tools.last(), server, settings, params)
    }

    /// Holds the arguments of a call against the list that is known, if that is wanted and one is.
    pub(crate) fn against(
        known: impl FnOnce() -> Option<Arc<ToolList>>,
        server: &Server,
        settings: &EffectiveSettings,
        params: &CallToolRequestParams,
    ) -> Result<Self, Error> {
        let checked = Self {
            against: (settings.validate != Validate::Off).then(known).flatten(),
            also_the_result: settings.validate == Validate::Both,
        };
        let schemas = checked.against.as_ref();
        let wrong = schemas
            .and_then(|list| list.schemas(&server.name, &params.name))
            .map(|schemas| schemas.wrong_arguments(params.arguments.as_ref()));
        let checked = checked.unless_wrong(&server.name, "arguments", &params.name, wrong);
        if checked.is_err() {
            // It ends before it begins.
            let metrics = &server.recording.metrics;
            let (tool, outcome) = (Some(&*params.name), CallOutcome::Validation);
            metrics.call("tools/call", tool, outcome, Duration::ZERO);
        }
        checked
    }

    /// Holds the result against the same list.
    pub(crate) fn result(
        self,
        server: &Arc<str>,
        tool: &str,
        result: CallToolResult,
    ) -> Result<CallToolResult, Error> {
        let list = self.against.as_ref().filter(|_| self.also_the_result);
        let wrong = list
            .and_then(|list| list.schemas(server, tool))
            .map(|schemas| schemas.wrong_result(&result));
        self.unless_wrong(server, "result", tool, wrong)
            .map(|_| result)
    }

    fn unless_wrong(
        self,
        server: &Arc<str>,
        what: &str,
        tool: &str,
        wrong: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        match wrong {
            Some(wrong) if !wrong.is_empty() => Err(Error::invalid(server, what, tool, wrong)),
            _ => Ok(self),
        }
    }
}
