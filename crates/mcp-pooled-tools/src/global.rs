//! The manager of a whole process, from its environment.

use tokio::sync::Mutex;

use crate::{error::Error, manager::ConnectionManager, tools::PooledTools};

/// Held across the making of the manager, so that two first callers do not make two.
static MANAGER: Mutex<Option<ConnectionManager>> = Mutex::const_new(None);

/// The tools of a server, by the manager of this process: made on first use by [`ConnectionManager::from_env`], and
/// shared by all who ask.
///
/// Its sessions run on the runtime on which they were first used.
///
/// ```no_run
/// # use mcp_pooled_tools::{Error, pooled_tools, shutdown};
/// # async fn example() -> Result<(), Error> {
/// let tools = pooled_tools("time").await?;
/// let now = tools.call("get_current_time", serde_json::json!({ "timezone": "UTC" })).await?;
/// shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`ConnectionManager::from_env`] and [`ConnectionManager::tools`].
///
/// # Cancel safety
/// May be dropped at any point.
pub async fn pooled_tools(server: &str) -> Result<PooledTools, Error> {
    let mut manager = MANAGER.lock().await;
    if manager.is_none() {
        *manager = Some(ConnectionManager::from_env().await?);
    }
    manager.as_ref().expect("made above").tools(server)
}

/// Shuts the manager of this process down, if there is one. A later [`pooled_tools`] makes another.
///
/// # Cancel safety
/// May be dropped at any point: what has begun goes on in the background.
pub async fn shutdown() {
    let manager = MANAGER.lock().await.take();
    if let Some(manager) = manager {
        manager.shutdown().await;
    }
}
