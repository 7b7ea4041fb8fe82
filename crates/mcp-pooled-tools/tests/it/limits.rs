//! Limits over all servers of a manager.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use mcp_pooled_tools::{
    ConnectionManager, PoolSettings,
    config::{LimitSettings, Loader, Sharing},
    core::{
        Connected, Connector, Handshake, OpenError,
        connect::{BoxFuture, in_process::InProcess},
    },
};
use mcp_testkit::TestServer;
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

/// How many openings are under way, and how many were at once.
#[derive(Default)]
struct Openings {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A server whose sessions take a second to open.
struct Slow {
    server: Box<dyn Connector>,
    openings: Arc<Openings>,
}

impl Connector for Slow {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let now = self.openings.now.fetch_add(1, SeqCst) + 1;
            self.openings.most.fetch_max(now, SeqCst);
            sleep(Duration::from_secs(1)).await;
            let connected = self.server.connect(handshake).await;
            self.openings.now.fetch_sub(1, SeqCst);
            connected
        })
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_sessions_than_allowed_are_open_or_opening_over_all_servers() {
    let openings = Arc::<Openings>::default();
    let limits = LimitSettings::new()
        .max_total_connections(5)
        .max_connecting(2);
    let settings = PoolSettings::new()
        .min_connections(0)
        .max_connecting(4)
        .sharing(Sharing::Exclusive);
    let mut builder = ConnectionManager::builder().limits(limits);
    for name in ["a", "b", "c", "d"] {
        let slow = Slow {
            server: Box::new(InProcess::new(TestServer::new)),
            openings: Arc::clone(&openings),
        };
        builder = builder.connector(name, slow, settings.clone());
    }
    let manager = builder.build().await.unwrap();
    let mut callers = JoinSet::new();
    for name in ["a", "b", "c", "d", "a", "b", "c", "d"] {
        let tools = manager.tools(name).unwrap();
        callers.spawn(async move { tools.session().await });
    }
    // Callers with a session keep it, so the others wait until their time is up.
    let ended = callers.join_all().await;
    let held = ended.iter().filter(|session| session.is_ok()).count();
    assert_eq!((held, openings.most.load(SeqCst)), (5, 2));
    assert_eq!(manager.status().connections, 5);
    drop(ended);
    manager.shutdown().await;
}

#[tokio::test]
async fn limits_are_those_of_variables_over_those_of_the_file_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": { "a": { "command": "x" } } });
    std::fs::write(&file, servers.to_string()).unwrap();
    let limits = "[limits]\nmax_total_connections = 7\nmax_connecting = 3\n";
    std::fs::write(folder.path().join("mcp-pool.toml"), limits).unwrap();
    let of_file = Loader::new().file(&file);
    let variables = [
        ("MCP_MAX_TOTAL_CONNECTIONS", "9"),
        ("MCP_MAX_CONNECTING", "2"),
    ];
    let of_variables = Loader::new().environment(variables).file(&file);
    for (loader, expected) in [(of_file, 7), (of_variables, 9)] {
        let manager = ConnectionManager::from_loader(loader).await.unwrap();
        assert_eq!(manager.status().max_connections, expected);
        manager.shutdown().await;
    }
}
