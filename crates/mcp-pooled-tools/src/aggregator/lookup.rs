//! The tool behind an exposed name: what gateways decide by, audit and pin.

use std::{collections::HashMap, sync::Arc};

use serde_json::value::RawValue;

use super::{
    Aggregator,
    catalogue::State,
    kind::ListKind,
    route::By,
    table::{Found, Target},
};
use crate::error::Error;

/// The tool behind an exposed name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolTarget {
    /// The server that has it.
    pub server: Arc<str>,
    /// What its server calls it.
    pub tool: String,
    /// Its definition in the list of its server, as the server wrote it.
    pub definition: Option<Box<RawValue>>,
}

impl ToolTarget {
    /// A tool of which nothing but its names is known.
    #[must_use]
    pub fn new(server: impl Into<Arc<str>>, tool: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            tool: tool.into(),
            definition: None,
        }
    }
}

impl Aggregator {
    /// The tool that a call of this name goes to. Servers that are not known are asked for their lists, until one has it.
    ///
    /// # Errors
    /// As a call: no tool of this name, or several.
    ///
    /// # Cancel safety
    /// As [`Aggregator::list_all_tools`].
    pub async fn find_tool(&self, name: &str) -> Result<ToolTarget, Error> {
        let Target { server, own } = self.target(By::Tool, name).await?;
        let definition = match self.0.catalogue.state(&server) {
            State::Known(lists) => lists.list(ListKind::Tools).and_then(|list| {
                let item = list.items.iter().find(|item| item.key == own)?;
                Some(item.raw.clone())
            }),
            _ => None,
        };
        Ok(ToolTarget {
            server,
            tool: own,
            definition,
        })
    }

    /// The tools that are known now, by the names that they are exposed under.
    #[must_use]
    pub fn known_tools(&self) -> HashMap<String, ToolTarget> {
        let table = self.table();
        let mut known = HashMap::new();
        for server in self.servers() {
            let State::Known(lists) = self.0.catalogue.state(&server.name) else {
                continue;
            };
            for item in lists
                .list(ListKind::Tools)
                .into_iter()
                .flat_map(|list| &list.items)
            {
                let target = Target {
                    server: Arc::clone(&server.name),
                    own: item.key.clone(),
                };
                let Some(name) = table.exposed_tool(&target) else {
                    continue;
                };
                if table.tool(name) != Found::One(target.clone()) {
                    continue;
                }
                let target = ToolTarget {
                    server: target.server,
                    tool: target.own,
                    definition: Some(item.raw.clone()),
                };
                known.insert(name.to_owned(), target);
            }
        }
        known
    }
}
