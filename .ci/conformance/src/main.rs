//! The client that the conformance suite tests: an ordinary program over the pool.
//!
//! The suite starts it once per scenario, appends the URL of its server to the command, and names the scenario in the
//! environment. What the scenario wants to see is done as any program would do it: one manager, one server, its tools
//! listed and called. Nothing here works round the pool.

mod consent;
mod handler;

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use handler::AcceptsDefaults;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Lifecycle, PoolSettings, PooledTools, ServerConfig, Validate,
};
use rmcp::model::{
    CallToolRequestParams, GetPromptRequestParams, JsonObject, ReadResourceRequestParams, Tool,
};
use serde::Deserialize;
use serde_json::{Value, json};

const SERVER: &str = "conformance";

/// What a scenario passes to its client beside the URL.
#[derive(Debug, Default, Deserialize)]
struct Context {
    client_id: Option<String>,
    client_secret: Option<String>,
    issuer: Option<String>,
    #[serde(default, rename = "toolCalls")]
    tool_calls: Vec<PlannedCall>,
}

#[derive(Debug, Deserialize)]
struct PlannedCall {
    name: String,
    arguments: JsonObject,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let url = env::args()
        .nth(1)
        .context("the URL of the server is the argument")?;
    let scenario = env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let context = match env::var("MCP_CONFORMANCE_CONTEXT") {
        Ok(text) => serde_json::from_str(&text).context("MCP_CONFORMANCE_CONTEXT")?,
        Err(_) => Context::default(),
    };
    let manager = manager(&url, &scenario, &context).await?;
    let outcome = run(&manager.tools(SERVER)?, &scenario, context).await;
    manager.shutdown().await;
    outcome
}

async fn manager(url: &str, scenario: &str, context: &Context) -> Result<ConnectionManager> {
    let modern =
        env::var("MCP_CONFORMANCE_PROTOCOL_VERSION").is_ok_and(|v| v.as_str() > "2025-11-25");
    let settings = PoolSettings::new()
        .lifecycle(if modern {
            Lifecycle::Discover
        } else {
            Lifecycle::Initialize
        })
        .validate(match scenario {
            // What looks at schemas most closely must not fetch anything either.
            "json-schema-ref-no-deref" => Validate::Both,
            _ => Validate::Off,
        })
        .call_timeout(Duration::from_secs(20));
    let mut builder = ConnectionManager::builder()
        .server(SERVER, ServerConfig::http(url))
        .defaults(settings);
    if scenario.starts_with("auth/") {
        let source = Arc::new(consent::source(url, context));
        builder = builder.header_from(SERVER, "Authorization", source);
    }
    Ok(builder.build().await?)
}

/// Lists everything and calls every tool, or those that the scenario plans.
async fn run(tools: &PooledTools, scenario: &str, context: Context) -> Result<()> {
    let listed = tools.list_all_tools().await?;
    if scenario == "json-schema-2020-12-preservation" {
        let focal = listed.first().context("a tool with a schema")?;
        let arguments = json!({ "schema": focal.input_schema });
        tools.call("json_schema_echo", arguments).await?;
        return Ok(());
    }
    let calls = if context.tool_calls.is_empty() {
        listed.iter().map(call_of).collect()
    } else {
        let planned = context.tool_calls.into_iter();
        planned
            .map(|call| CallToolRequestParams::new(call.name).with_arguments(call.arguments))
            .collect::<Vec<_>>()
    };
    let asks = scenario.starts_with("elicitation") || scenario.starts_with("sep-2322");
    for params in calls {
        let options = CallOptions::new();
        let options = if asks {
            options.handler(AcceptsDefaults)
        } else {
            options
        };
        tools.call_tool_with(params, options).await?;
    }
    if scenario == "http-standard-headers" {
        for resource in tools.list_all_resources().await? {
            tools
                .read_resource(ReadResourceRequestParams::new(resource.uri.clone()))
                .await?;
        }
        for prompt in tools.list_all_prompts().await? {
            tools
                .get_prompt(GetPromptRequestParams::new(prompt.name))
                .await?;
        }
    }
    Ok(())
}

/// A call with something plausible for every argument that the tool requires.
fn call_of(tool: &Tool) -> CallToolRequestParams {
    let params = CallToolRequestParams::new(tool.name.clone());
    let required = tool.input_schema.get("required").and_then(Value::as_array);
    let Some(required) = required.filter(|required| !required.is_empty()) else {
        return params;
    };
    let arguments = required.iter().filter_map(Value::as_str).map(|name| {
        let schema = tool
            .input_schema
            .get("properties")
            .and_then(|all| all.get(name));
        let kind = schema.and_then(|schema| schema.get("type")?.as_str());
        let value = match kind {
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            Some("null") => Value::Null,
            _ => json!("test"),
        };
        (name.to_owned(), value)
    });
    params.with_arguments(arguments.collect())
}
