//! A transport of JSON lines that can misbehave below the protocol.
//!
//! A frozen stdin, a closed stdout or noise between two replies happens below rmcp. This transport therefore owns both streams,
//! and its [`Connection`] is the handle by which tools break them. It counts every request, also those that rmcp answers by
//! itself.

use std::{
    collections::HashSet,
    fmt,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer,
    model::{ClientJsonRpcMessage, ClientRequest, RequestId, ServerJsonRpcMessage, ServerResult},
    transport::Transport,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{Faults, Hang, TestServer, stdout_noise};

type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// The process in which the server runs, which decides what an exit does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostProcess {
    /// A process of its own: exits are real, and it may break the standard streams.
    Own,
    /// The test's process: an exit drops the connection.
    Shared,
}

/// A connection, as tools and faults break it.
pub(crate) struct Connection {
    output: tokio::sync::Mutex<Option<Output>>,
    faults: Faults,
    host: HostProcess,
    /// A tool has been called.
    called: CancellationToken,
    /// The client will send no more: tools at work should stop.
    ended: CancellationToken,
    /// Nothing is read or answered any more, though the process lives.
    frozen: CancellationToken,
    /// The connection is dropped.
    gone: CancellationToken,
    muted: AtomicBool,
    open_calls: Mutex<HashSet<RequestId>>,
    answered_calls: AtomicU64,
}

/// The rmcp transport over a [`Connection`] and the stream it reads.
pub(crate) struct LineTransport<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    connection: Arc<Connection>,
    server: TestServer,
    answers: JoinSet<()>,
}

impl Connection {
    pub(crate) fn new(output: Output, faults: Faults, host: HostProcess) -> Self {
        Self {
            output: tokio::sync::Mutex::new(Some(output)),
            faults,
            host,
            called: CancellationToken::new(),
            ended: CancellationToken::new(),
            frozen: CancellationToken::new(),
            gone: CancellationToken::new(),
            muted: AtomicBool::new(false),
            open_calls: Mutex::default(),
            answered_calls: AtomicU64::new(0),
        }
    }

    /// Resolves when a tool has been called.
    pub(crate) async fn called(&self) {
        self.called.cancelled().await;
    }

    /// Resolves when the client will send no more.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Resolves when the connection was dropped from this side.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Stops reading and answering.
    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }

    /// Ends the process or the connection.
    pub(crate) async fn exit(&self, code: u8) {
        // Ahead of the lock: a writer may hold it for as long as the client does not read.
        self.begin_exit(code);
        self.close_output().await;
    }

    /// Closes the output; later replies go nowhere.
    pub(crate) async fn close_output(&self) {
        self.close(&mut *self.output.lock().await).await;
    }

    /// Writes bytes as they are, between two messages.
    pub(crate) async fn write_raw(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(&mut *self.output.lock().await, bytes).await
    }

    async fn send(&self, message: ServerJsonRpcMessage) -> io::Result<()> {
        if self.muted.load(Relaxed) || self.frozen.is_cancelled() {
            self.ended.cancelled().await;
            return Ok(());
        }
        let mut bytes = Vec::new();
        if self.faults.garbage {
            bytes.extend_from_slice(stdout_noise::BETWEEN_REPLIES);
        }
        serde_json::to_writer(&mut bytes, &message).map_err(io::Error::other)?;
        bytes.push(b'\n');
        if opens_a_session(&message) {
            self.after_handshake();
        }
        // Held until the faults that follow an answer are done, so that no later answer slips out.
        let mut output = self.output.lock().await;
        self.write(&mut output, &bytes).await?;
        if self.answers_a_call(&message) {
            self.after_answered_call(&mut output).await;
        }
        Ok(())
    }

    async fn write(&self, output: &mut Option<Output>, bytes: &[u8]) -> io::Result<()> {
        let Some(output) = output else {
            return Ok(());
        };
        tokio::select! {
            () = self.gone.cancelled() => Ok(()),
            written = async {
                output.write_all(bytes).await?;
                output.flush().await
            } => written,
        }
    }

    async fn close(&self, output: &mut Option<Output>) {
        if let Some(mut output) = output.take() {
            // A peer that is gone already needs no goodbye.
            let _ = output.shutdown().await;
        }
        #[cfg(unix)]
        if self.host == HostProcess::Own {
            crate::stdio::point_stdout_at_nothing();
        }
    }

    fn begin_exit(&self, code: u8) {
        match self.host {
            HostProcess::Own => std::process::exit(code.into()),
            HostProcess::Shared => self.gone.cancel(),
        }
    }

    fn after_handshake(&self) {
        match self.faults.hang {
            Some(Hang::AfterHandshake) => self.muted.store(true, Relaxed),
            Some(Hang::FreezeStdin) => self.freeze(),
            Some(Hang::BeforeHandshake) | None => {}
        }
    }

    fn answers_a_call(&self, message: &ServerJsonRpcMessage) -> bool {
        let id = match message {
            ServerJsonRpcMessage::Response(response) => Some(&response.id),
            ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        id.is_some_and(|id| self.open_calls.lock().remove(id))
    }

    async fn after_answered_call(&self, output: &mut Option<Output>) {
        let answered = self.answered_calls.fetch_add(1, Relaxed) + 1;
        if self.faults.close_stdout_after == Some(answered) {
            self.close(output).await;
        }
        if self.faults.exit_after_calls == Some(answered) {
            self.begin_exit(0);
            self.close(output).await;
        }
    }
}

impl<R: AsyncRead> LineTransport<R> {
    pub(crate) fn new(reader: R, connection: Arc<Connection>, server: TestServer) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            connection,
            server,
            answers: JoinSet::new(),
        }
    }
}

impl<R: AsyncRead + Send + Unpin> LineTransport<R> {
    /// One line without its end, or `None` at the end of the stream. The part of a line read so far
    /// stays in `self.line`, so a call dropped half-way loses nothing.
    async fn read_line(&mut self) -> Option<()> {
        let connection = &self.connection;
        let read = tokio::select! {
            biased;
            () = connection.gone.cancelled() => return None,
            () = connection.frozen.cancelled() => pending().await,
            read = self.reader.read_until(b'\n', &mut self.line) => read,
        };
        if matches!(read, Ok(length) if length > 0) {
            return Some(());
        }
        if connection.faults.ignore_eof {
            connection.gone.cancelled().await;
        }
        connection.ended.cancel();
        None
    }

    /// Sends from a task, because `receive` may be dropped at any await and the answer must not be.
    fn answer(&mut self, message: ServerJsonRpcMessage) {
        let connection = self.connection.clone();
        while self.answers.try_join_next().is_some() {}
        self.answers.spawn(async move {
            // The client may be gone; the next read then fails.
            let _ = connection.send(message).await;
        });
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> Transport<RoleServer> for LineTransport<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let connection = self.connection.clone();
        async move { connection.send(message).await }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            self.read_line().await?;
            let parsed = parse(&self.line);
            self.line.clear();
            match parsed {
                Line::Message(message) => {
                    let ClientJsonRpcMessage::Request(request) = &*message else {
                        return Some(*message);
                    };
                    self.server.saw_request(request.request.method());
                    if let Some(error) = self.server.refuse(&request.request) {
                        let id = request.id.clone();
                        self.answer(ServerJsonRpcMessage::error(error, Some(id)));
                        continue;
                    }
                    if matches!(request.request, ClientRequest::CallToolRequest(_)) {
                        self.connection.open_calls.lock().insert(request.id.clone());
                        self.connection.called.cancel();
                    }
                    return Some(*message);
                }
                Line::Malformed => {
                    let error = ErrorData::invalid_request("not a JSON-RPC message", None);
                    self.answer(ServerJsonRpcMessage::error(error, None));
                }
                Line::Noise => {}
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.connection.close_output().await;
        Ok(())
    }
}

enum Line {
    Message(Box<ClientJsonRpcMessage>),
    Malformed,
    Noise,
}

fn parse(line: &[u8]) -> Line {
    match serde_json::from_slice(line) {
        Ok(message) => Line::Message(Box::new(message)),
        Err(error) if error.is_data() => Line::Malformed,
        Err(_) => Line::Noise,
    }
}

fn opens_a_session(message: &ServerJsonRpcMessage) -> bool {
    matches!(
        message,
        ServerJsonRpcMessage::Response(response) if matches!(
            response.result,
            ServerResult::InitializeResult(_) | ServerResult::DiscoverResult(_)
        )
    )
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host)
            .field("ended", &self.ended.is_cancelled())
            .field("frozen", &self.frozen.is_cancelled())
            .field("gone", &self.gone.is_cancelled())
            .finish_non_exhaustive()
    }
}
