//! Compiling is all that this program is for.

use mcp_admin as _;
use rig_mcp as _;
use rmcp as _;
use sqlx as _;
use tonic as _;

use mcp_pooled_tools::ConnectionManager;

#[tokio::main]
async fn main() {
    let _ = ConnectionManager::builder();
    let _ = reqwest::Client::builder().cookie_store(true);
    let _ = axum::Router::<()>::new();
    let _ = (time::Duration::SECOND, chrono::Duration::zero(), uuid::Uuid::nil());
    let _ = serde_json::json!({});
}
