//! A configuration in a file that a manager follows.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{fs, path::PathBuf};

use mcp_pooled_tools::{ConnectionManager, ManagerStatus, PooledTools, config::Loader};
use mcp_testkit::process as processes;
use serde_json::{Value, json};

use super::{LONG, whoami};

/// A folder with an `.mcp.json`, and a manager that follows it.
pub struct Project {
    pub folder: tempfile::TempDir,
    pub manager: ConnectionManager,
}

impl Project {
    pub async fn new(servers: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".mcp.json"), file(&servers)).unwrap();
        let loader = Loader::new().file(folder.path().join(".mcp.json"));
        let manager = ConnectionManager::from_loader(loader).await.unwrap();
        manager.watch().unwrap();
        Self { folder, manager }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join(".mcp.json")
    }

    pub fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// Changes the file and waits until the manager says that it has taken it over.
    pub async fn change(&self, servers: Value) -> ManagerStatus {
        let before = self.manager.status().reloads;
        self.write(&file(&servers));
        self.until(|status| status.reloads > before).await
    }

    pub async fn until(&self, holds: impl Fn(&ManagerStatus) -> bool) -> ManagerStatus {
        let met = processes::wait_until(LONG, || holds(&self.manager.status())).await;
        let status = self.manager.status();
        assert!(met, "{status:#?}");
        status
    }

    pub fn pool(&self, server: &str) -> mcp_pooled_tools::PoolStatus {
        self.manager.pool_status(server).unwrap()
    }
}

pub fn file(servers: &Value) -> String {
    json!({ "mcpServers": servers }).to_string()
}

/// A server as a real child process, found by its marker.
pub fn server(marker: &str, pool: Value) -> Value {
    json!({
        "command": mcp_testkit::binary(),
        "args": ["--marker", marker],
        "pool": pool,
    })
}

pub fn unique(name: &str) -> String {
    format!("reload-{name}-{}", std::process::id())
}

/// The process that answers, and what it was started with.
pub async fn who(tools: &PooledTools) -> (u64, String) {
    let answer = whoami(&tools.call("whoami", json!({})).await.unwrap());
    (answer["pid"].as_u64().unwrap(), answer["argv"].to_string())
}
