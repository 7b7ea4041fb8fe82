//! The tools of a server as of one moment.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use rmcp::model::Tool;

use crate::validation::Schemas;

/// The tools of a server as of one moment, with what is worked out from them once.
#[derive(Debug)]
pub(crate) struct ToolList {
    tools: Vec<Tool>,
    by_name: HashMap<String, usize>,
    schemas: Vec<Arc<OnceLock<Schemas>>>,
}

impl ToolList {
    /// What was worked out from the list `before` is taken over for the tools that are still the same.
    pub(crate) fn new(tools: Vec<Tool>, before: Option<&Self>) -> Self {
        let by_name = tools
            .iter()
            .enumerate()
            .map(|(at, tool)| (tool.name.to_string(), at))
            .collect();
        let schemas = tools
            .iter()
            .map(|tool| before.and_then(|before| before.schemas_of_the_same(tool)))
            .map(Option::unwrap_or_default)
            .collect();
        Self {
            tools,
            by_name,
            schemas,
        }
    }

    fn schemas_of_the_same(&self, tool: &Tool) -> Option<Arc<OnceLock<Schemas>>> {
        let at = *self.by_name.get(&*tool.name)?;
        let known = &self.tools[at];
        let same =
            known.input_schema == tool.input_schema && known.output_schema == tool.output_schema;
        same.then(|| Arc::clone(&self.schemas[at]))
    }

    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name).map(|at| &self.tools[*at])
    }

    /// The tool's schemas, compiled on first use, which takes its time. `server` is for the log.
    pub(crate) fn schemas(&self, server: &str, name: &str) -> Option<&Schemas> {
        let at = *self.by_name.get(name)?;
        Some(self.schemas[at].get_or_init(|| Schemas::of(&self.tools[at], server)))
    }

    /// The server says that calling the tool again does no harm.
    pub(crate) fn is_repeatable(&self, name: &str) -> bool {
        let hints = self.tool(name).and_then(|tool| tool.annotations.as_ref());
        hints.is_some_and(|hints| {
            hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
        })
    }
}
