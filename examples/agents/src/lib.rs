//! What both agents have: two servers behind one aggregate.

use mcp_pooled_tools::{ConnectionManager, Error, ServerConfig};

/// A manager with two servers, which are this program itself.
///
/// # Errors
/// If the path of this program is not known, or the configuration cannot be used.
pub async fn servers() -> anyhow::Result<ConnectionManager> {
    let program = std::env::current_exe()?;
    let server = || ServerConfig::stdio(program.to_string_lossy()).arg("--mcp-testkit-server");
    let manager: Result<_, Error> = ConnectionManager::builder()
        .server("sums", server())
        .server("notes", server())
        .build()
        .await;
    Ok(manager?)
}

/// The question for the model, and what a model that understood it does first.
pub const QUESTION: &str = "What is 2 + 3?";
/// The tool that the model calls.
pub const TOOL: &str = "sums__add";
