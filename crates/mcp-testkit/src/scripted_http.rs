//! An HTTP server whose replies a test scripts, byte by byte if needed.
//!
//! Requests without a script are answered like a small legacy server does: JSON bodies, sessions, one tool `echo`.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `POST`, `GET` or `DELETE`.
    pub verb: String,
    /// Headers with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; null if it is no JSON.
    pub body: Value,
}

impl Asked {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The method of JSON-RPC; empty if there is none.
    #[must_use]
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// The id of the request; null if there is none.
    #[must_use]
    pub fn id(&self) -> &Value {
        &self.body["id"]
    }

    /// A reply to this request.
    #[must_use]
    pub fn reply(&self, result: Value) -> Value {
        json!({"jsonrpc": "2.0", "id": self.id(), "result": result})
    }
}

/// A piece of an answer.
#[derive(Clone, Debug)]
enum Part {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// The same bytes over and over, until the client goes.
    Flood(Vec<u8>),
    Live(Live),
    Hang,
}

/// What a test sends on a stream while it is open. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<(Mutex<Vec<u8>>, Notify)>);

impl Live {
    /// Nothing to send yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends bytes on the stream, once it is open.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.0.0.lock().extend_from_slice(bytes.as_ref());
        self.0.1.notify_one();
    }

    async fn next(&self) -> Vec<u8> {
        loop {
            let bytes = std::mem::take(&mut *self.0.0.lock());
            if !bytes.is_empty() {
                return bytes;
            }
            self.0.1.notified().await;
        }
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    parts: Vec<Part>,
    /// Where the connection is cut instead of ended as it should be.
    cut: bool,
    chunked: bool,
    /// Not even the head is sent.
    is_silent: bool,
}

impl Answer {
    /// A status with a text.
    #[must_use]
    pub fn status(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain").bytes(text)
    }

    /// A JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json").bytes(body.to_string())
    }

    /// The beginning of an event stream.
    #[must_use]
    pub fn events() -> Self {
        let mut answer = Self::new(200, "text/event-stream");
        answer.chunked = true;
        answer
    }

    /// A status and a content type; none if it is empty.
    #[must_use]
    pub fn new(status: u16, content_type: &str) -> Self {
        let answer = Self {
            status,
            headers: Vec::new(),
            parts: Vec::new(),
            cut: false,
            chunked: false,
            is_silent: false,
        };
        match content_type {
            "" => answer,
            content_type => answer.header("Content-Type", content_type),
        }
    }

    /// Adds a header, or puts it in place of another of this name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds bytes; of an event stream, a chunk.
    #[must_use]
    pub fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.parts.push(Part::Bytes(bytes.as_ref().to_vec()));
        self
    }

    /// Adds an event that carries a message.
    #[must_use]
    pub fn event(self, message: &Value) -> Self {
        self.bytes(format!("event: message\ndata: {message}\n\n"))
    }

    /// Waits before it goes on.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.parts.push(Part::Pause(pause));
        self
    }

    /// Sends the same over and over, until the client goes.
    #[must_use]
    pub fn flood(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.parts.push(Part::Flood(bytes.as_ref().to_vec()));
        self
    }

    /// Goes on with what the test sends, and does not end.
    #[must_use]
    pub fn live(mut self, live: &Live) -> Self {
        self.parts.push(Part::Live(live.clone()));
        self
    }

    /// Never says anything, not even a status.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.is_silent = true;
        self
    }

    /// Never ends, and says nothing more.
    #[must_use]
    pub fn hang(mut self) -> Self {
        self.parts.push(Part::Hang);
        self
    }

    /// Breaks off after what was added, as if the server had died.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }
}

impl std::fmt::Debug for ScriptedHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedHttp")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

type Script = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// A scripted server. It ends when it is dropped.
pub struct ScriptedHttp {
    url: String,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    script: Box<Script>,
    sessions: Mutex<HashSet<String>>,
    next_session: AtomicU64,
    asked: Mutex<Vec<Asked>>,
    open: AtomicU64,
}

impl ScriptedHttp {
    /// Starts a server on a port of its own. `script` answers what it wants to.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn start(script: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            script: Box::new(script),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            asked: Mutex::default(),
            open: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, Arc::clone(&state)));
        Self {
            url: format!("http://{address}/mcp"),
            state,
            _tasks: tasks,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().clone()
    }

    /// How often a method was asked for; `GET` and `DELETE` are methods, too.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        let asked = self.state.asked.lock();
        asked
            .iter()
            .filter(|asked| asked.method() == method || asked.verb == method)
            .count()
    }

    /// Answers that are under way.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.state.open.load(Relaxed)
    }

    /// Forgets all sessions, as a server does that restarts.
    pub fn forget_sessions(&self) {
        self.state.sessions.lock().clear();
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _ = serve(stream, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Counts an answer that is under way.
struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

async fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await? {
        state.asked.lock().push(asked.clone());
        let scripted = (state.script)(&asked);
        let answer = scripted.unwrap_or_else(|| state.ordinary(&asked));
        state.open.fetch_add(1, Relaxed);
        let _open = Open(&state.open);
        let (mut reader, mut writer) = stream.get_mut().split();
        let mut gone = [0];
        tokio::select! {
            written = write(&mut writer, &answer) => written?,
            // A client that goes while it is answered; none here sends one request before the answer to another.
            _ = reader.read(&mut gone) => return Ok(()),
        }
        if answer.cut {
            return Ok(());
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let verb = line.split(' ').next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut asked = Asked {
        verb,
        headers,
        body: Value::Null,
    };
    let length = asked.header("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    asked.body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(asked))
}

async fn write<W: AsyncWriteExt + Unpin>(writer: &mut W, answer: &Answer) -> std::io::Result<()> {
    if answer.is_silent {
        std::future::pending::<()>().await;
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length: usize = answer
        .parts
        .iter()
        .map(|part| match part {
            Part::Bytes(bytes) => bytes.len(),
            _ => 0,
        })
        .sum();
    let given = answer
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length");
    if answer.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else if !given {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes()).await?;
    for part in &answer.parts {
        match part {
            Part::Bytes(bytes) => chunk(writer, answer, bytes).await?,
            Part::Pause(pause) => sleep(*pause).await,
            Part::Flood(bytes) => loop {
                chunk(writer, answer, bytes).await?;
            },
            Part::Live(live) => loop {
                let bytes = live.next().await;
                chunk(writer, answer, &bytes).await?;
            },
            Part::Hang => std::future::pending().await,
        }
    }
    if answer.chunked && !answer.cut {
        writer.write_all(b"0\r\n\r\n").await?;
    }
    writer.flush().await
}

async fn chunk<W: AsyncWriteExt + Unpin>(
    writer: &mut W,
    answer: &Answer,
    bytes: &[u8],
) -> std::io::Result<()> {
    if !answer.chunked {
        return writer.write_all(bytes).await;
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    writer.write_all(&chunk).await
}

impl State {
    fn ordinary(&self, asked: &Asked) -> Answer {
        match asked.verb.as_str() {
            "GET" => return Answer::new(405, ""),
            "DELETE" => return Answer::new(200, ""),
            _ => {}
        }
        let (id, method) = (asked.id(), asked.method());
        if method != "initialize" && !id.is_null() && method != "server/discover" {
            let known = asked.header("mcp-session-id");
            if known.is_none_or(|session| !self.sessions.lock().contains(session)) {
                return Answer::status(404, "Session not found");
            }
        }
        let result = match method {
            _ if id.is_null() => return Answer::new(202, ""),
            "initialize" => {
                let session = format!("session-{}", self.next_session.fetch_add(1, Relaxed));
                self.sessions.lock().insert(session.clone());
                let reply = asked.reply(initialized(asked));
                return Answer::json(200, &reply).header("Mcp-Session-Id", &session);
            }
            "ping" => json!({}),
            "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
            "tools/call" => {
                let text = &asked.body["params"]["arguments"]["message"];
                json!({"content": [{"type": "text", "text": text}]})
            }
            method => {
                let message = format!("Method not found: {method}");
                let error = json!({"code": -32601, "message": message});
                let body = json!({"jsonrpc": "2.0", "id": id, "error": error});
                return Answer::json(200, &body);
            }
        };
        Answer::json(200, &asked.reply(result))
    }
}

/// The result of `initialize`.
fn initialized(asked: &Asked) -> Value {
    json!({
        "protocolVersion": asked.body["params"]["protocolVersion"],
        "capabilities": {"tools": {"listChanged": true}},
        "serverInfo": {"name": "scripted", "version": "1"},
    })
}
