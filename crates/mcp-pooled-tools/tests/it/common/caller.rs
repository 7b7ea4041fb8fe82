//! A caller with a handler that answers server requests.

#![allow(
    dead_code,
    deprecated,
    unreachable_pub,
    reason = "each test file uses a part; servers still ask for sampling and roots"
)]

use std::time::Duration;

use mcp_pooled_tools::{CallOptions, Error, PooledTools};
use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        CallToolRequestParams, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, ElicitationAction, Implementation, ListRootsResult,
        Root, SamplingMessage,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::common::text;

/// Everything that the tool `ask` may want to know.
pub const EVERYTHING: [&str; 3] = ["elicitation", "roots", "sampling"];

/// A call of the tool `ask`.
pub fn asking(what: &[&str]) -> CallToolRequestParams {
    let arguments = json!({ "what": what });
    CallToolRequestParams::new("ask")
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

/// Has the server ask, and says who answered what.
pub async fn ask(tools: &PooledTools, what: &[&str], options: CallOptions) -> Result<Value, Error> {
    let answers = tools.call_tool_with(asking(what), options).await?;
    Ok(serde_json::from_str(&text(&answers)).expect("the answers are JSON"))
}

/// Answers everything with its name.
pub struct Caller {
    pub name: &'static str,
    /// How long it takes to answer.
    pub thinks: Duration,
}

impl ClientHandler for Caller {
    fn get_info(&self) -> ClientConfig {
        let everything = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
        ClientConfig::new(
            serde_json::from_value(everything).expect("capabilities"),
            Implementation::new("caller", "1"),
        )
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        sleep(self.thinks).await;
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": self.name })))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        sleep(self.thinks).await;
        Ok(ListRootsResult::new(vec![Root::new(self.name)]))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        sleep(self.thinks).await;
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("hello"),
            self.name.into(),
        ))
    }
}
