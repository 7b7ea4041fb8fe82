//! The part of the API that tools are about, as a trait that is easy to implement.

use std::sync::Arc;

use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject, Tool};

use super::{BoxFuture, Client, schema_in};
use crate::error::Error;

/// What code that uses tools needs of a client, whichever it is: `Arc<dyn Tools>`.
///
/// Implemented by every [`Client`].
pub trait Tools: Send + Sync {
    /// All tools, over all pages.
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>>;

    /// Calls a tool.
    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>>;

    /// The schema of a tool's arguments.
    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        Box::pin(async move { schema_in(&self.list_all_tools().await?, name) })
    }
}

impl<T: Client + ?Sized> Tools for T {
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>> {
        Client::list_all_tools(self)
    }

    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        Client::call_tool(self, params)
    }

    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        Client::tool_schema(self, name)
    }
}
