//! Bare rmcp and the pool, side by side over servers that others wrote: whatever a server says, both hand on the same.
//!
//! `.ci/run` installs the servers and names them in variables, as for `real_servers.rs`.

use std::{path::Path, process::Stdio, time::Duration};

use mcp_pooled_tools::{ConnectionManager, Lifecycle, PoolSettings, PooledTools, ServerConfig};
use rmcp::{
    ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, GetPromptRequestParams, ProtocolVersion, ReadResourceRequestParams,
    },
    service::{ClientLifecycleMode, RunningService, ServiceError},
    transport::{StreamableHttpClientTransport, TokioChildProcess},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// A server, and what is called of it.
struct Case {
    command: Vec<String>,
    /// How it is started to listen on a port: more words, and whether the port is one of them or a variable.
    stdio: &'static [&'static str],
    http: &'static [&'static str],
    eras: &'static [Lifecycle],
    calls: Vec<(&'static str, Value)>,
    resources: Vec<&'static str>,
    prompts: Vec<(&'static str, Value)>,
}

/// The words of a variable that `.ci/run` sets.
fn words(variable: &str) -> Option<Vec<String>> {
    match std::env::var(variable) {
        Ok(command) => Some(command.split_whitespace().map(str::to_owned).collect()),
        Err(_) if std::env::var("POOL_TEST_REAL_SERVERS").is_ok_and(|v| v == "required") => {
            panic!("{variable} is not set")
        }
        Err(_) => {
            eprintln!("skipped: {variable} is not set");
            None
        }
    }
}

fn everything() -> Option<Case> {
    Some(Case {
        command: words("POOL_TEST_EVERYTHING")?,
        stdio: &["stdio"],
        http: &["streamableHttp"],
        eras: &[Lifecycle::Initialize],
        calls: vec![
            ("echo", json!({ "message": "☀ \u{1f}" })),
            ("get-sum", json!({ "a": 1.5, "b": -2 })),
            ("get-tiny-image", json!({})),
            (
                "get-annotated-message",
                json!({ "messageType": "error", "includeImage": true }),
            ),
            ("get-resource-links", json!({ "count": 3 })),
            ("get-structured-content", json!({ "location": "Chicago" })),
            ("echo", json!({ "message": 7 })),
            ("no-such-tool", json!({})),
        ],
        resources: vec![
            "demo://resource/static/document/features.md",
            "demo://nowhere",
        ],
        prompts: vec![
            ("simple-prompt", json!({})),
            ("args-prompt", json!({ "city": "Bern", "state": "BE" })),
            ("args-prompt", json!({})),
            ("no-such-prompt", json!({})),
        ],
    })
}

/// The servers in `servers/`, on the Python SDK or on FastMCP.
fn python(script: &str) -> Option<Case> {
    let mut command = words("POOL_TEST_PYTHON")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/servers")
        .join(script);
    command.push(script.to_str().unwrap().to_owned());
    Some(Case {
        command,
        stdio: &["stdio"],
        http: &["http"],
        eras: &[Lifecycle::Initialize, Lifecycle::Discover],
        calls: vec![
            ("add", json!({ "a": 40 })),
            ("add", json!({ "a": "no number" })),
            ("weather", json!({ "city": "Zürich" })),
            ("picture", json!({})),
            ("fails", json!({ "why": "because" })),
            ("counts", json!({ "to": 3 })),
            ("no-such-tool", json!({})),
        ],
        resources: vec![
            "memo://today",
            "memo://pixel",
            "memo://of/you",
            "memo://nowhere",
        ],
        prompts: vec![
            ("greet", json!({ "whom": "Ada" })),
            ("greet", json!({ "whom": "Ada", "how": "briefly" })),
            ("greet", json!({})),
            ("no-such-prompt", json!({})),
        ],
    })
}

impl Case {
    async fn on_stdio(&self) {
        let words = self
            .command
            .iter()
            .map(String::as_str)
            .chain(self.stdio.iter().copied());
        let words: Vec<_> = words.collect();
        for era in self.eras {
            let mut command = Command::new(words[0]);
            // The small environment that the pool gives to a server.
            command.args(&words[1..]).env_clear();
            command.envs(
                ["PATH", "HOME"]
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var(name).ok()?))),
            );
            let (child, _) = TokioChildProcess::builder(command)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let bare = ().serve_with_lifecycle(child, mode(*era)).await.unwrap();
            let server = ServerConfig::stdio(words[0]).args(words[1..].iter().copied());
            self.compare(bare, server, *era).await;
        }
    }

    async fn on_http(&self) {
        let (_child, url) = self.listen().await;
        for era in self.eras {
            let transport = StreamableHttpClientTransport::from_uri(url.clone());
            let bare = ().serve_with_lifecycle(transport, mode(*era)).await.unwrap();
            self.compare(bare, ServerConfig::http(&url), *era).await;
        }
    }

    /// Starts it on a port of its own, and waits until it listens.
    async fn listen(&self) -> (Child, String) {
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .args(self.http)
            .arg(port.to_string())
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), listens)
            .await
            .expect("it listens");
        (child, format!("http://127.0.0.1:{port}/mcp"))
    }

    async fn compare(
        &self,
        bare: RunningService<RoleClient, ()>,
        server: ServerConfig,
        era: Lifecycle,
    ) {
        let manager = ConnectionManager::builder()
            .server("server", server)
            .defaults(PoolSettings::new().lifecycle(era).min_connections(0))
            .build()
            .await
            .unwrap();
        let pooled = manager.tools("server").unwrap();
        let seen = self.ask(&Plain(&bare)).await;
        let through_the_pool = self.ask(&pooled).await;
        for ((what, bare), (_, pooled)) in seen.iter().zip(&through_the_pool) {
            assert_eq!(bare, pooled, "{what}, {era:?}");
        }
        let errors = seen
            .iter()
            .filter(|(_, reply)| reply.get("error").is_some())
            .count();
        assert!(
            errors < seen.len() / 2,
            "hardly anything was answered: {seen:?}"
        );
        bare.cancel().await.unwrap();
        manager.shutdown().await;
    }

    /// Every list and every call, in JSON.
    async fn ask(&self, client: &impl Client) -> Vec<(String, Value)> {
        let mut seen = client.lists().await;
        for (name, arguments) in &self.calls {
            let params = CallToolRequestParams::new(*name)
                .with_arguments(arguments.as_object().cloned().unwrap());
            seen.push((
                format!("tool {name} {arguments}"),
                client.call(params).await,
            ));
        }
        for uri in &self.resources {
            let params = ReadResourceRequestParams::new(*uri);
            seen.push((format!("resource {uri}"), client.read(params).await));
        }
        for (name, arguments) in &self.prompts {
            let params = GetPromptRequestParams::new(*name)
                .with_arguments(arguments.as_object().cloned().unwrap());
            seen.push((
                format!("prompt {name} {arguments}"),
                client.prompt(params).await,
            ));
        }
        seen
    }
}

fn mode(era: Lifecycle) -> ClientLifecycleMode {
    match era {
        Lifecycle::Initialize => ClientLifecycleMode::Initialize,
        _ => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    }
}

/// What both have, with their own errors.
trait Client {
    async fn lists(&self) -> Vec<(String, Value)>;
    async fn call(&self, params: CallToolRequestParams) -> Value;
    async fn read(&self, params: ReadResourceRequestParams) -> Value;
    async fn prompt(&self, params: GetPromptRequestParams) -> Value;
}

struct Plain<'a>(&'a RunningService<RoleClient, ()>);

fn seen<T: Serialize, E>(reply: Result<T, E>, error: impl Fn(E) -> Value) -> Value {
    match reply {
        Ok(reply) => json!({ "ok": reply }),
        Err(failure) => json!({ "error": error(failure) }),
    }
}

macro_rules! client {
    ($type:ty, $this:ident => $client:expr, $error:expr) => {
        impl Client for $type {
            async fn lists(&self) -> Vec<(String, Value)> {
                let $this = self;
                let client = $client;
                vec![
                    ("tools".into(), seen(client.list_all_tools().await, $error)),
                    (
                        "prompts".into(),
                        seen(client.list_all_prompts().await, $error),
                    ),
                    (
                        "resources".into(),
                        seen(client.list_all_resources().await, $error),
                    ),
                    (
                        "templates".into(),
                        seen(client.list_all_resource_templates().await, $error),
                    ),
                    ("server".into(), json!(client.peer_info().as_deref())),
                ]
            }
            async fn call(&self, params: CallToolRequestParams) -> Value {
                let $this = self;
                seen($client.call_tool(params).await, $error)
            }
            async fn read(&self, params: ReadResourceRequestParams) -> Value {
                let $this = self;
                seen($client.read_resource(params).await, $error)
            }
            async fn prompt(&self, params: GetPromptRequestParams) -> Value {
                let $this = self;
                seen($client.get_prompt(params).await, $error)
            }
        }
    };
}

client!(Plain<'_>, this => this.0, |error| match error {
    ServiceError::McpError(error) => json!(error),
    other => json!(other.to_string()),
});
client!(PooledTools, this => this, |error: mcp_pooled_tools::Error| match error.protocol() {
    Some(error) => json!(error),
    None => json!(error.to_string()),
});

macro_rules! side_by_side {
    ($($name:ident: $case:expr, $how:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(case) = $case {
                case.$how().await;
            }
        }
    )*};
}

side_by_side! {
    server_everything_says_the_same_over_stdio: everything(), on_stdio;
    server_everything_says_the_same_over_http: everything(), on_http;
    a_server_on_the_python_sdk_says_the_same_over_stdio: python("with_sdk.py"), on_stdio;
    a_server_on_the_python_sdk_says_the_same_over_http: python("with_sdk.py"), on_http;
    a_server_on_fastmcp_says_the_same_over_stdio: python("with_fastmcp.py"), on_stdio;
    a_server_on_fastmcp_says_the_same_over_http: python("with_fastmcp.py"), on_http;
}
