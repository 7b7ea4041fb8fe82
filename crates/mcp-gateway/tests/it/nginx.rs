//! Behind nginx, whose read timeout is shorter than the calls are silent.
//!
//! What is promised is a call of 90 s behind a read timeout of 30 s, with the default of 15 s between comments. That is how it
//! runs with `POOL_TEST_LONG` set; else all times are a thirtieth of it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, Error, PoolSettings, ServerConfig, config::Lifecycle,
    core::connect::in_process::InProcess,
};
use mcp_testkit::TestServer;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    common::{
        Served,
        programs::{free_port, listening},
    },
    sdk::variable,
};

const READ_TIMEOUT: Duration = Duration::from_secs(30);
const CALL: Duration = Duration::from_secs(90);
/// The default of the gateway.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

fn scaled(time: Duration) -> Duration {
    match std::env::var_os("POOL_TEST_LONG") {
        Some(_) => time,
        None => time / 30,
    }
}

/// A proxy to a port of this machine, which gives up on a stream that is silent for its read timeout.
async fn proxy(program: &str, folder: &Path, to: u16) -> (Child, u16) {
    let port = free_port().await;
    let (folder, timeout) = (folder.display(), scaled(READ_TIMEOUT).as_secs());
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
               proxy_read_timeout {timeout}s;
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

/// A silent call through nginx.
async fn silent_call(program: &str, era: Lifecycle, keep_alive: Duration) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let patient = || {
        let settings = PoolSettings::new().min_connections(0).retry_attempts(0);
        settings.call_timeout(3 * CALL)
    };
    let server = TestServer::new();
    let manager = ConnectionManager::builder()
        .connector("test", InProcess::new(move || server.clone()), patient())
        .build();
    let mut gateway = Gateway::builder(manager.await.unwrap());
    if keep_alive != KEEP_ALIVE {
        gateway = gateway.keep_alive(keep_alive);
    }
    let served = Served::start(gateway).await;
    let (mut nginx, port) = proxy(program, folder.path(), served.address.port()).await;
    let url = format!("http://127.0.0.1:{port}/mcp");
    let client = ConnectionManager::builder()
        .server("gateway", ServerConfig::http(url))
        .defaults(patient().lifecycle(era))
        .build()
        .await
        .unwrap();
    let tools = client.tools("gateway").unwrap();
    let (began, time) = (Instant::now(), scaled(CALL));
    let arguments = json!({ "ms": 1_000 * time.as_secs() });
    let called = tools.call("test__sleep", arguments).await;
    assert!(called.is_err() || began.elapsed() >= time);
    client.shutdown().await;
    nginx.kill().await.unwrap();
    served.stop().await;
    called.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_call_of_three_read_timeouts_of_nginx_ends_with_its_result_in_either_era() {
    let Some(program) = variable("POOL_TEST_NGINX") else {
        return;
    };
    let call = |era, keep_alive| silent_call(&program, era, keep_alive);
    let (legacy, modern, lost) = tokio::join!(
        call(Lifecycle::Initialize, scaled(KEEP_ALIVE)),
        call(Lifecycle::Discover, scaled(KEEP_ALIVE)),
        // Without comments in time nginx ends the stream: it is they that keep it.
        call(Lifecycle::Discover, 2 * CALL),
    );
    legacy.unwrap();
    modern.unwrap();
    assert!(lost.is_err());
}
