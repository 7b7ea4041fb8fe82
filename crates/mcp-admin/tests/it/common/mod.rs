//! What the tests of this crate share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{net::SocketAddr, time::Duration};

use mcp_admin::{Admin, Token};
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, ServerConfig, core::connect::in_process::InProcess,
};
use mcp_testkit::TestServer;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// Long enough for anything that ends.
pub const LONG: Duration = Duration::from_secs(20);

pub const TOKEN: &str = "a-token-that-nobody-guesses";

pub fn token() -> Token {
    Token::new(TOKEN).expect("it is long enough")
}

/// A status API that serves.
pub struct Served {
    pub address: SocketAddr,
    pub manager: ConnectionManager,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    client: Client,
}

impl Served {
    /// At a free port, with whatever `with` adds.
    pub async fn start(manager: ConnectionManager, with: impl FnOnce(Admin) -> Admin) -> Self {
        let admin = with(Admin::new(manager.clone()).address("127.0.0.1:0"));
        let bound = admin.bind().await.expect("loopback can be bound");
        let address = bound.local_addr();
        let (end, ended) = oneshot::channel();
        #[allow(clippy::disallowed_methods, reason = "joined at the end")]
        let serving = tokio::spawn(bound.serve(async {
            let _ = ended.await;
        }));
        Self {
            address,
            manager,
            end,
            serving,
            client: Client::new(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).timeout(LONG)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        json(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str) -> (StatusCode, Value) {
        json(self.request(Method::POST, path)).await
    }

    /// What is answered to these bytes.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = Vec::new();
        // Reset, if it has not read everything.
        let _ = timeout(LONG, stream.read_to_end(&mut answer))
            .await
            .expect("it answers");
        String::from_utf8(answer).expect("text")
    }

    /// Ends it, and waits until it has ended.
    pub async fn end(self) {
        // It may have ended by itself.
        let _ = self.end.send(());
        timeout(LONG, self.serving)
            .await
            .expect("it ends")
            .expect("without a panic");
    }
}

pub async fn json(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("it answers");
    let status = response.status();
    (status, read(response).await)
}

/// The JSON of an answer, which says that it is JSON.
pub async fn read(response: Response) -> Value {
    let kind = response.headers()["content-type"].to_str().expect("text");
    let expected = if response.status().is_success() || response.status() == 503 {
        "json"
    } else {
        "application/problem+json"
    };
    assert!(
        kind.ends_with(expected),
        "{kind} with {}",
        response.status()
    );
    response.json().await.expect("JSON")
}

/// The test server as a real child process, with these faults.
pub fn process(faults: &[&str]) -> ServerConfig {
    ServerConfig::stdio(mcp_testkit::binary().to_string_lossy()).args(faults.iter().copied())
}

/// A manager of one server, `test`, in this process.
pub async fn in_process(server: &TestServer, settings: PoolSettings) -> ConnectionManager {
    let server = server.clone();
    ConnectionManager::builder()
        .connector(
            "test",
            InProcess::new(move || server.clone()),
            settings.over(PoolSettings::new().min_connections(0)),
        )
        .build()
        .await
        .expect("the settings of a test are valid")
}
