//! The server of `serve --demo`: it is part of this program, so that a client can be tried without any configuration.

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
        ToolAnnotations,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

/// A server with the tools `add` and `echo`.
#[derive(Clone, Debug)]
pub(super) struct Demo;

impl ServerHandler for Demo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build()).with_server_info(
            Implementation::new("mcp-pool-demo", env!("CARGO_PKG_VERSION")),
        )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let number = json!({ "type": "number" });
        let numbers = json!({ "a": number, "b": number });
        let text = json!({ "message": { "type": "string" } });
        Ok(ListToolsResult::with_all_items(vec![
            tool("add", "Adds two numbers", numbers),
            tool("echo", "Returns its message", text),
        ]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let number = |name: &str| arguments[name].as_f64();
        let missing = |what: &str| ErrorData::invalid_params(format!("{what} is missing"), None);
        Ok(match &*request.name {
            "add" => {
                let (a, b) = (number("a"), number("b"));
                let sum = a.ok_or_else(|| missing("number `a`"))?
                    + b.ok_or_else(|| missing("number `b`"))?;
                CallToolResult::structured(json!({ "sum": sum })).into()
            }
            "echo" => {
                let message = arguments["message"].as_str();
                let message = message.ok_or_else(|| missing("text `message`"))?;
                CallToolResult::success(vec![ContentBlock::text(message)]).into()
            }
            name => {
                let message = format!("there is no tool `{}`", name.escape_debug());
                return Err(ErrorData::invalid_params(message, None));
            }
        })
    }
}

fn tool(name: &'static str, description: &'static str, properties: Value) -> Tool {
    let required: Vec<_> = properties
        .as_object()
        .into_iter()
        .flat_map(|all| all.keys())
        .collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => unreachable!("it was made as an object"),
    };
    Tool::new(name, description, schema).with_annotations(ToolAnnotations::new().read_only(true))
}
