//! Raw requests: what comes back is what the server wrote, and whoever goes away leaves nothing behind.

use crate::common;

use common::{pool_on, quiet, within};
use mcp_pool_core::{
    RawRequest, Session,
    rmcp::{ServiceError, model::CallToolResult},
};
use mcp_testkit::TestServer;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

async fn call(session: &Session, params: &Value) -> Result<Value, ServiceError> {
    let params = raw(params);
    let request = RawRequest::new("tools/call").params(&params);
    let result = within(session.request(request)).await?;
    Ok(serde_json::from_str(result.get()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_raw_call_returns_the_result_of_the_tool() {
    let pool = pool_on(&TestServer::new(), quiet());
    let lease = pool.acquire().await.unwrap();
    let result = call(
        &lease,
        &json!({"name": "echo", "arguments": {"message": "hi"}}),
    )
    .await;
    assert_eq!(result.unwrap()["content"][0]["text"], "hi");
    let params = raw(&json!({"name": "echo", "arguments": {"message": "typed"}}));
    let request = RawRequest::new("tools/call").params(&params);
    let result = lease.request(request).await.unwrap();
    let typed: CallToolResult = lease.parse(result).await.unwrap();
    assert_eq!(common::text(&typed), "typed");
}
