//! The mock that replaces every server when `MCP_ENABLE_MOCKS` is set: a program can be tried without its servers, their
//! software or their secrets. It is a real MCP server in this process, spoken to like any other.

use std::sync::Arc;

use mcp_pool_core::{Connector, connect::in_process::InProcess};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
        ToolAnnotations,
    },
    service::RequestContext,
};
use serde_json::json;

type Context = RequestContext<RoleServer>;

/// Lists one tool, `echo`, and answers a call of any name with that name and the arguments.
#[derive(Clone)]
struct Mock {
    server: Arc<str>,
}

pub(crate) fn connector(server: &str) -> Arc<dyn Connector> {
    let mock = Mock {
        server: server.into(),
    };
    Arc::new(InProcess::new(move || mock.clone()))
}

impl ServerHandler for Mock {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build()).with_server_info(
            Implementation::new("mcp-pool-mock", env!("CARGO_PKG_VERSION")),
        )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let any = JsonObject::from_iter([("type".to_owned(), json!("object"))]);
        let echo = Tool::new("echo", "Answers with its arguments", any);
        let echo = echo.with_annotations(ToolAnnotations::new().read_only(true));
        Ok(ListToolsResult::with_all_items(vec![echo]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let answer = json!({
            "mock": &*self.server,
            "tool": request.name,
            "arguments": request.arguments.unwrap_or_default(),
        });
        Ok(CallToolResult::structured(answer).into())
    }
}
