//! Behind nginx, whose read timeout is shorter than the calls are silent.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, Error, PoolSettings, ServerConfig};
use mcp_testkit::TestServer;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    common::{
        Served, manager,
        programs::{free_port, listening},
    },
    sdk::variable,
};

/// A proxy to a port of this machine, which gives up on a stream that is silent for a second.
async fn proxy(program: &str, folder: &Path, to: u16) -> (Child, u16) {
    let port = free_port().await;
    let folder = folder.display();
    let configuration = format!(
        "daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1;
         events {{ worker_connections 64; }}
         http {{
           access_log off;
           client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
           fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
           server {{
             listen 127.0.0.1:{port};
             location /mcp {{
               proxy_pass http://127.0.0.1:{to};
               proxy_http_version 1.1;
               proxy_read_timeout 1s;
             }}
           }}
         }}"
    );
    let file = format!("{folder}/nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut nginx = Command::new(program);
    nginx.args(["-c", &file, "-e", &format!("{folder}/errors")]);
    (listening(nginx, port).await, port)
}

/// A silent call of four seconds through nginx.
async fn silent_call(program: &str, keep_alive: Duration) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::builder(manager(&TestServer::new()).await).keep_alive(keep_alive);
    let served = Served::start(gateway).await;
    let (mut nginx, port) = proxy(program, folder.path(), served.address.port()).await;
    let client = ConnectionManager::builder()
        .server(
            "gateway",
            ServerConfig::http(format!("http://127.0.0.1:{port}/mcp")),
        )
        .defaults(PoolSettings::new().min_connections(0).retry_attempts(0))
        .build()
        .await
        .unwrap();
    let tools = client.tools("gateway").unwrap();
    let began = Instant::now();
    let called = tools.call("test__sleep", json!({ "ms": 4_000 })).await;
    assert!(called.is_err() || began.elapsed() >= Duration::from_secs(4));
    client.shutdown().await;
    nginx.kill().await.unwrap();
    served.stop().await;
    called.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_keep_a_silent_call_alive_beyond_the_read_timeout_of_nginx() {
    let Some(program) = variable("POOL_TEST_NGINX") else {
        return;
    };
    let kept = silent_call(&program, Duration::from_millis(300)).await;
    kept.unwrap();
    // Without comments in time nginx ends the stream: it is they that keep it.
    let lost = silent_call(&program, Duration::from_secs(15)).await;
    assert!(lost.is_err());
}
