//! A client's lines, carried to the daemon as HTTP requests, and what it answers back as lines.
//!
//! All that makes a session outlast the daemon is in its `Mcp-Session-Id`, which a daemon that was started again opens. So the
//! bridge keeps that id and the client's `initialize`, and nothing else.
//!
//! A request that was under way when the daemon was lost is sent again if it only reads. A tool call is not: its client gets
//! an error that says that the outcome is unknown.
//!
//! Each message has a connection of its own, and so one may overtake another. What a client has written behind `initialize`
//! waits for its session, and a cancellation is sent until its request has ended.

mod listen;
mod message;
mod sse;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::daemon::{Answer, CONNECTION, Dial, Unreachable, http_request, is_unread};
use message::{Kind, Message};
use sse::Events;

pub(crate) use listen::hold;

/// Carries lines between one client and the daemon.
pub(crate) struct Bridge {
    dial: Arc<Dial>,
    /// What is asked for, such as `/mcp`.
    path: String,
    /// The session of a client that has initialized.
    session: watch::Sender<Option<HeaderValue>>,
    /// What the client initialized with. Held while it is said again.
    initialize: tokio::sync::Mutex<Option<Message>>,
    /// Held while the client's `initialize` is under way. Those that wait for it go on in their order.
    initializing: Arc<tokio::sync::Mutex<()>>,
    /// Requests under way, by the JSON of their ids.
    calls: Mutex<HashMap<String, Call>>,
    lines: mpsc::Sender<Bytes>,
}

#[derive(Clone)]
struct Call {
    cancelled: CancellationToken,
    is_modern: bool,
}

/// Why a request has no answer.
enum Failed {
    /// It did not reach the daemon.
    NotSent(Unreachable),
    /// The daemon was lost before it had read it.
    Unread,
    /// It did, and then the daemon was lost.
    Lost(String),
}

/// Carries a client's lines until it closes its end. Requests under way may then take two seconds more.
///
/// # Errors
/// What the system says if `writer` cannot be written.
///
/// # Cancel safety
/// If it is dropped, requests under way are dropped, and the client's session stays with the daemon until that notices.
pub(crate) async fn run(
    dial: Arc<Dial>,
    path: &str,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (lines, written) = mpsc::channel(LINES);
    let bridge = Arc::new(Bridge {
        dial,
        path: path.to_owned(),
        session: watch::Sender::new(None),
        initialize: tokio::sync::Mutex::default(),
        initializing: Arc::default(),
        calls: Mutex::default(),
        lines,
    });
    let read = async move {
        let tasks = TaskTracker::new();
        let end = CancellationToken::new();
        let read = async {
            bridge.read(reader, &tasks, &end).await;
            tasks.close();
            // What is late is dropped with its connection.
            let _ = timeout(GONE, tasks.wait()).await;
        };
        tokio::select! {
            () = read => {}
            // What would be answered has no reader.
            () = bridge.lines.closed() => {}
            () = listen::run(&bridge) => {}
        }
        end.cancel();
        tasks.close();
        tasks.wait().await;
        bridge.end_session().await;
    };
    let ((), written) = tokio::join!(read, write(written, writer));
    written
}

impl Bridge {
    async fn read(
        self: &Arc<Self>,
        reader: impl AsyncRead + Unpin,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) {
        let mut reader = message::lines(reader);
        // What cannot be read has ended.
        while let Ok(Some(line)) = reader.next().await {
            let Some(line) = line else {
                self.fail(
                    "null",
                    "the message is too long",
                    "receive",
                    "send less at once",
                )
                .await;
                continue;
            };
            let message = Message::of(line);
            let carried = match &message.kind {
                Kind::Request { id } => {
                    let call = Call {
                        cancelled: CancellationToken::new(),
                        is_modern: message.version.is_some(),
                    };
                    let id = id.clone();
                    self.calls.lock().insert(id.clone(), call.clone());
                    // Taken before the next line is read.
                    let initializing = match message.method == "initialize" {
                        true => Arc::clone(&self.initializing).try_lock_owned().ok(),
                        false => None,
                    };
                    let bridge = Arc::clone(self);
                    tasks.spawn(end.clone().run_until_cancelled_owned(async move {
                        bridge.session_of(&message).await;
                        bridge.carry(message, &id, &call).await;
                        drop(initializing);
                        bridge.calls.lock().remove(&id);
                    }));
                    continue;
                }
                Kind::Cancel { id } => {
                    let (id, call) = (id.clone(), self.calls.lock().get(id).cloned());
                    if let Some(call) = call {
                        call.cancelled.cancel();
                        // A modern call is cancelled by the end of its stream.
                        if !call.is_modern {
                            let bridge = Arc::clone(self);
                            tasks.spawn(end.clone().run_until_cancelled_owned(async move {
                                bridge.cancel(&message, &id).await;
                            }));
                        }
                        continue;
                    }
                    true
                }
                Kind::Other => true,
            };
            if carried {
                let bridge = Arc::clone(self);
                tasks.spawn(end.clone().run_until_cancelled_owned(async move {
                    bridge.session_of(&message).await;
                    // It has no answer that could say so.
                    let _ = bridge.post(&message).await;
                }));
            }
        }
    }

    /// Waits for the session that a message needs, if it is being made.
    async fn session_of(&self, message: &Message) {
        let needs_one = message.version.is_none() && message.method != "initialize";
        if needs_one && self.session.borrow().is_none() {
            drop(self.initializing.lock().await);
        }
    }

    /// Sends a cancellation until its request has ended: the daemon may know nothing of the request yet.
    async fn cancel(&self, message: &Message, id: &str) {
        self.session_of(message).await;
        let mut pause = CANCEL_PAUSE;
        // A later request may have the same id, and is not cancelled.
        let is_open = || {
            let calls = self.calls.lock();
            calls
                .get(id)
                .is_some_and(|call| call.cancelled.is_cancelled())
        };
        while is_open() {
            // It has no answer that could say so.
            let _ = self.post(message).await;
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_CANCEL_PAUSE);
        }
    }

    /// Carries a request and its answer.
    async fn carry(&self, message: Message, id: &str, call: &Call) {
        let exchange = async {
            let mut unread = 0;
            let mut again = message.only_reads();
            loop {
                match self.exchange(&message, id, call).await {
                    // One that is being killed accepts connections to its very end.
                    Err(Failed::Unread) if unread < MOST_UNREAD => {
                        unread += 1;
                        sleep(PAUSE * unread).await;
                    }
                    Err(Failed::Lost(_)) if again => again = false,
                    exchanged => return exchanged,
                }
            }
        };
        let exchanged = if call.is_modern {
            match call.cancelled.run_until_cancelled(exchange).await {
                Some(exchanged) => exchanged,
                None => return,
            }
        } else {
            exchange.await
        };
        match exchanged {
            Ok(()) => {}
            Err(Failed::NotSent(unreachable)) => {
                let hint = "run `mcp-pool doctor`";
                self.fail(id, &unreachable.0, "connect", hint).await;
            }
            Err(Failed::Unread) => {
                let hint = "run `mcp-pool doctor`";
                self.fail(id, "the daemon keeps ending", "connect", hint)
                    .await;
            }
            Err(Failed::Lost(why)) => {
                let what = format!("the outcome of `{}` is unknown: {why}", message.method);
                let hint = "it may have run: look before you call again";
                self.fail(id, &what, "exchange", hint).await;
            }
        }
    }

    async fn exchange(&self, message: &Message, id: &str, call: &Call) -> Result<(), Failed> {
        let session = self.session.borrow().clone();
        let mut answer = self.post(message).await?;
        let is_first = message.method == "initialize";
        let unknown = answer.response.status() == StatusCode::NOT_FOUND;
        if unknown && !call.is_modern && !is_first && session.is_some() {
            self.initialize_again(session.as_ref()).await?;
            answer = self.post(message).await?;
        }
        if is_first && let Some(session) = answer.response.headers().get(SESSION_ID) {
            *self.initialize.lock().await = Some(message.clone());
            self.session.send_replace(Some(session.clone()));
        }
        self.answer(answer, id, call).await
    }

    fn request(&self, method: Method) -> http::request::Builder {
        let request = http_request(method, &self.path);
        match &self.dial.connection {
            Some(connection) => request.header(CONNECTION, connection),
            None => request,
        }
    }

    /// Sends a message, and returns the response when its head is there.
    async fn post(&self, message: &Message) -> Result<Answer, Failed> {
        let mut post = self
            .request(Method::POST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        match &message.version {
            Some(_) => {
                for (name, value) in message.headers() {
                    post = post.header(name, value);
                }
            }
            None if message.method != "initialize" => {
                if let Some(session) = &*self.session.borrow() {
                    post = post.header(SESSION_ID, session);
                }
            }
            None => {}
        }
        let body = Full::new(message.line.clone());
        let lost = |error: &dyn std::fmt::Display| Failed::Lost(error.to_string());
        let post = post.body(body).map_err(|error| lost(&error))?;
        let connection = self.dial.connect().await.map_err(Failed::NotSent)?;
        let sent = connection.send(post).await;
        sent.map_err(|error| match is_unread(&error) {
            true => Failed::Unread,
            false => lost(&"the daemon ended while it was under way"),
        })
    }

    /// Has a session made in place of one that the daemon does not know any more.
    async fn initialize_again(&self, unknown: Option<&HeaderValue>) -> Result<(), Failed> {
        let initialize = self.initialize.lock().await;
        let Some(message) = &*initialize else {
            return Ok(());
        };
        // Another request was quicker.
        if self.session.borrow().as_ref() != unknown {
            return Ok(());
        }
        let answer = self.post(message).await?;
        if let Some(session) = answer.response.headers().get(SESSION_ID) {
            self.session.send_replace(Some(session.clone()));
        }
        Ok(())
    }

    /// Writes what a request is answered with.
    async fn answer(&self, mut answer: Answer, id: &str, call: &Call) -> Result<(), Failed> {
        let status = answer.response.status();
        let lost = |_| Failed::Lost("the daemon ended while it was under way".to_owned());
        if sse::is_stream(answer.response.headers()) {
            let mut events = Events::new(answer.response.body_mut());
            let mut answered = false;
            while let Some(event) = events.next().await.map_err(lost)? {
                answered |= message::is_response(&event);
                self.write(event).await;
            }
            if !answered && !call.cancelled.is_cancelled() {
                return Err(Failed::Lost("its answer ended without a result".to_owned()));
            }
            return Ok(());
        }
        let body = answer.response.body_mut();
        let mut text = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(lost)?.into_data() {
                text.extend_from_slice(&data);
            }
        }
        if status.is_success() {
            self.write(text.freeze()).await;
        } else if let Some(error) = message::error_of(&text) {
            // A refusal may be of no request in particular.
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}");
            self.write(line.into()).await;
        } else {
            let why = format!("the daemon answered with HTTP {status}");
            self.fail(id, &why, "exchange", "run `mcp-pool doctor`")
                .await;
        }
        Ok(())
    }

    /// Ends the client's session, with all that servers keep for it.
    async fn end_session(&self) {
        let Some(session) = self.session.borrow().clone() else {
            return;
        };
        let delete = self.request(Method::DELETE).header(SESSION_ID, session);
        let ended = async {
            let connection = self.dial.socket.connect().await.ok()?;
            connection
                .send(delete.body(Full::default()).ok()?)
                .await
                .ok()
        };
        // A daemon that has ended has ended the session, too.
        let _ = timeout(GONE, ended).await;
    }

    async fn write(&self, message: Bytes) {
        // A writer that has failed says so itself.
        let _ = self.lines.send(message).await;
    }

    async fn fail(&self, id: &str, message: &str, phase: &str, hint: &str) {
        self.write(message::failure(id, message, phase, hint)).await;
    }
}

async fn write(
    mut lines: mpsc::Receiver<Bytes>,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        writer.write_all(&message::one_line(line)).await?;
        writer.flush().await?;
    }
    Ok(())
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// How long requests may take whose client has closed its end: some programs write their requests, and read then.
const GONE: Duration = Duration::from_secs(2);
/// How often a request is sent again that was not read, and the pause before the first time.
const MOST_UNREAD: u32 = 8;
const PAUSE: Duration = Duration::from_millis(5);
/// The pauses between cancellations of one request.
const CANCEL_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_CANCEL_PAUSE: Duration = Duration::from_secs(5);
/// Lines that wait to be written.
const LINES: usize = 16;
