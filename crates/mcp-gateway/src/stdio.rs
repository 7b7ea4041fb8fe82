//! A client over lines: standard input and output, or a pipe.
//!
//! Each connection is one client. What is written waits for the reader of the pipe; calls whose messages pile up meanwhile are
//! cancelled, as over HTTP.

use std::{collections::HashMap, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use rmcp::{ErrorData, model::ErrorCode};
use serde_json::value::RawValue;
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader,
    },
    sync::mpsc,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{
    forwarded::Forwarded,
    gateway::{Gateway, Inner},
    keys, legacy,
    message::{self, Incoming, Message, own_error},
    modern,
    path::Path,
    principal::Principal,
    session::Session,
    stream::Answer,
};

impl Gateway {
    /// Serves one client of all servers over standard input and output until it closes its end or `end` completes, and
    /// then ends as [`serve`](Gateway::serve) does. Nothing else may write to standard output. A read of standard input cannot
    /// be interrupted: the program has to end by itself, by `std::process::exit`, if `end` completed.
    ///
    /// # Errors
    /// What the system says if standard output cannot be written.
    ///
    /// # Cancel safety
    /// If it is dropped, the client is no more served and the manager is not shut down.
    pub async fn serve_stdio(&self, end: impl Future<Output = ()>) -> io::Result<()> {
        let (reader, writer) = (tokio::io::stdin(), tokio::io::stdout());
        let served = self.serve_lines(reader, writer, end).await;
        self.close().await;
        served
    }

    /// Serves one client of all servers over a pipe, until it closes its end or `end` completes. Calls in flight are answered
    /// within the [grace](crate::GatewayBuilder::grace), or within two seconds if the client has closed its end. Its session
    /// ends then; the gateway does not.
    ///
    /// # Errors
    /// What the system says if `writer` cannot be written.
    ///
    /// # Cancel safety
    /// If it is dropped, the client is no more served.
    pub async fn serve_lines(
        &self,
        reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (lines, written) = mpsc::channel(LINES);
        let mut connection = Connection {
            gateway: Arc::clone(&self.0),
            principal: Principal::local(),
            name: keys::short(&keys::random()),
            legacy: None,
            modern: HashMap::new(),
            answers: TaskTracker::new(),
            lines,
        };
        let read = async {
            let grace = tokio::select! {
                () = connection.read(reader) => GONE,
                () = end => self.0.settings.grace,
            };
            connection.answers.close();
            // What is late is cancelled.
            let _ = timeout(grace, connection.answers.wait()).await;
            // Ends what writes, and so the writer.
            drop(connection);
        };
        let mut written = pin!(write(written, writer));
        let mut read = pin!(read);
        tokio::select! {
            () = &mut read => {}
            written = &mut written => {
                read.await;
                return written;
            }
        }
        // A client that does not read does not hold up the end.
        timeout(GONE, written).await.unwrap_or(Ok(()))
    }
}

/// What one client has under way. Its sessions end when it is dropped.
struct Connection {
    gateway: Arc<Inner>,
    principal: Principal,
    name: String,
    legacy: Option<Arc<Session>>,
    /// By their scopes: a client may change what it can do.
    modern: HashMap<String, Arc<Session>>,
    /// Answers that are being written.
    answers: TaskTracker,
    lines: mpsc::Sender<Bytes>,
}

impl Connection {
    async fn read(&mut self, reader: impl AsyncRead + Unpin) {
        let longest = self.gateway.settings.max_message_size;
        let mut reader = BufReader::new(reader);
        // What cannot be read has ended.
        while let Ok(Some(line)) = next_line(&mut reader, longest).await {
            match line {
                Some(line) if line.trim_ascii().is_empty() => {}
                Some(line) => match Message::parse(&line) {
                    Ok(message) => self.received(message).await,
                    Err(error) => self.fail(&message::json(&()), error).await,
                },
                None => {
                    let (code, hint) = (ErrorCode::INVALID_REQUEST, "send less at once");
                    let error = own_error(code, "the message is too long", "receive", hint);
                    self.fail(&message::json(&()), error).await;
                }
            }
        }
    }

    async fn received(&mut self, message: Message) {
        match message {
            Message::Request(incoming) => {
                let id = incoming.id.clone();
                match self.request(incoming).await {
                    Ok(Some(answer)) => {
                        self.answers.spawn(forward(answer, self.lines.clone()));
                    }
                    Ok(None) => {}
                    Err(error) => self.fail(&id, error).await,
                }
            }
            Message::Notification { method, params } => {
                for session in self.legacy.iter().chain(self.modern.values()) {
                    legacy::notification(session, &method, params.as_deref());
                }
            }
            Message::Response { id, outcome } => {
                if let Some(session) = &self.legacy {
                    session.questions.answer(&id, outcome);
                }
            }
        }
    }

    async fn request(&mut self, incoming: Incoming) -> Result<Option<Answer>, ErrorData> {
        if modern::is_modern(None, &incoming) && incoming.method != "initialize" {
            let introduced = modern::introduced(None, &incoming)?;
            let scope = introduced.scope(&self.name);
            let session = modern::session(
                &self.gateway,
                &introduced,
                &scope,
                &self.principal,
                &Path::All,
                &Forwarded::default(),
            );
            let session = session.map_err(|_| full())?;
            self.modern.insert(scope, Arc::clone(&session));
            let key = incoming.id.get().into();
            let answer =
                modern::request(&self.gateway, &session, introduced, incoming, key).await?;
            return Ok(Some(answer));
        }
        if let Some(session) = &self.legacy {
            return legacy::request(&self.gateway, session, incoming).map(Some);
        }
        match incoming.method.as_str() {
            "initialize" => self.initialize(&incoming).await.map(|()| None),
            "ping" => {
                let pong = message::json(&serde_json::json!({}));
                self.write(message::response(&incoming.id, &Ok(pong))).await;
                Ok(None)
            }
            _ => {
                let (code, why) = (ErrorCode::INVALID_REQUEST, "the session is not initialized");
                Err(own_error(code, why, "receive", "initialize first"))
            }
        }
    }

    async fn initialize(&mut self, incoming: &Incoming) -> Result<(), ErrorData> {
        let client = legacy::introduced(incoming)?;
        let view = self
            .gateway
            .view(&Path::All, &self.principal, &Forwarded::default())
            .ok_or_else(full)?;
        let result = legacy::welcome(&view, &client.protocol_version).await;
        let (gateway, principal) = (&self.gateway, &self.principal);
        let session = gateway.sessions.get_or_make(&self.name, principal, |_| {
            gateway.make_session(&self.name, true, principal, client, &Path::All, &view)
        });
        let session = session.map_err(|_| full())?;
        self.write(message::response(&incoming.id, &Ok(result)))
            .await;
        // It has no end that could be waited for.
        gateway.tasks.spawn(forward(
            legacy::listen(gateway, &session),
            self.lines.clone(),
        ));
        self.legacy = Some(session);
        Ok(())
    }

    async fn write(&self, message: Bytes) {
        // A writer that has failed says so itself.
        let _ = self.lines.send(line(&message)).await;
    }

    async fn fail(&self, id: &RawValue, error: ErrorData) {
        self.write(message::response(id, &Err(error))).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for session in self.legacy.iter().chain(self.modern.values()) {
            self.gateway.sessions.end(&session.scope);
        }
    }
}

async fn write(
    mut lines: mpsc::Receiver<Bytes>,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        writer.write_all(&line).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// Writes an answer as it comes.
async fn forward(mut answer: Answer, lines: mpsc::Sender<Bytes>) {
    while let Some(written) = answer.next().await {
        let is_last = written.last.is_some();
        let Ok(room) = lines.reserve().await else {
            return;
        };
        room.send(line(&written.delivered()));
        if is_last {
            return;
        }
    }
}

/// The next line, `Some(None)` if it has more than `longest` bytes: such a line is passed over.
async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    longest: usize,
) -> io::Result<Option<Option<Vec<u8>>>> {
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let part = reader.fill_buf().await?;
        let end = part.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(part.len(), |at| at + 1);
        too_long |= line.len() + taken > longest + 1;
        match too_long {
            true => line = Vec::new(),
            false => line.extend_from_slice(&part[..taken]),
        }
        let is_last = part.is_empty();
        reader.consume(taken);
        if is_last && line.is_empty() && !too_long {
            return Ok(None);
        }
        if is_last || end.is_some() {
            return Ok(Some((!too_long).then_some(line)));
        }
    }
}

/// A message as one line. JSON has line ends between its tokens alone, where they mean nothing.
fn line(message: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(message.len() + 1);
    line.extend(message.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => *byte,
    }));
    line.push(b'\n');
    line.into()
}

fn full() -> ErrorData {
    let (code, why) = (ErrorCode::INTERNAL_ERROR, "too many sessions are in use");
    own_error(code, why, "receive", "end sessions, or try again later")
}

/// How long calls may take whose client has closed its end, as some programs write their requests and read then; and how
/// long a client may take to read the last lines.
const GONE: Duration = Duration::from_secs(2);
/// Lines that wait to be written, beside those that wait in the answers.
const LINES: usize = 16;
