//! A connection that can misbehave below the protocol: newline-delimited JSON over two byte streams.
//!
//! rmcp's own transport is kept out on purpose. A frozen stdin, a closed stdout or a line of rubbish
//! between two replies happens under the protocol library, so this transport owns both streams and
//! gives the rest of the crate a handle, [`Wire`], to break them with. It also counts every request,
//! those too that rmcp answers without asking the handler.

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

/// Whose process the server runs in, and so what an exit means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Home {
    /// Its own: exits are real, and the standard streams are its to break.
    OwnProcess,
    /// The test's: an exit drops the connection.
    Shared,
}

/// The handle by which tools and faults break a connection.
pub(crate) struct Wire {
    output: tokio::sync::Mutex<Option<Output>>,
    faults: Faults,
    home: Home,
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

/// The rmcp transport over a [`Wire`] and the stream it reads.
pub(crate) struct LineTransport<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    wire: Arc<Wire>,
    server: TestServer,
    answers: JoinSet<()>,
}

impl Wire {
    pub(crate) fn new(output: Output, faults: Faults, home: Home) -> Self {
        Self {
            output: tokio::sync::Mutex::new(Some(output)),
            faults,
            home,
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

    /// Stops reading and answering for ever.
    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }

    /// Ends the process, or what stands for it.
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
        if self.home == Home::OwnProcess {
            crate::stdio::point_stdout_at_nothing();
        }
    }

    fn begin_exit(&self, code: u8) {
        match self.home {
            Home::OwnProcess => std::process::exit(code.into()),
            Home::Shared => self.gone.cancel(),
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
    pub(crate) fn new(reader: R, wire: Arc<Wire>, server: TestServer) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            wire,
            server,
            answers: JoinSet::new(),
        }
    }
}

impl<R: AsyncRead + Send + Unpin> LineTransport<R> {
    /// One line without its end, or `None` at the end of the stream. The part of a line read so far
    /// stays in `self.line`, so a call dropped half-way loses nothing.
    async fn read_line(&mut self) -> Option<()> {
        let wire = &self.wire;
        let read = tokio::select! {
            biased;
            () = wire.gone.cancelled() => return None,
            () = wire.frozen.cancelled() => pending().await,
            read = self.reader.read_until(b'\n', &mut self.line) => read,
        };
        if matches!(read, Ok(length) if length > 0) {
            return Some(());
        }
        if wire.faults.ignore_eof {
            wire.gone.cancelled().await;
        }
        wire.ended.cancel();
        None
    }

    /// Sends from a task, because `receive` may be dropped at any await and the answer must not be.
    fn answer(&mut self, message: ServerJsonRpcMessage) {
        let wire = self.wire.clone();
        while self.answers.try_join_next().is_some() {}
        self.answers.spawn(async move {
            // The client may be gone; the next read will tell.
            let _ = wire.send(message).await;
        });
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> Transport<RoleServer> for LineTransport<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let wire = self.wire.clone();
        async move { wire.send(message).await }
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
                        self.wire.open_calls.lock().insert(request.id.clone());
                        self.wire.called.cancel();
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
        self.wire.close_output().await;
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

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("home", &self.home)
            .field("ended", &self.ended.is_cancelled())
            .field("frozen", &self.frozen.is_cancelled())
            .field("gone", &self.gone.is_cancelled())
            .finish_non_exhaustive()
    }
}
