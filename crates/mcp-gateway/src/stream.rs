//! The way of messages to one reader: a queue with limits, and the response that empties it.
//!
//! Nothing waits for a reader. One that does not keep up loses its stream, and the calls that write to it are cancelled.

use std::{
    convert::Infallible,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use rmcp::{
    ErrorData,
    model::{ErrorCode, ProgressNotificationParam},
};
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    members::Members,
    message::{self, Outcome},
    session::{Busy, CallEntry},
};

/// What may wait for a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    pub(crate) messages: usize,
    /// No more messages are taken once so many bytes wait.
    pub(crate) bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            messages: 256,
            bytes: 8 * 1024 * 1024,
        }
    }
}

/// What is written to a stream.
#[derive(Debug)]
pub(crate) enum Item {
    Message(Bytes),
    /// Progress of the call, under whatever token.
    Progress(Box<ProgressNotificationParam>),
    /// A question that the client answers by sending its request again.
    Question(Question),
    /// The response, after which the stream ends.
    Last(Outcome),
}

/// A question of a server: its name, and the request.
pub(crate) type Question = (String, Box<RawValue>);

/// Where messages for one reader are put. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    sender: mpsc::UnboundedSender<Item>,
    load: Arc<Load>,
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Item>,
    load: Arc<Load>,
}

#[derive(Debug, Default)]
struct Load {
    limits: StreamLimits,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    overrun: CancellationToken,
    /// There is no reader until the client answers a question.
    is_parked: AtomicBool,
}

pub(crate) fn channel(limits: StreamLimits) -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Load {
        limits,
        ..Load::default()
    });
    let outbox = Outbox {
        sender,
        load: Arc::clone(&load),
    };
    (outbox, Inbox { receiver, load })
}

impl Load {
    /// Whether the rest of the room is for the response, or a question.
    fn keeps_the_rest(&self) -> bool {
        let most = self.limits;
        let is_half_full = || {
            self.messages.load(Ordering::Acquire) >= most.messages / 2
                || self.bytes.load(Ordering::Acquire) >= most.bytes / 2
        };
        self.is_parked.load(Ordering::Acquire) && is_half_full()
    }
}

impl Outbox {
    /// Returns at once. `false` if there is no reader, or it does not keep up.
    pub(crate) fn push(&self, item: Item) -> bool {
        let size = item.size();
        let may_be_lost = matches!(item, Item::Message(_) | Item::Progress(_));
        if may_be_lost && self.load.keeps_the_rest() {
            return !self.load.overrun.is_cancelled();
        }
        let messages = self.load.messages.fetch_add(1, Ordering::AcqRel);
        let bytes = self.load.bytes.fetch_add(size, Ordering::AcqRel);
        let limits = self.load.limits;
        if messages >= limits.messages || (messages > 0 && bytes >= limits.bytes) {
            if !self.load.overrun.is_cancelled() {
                tracing::warn!(
                    "closing a stream whose client does not read: {messages} messages of {bytes} bytes wait"
                );
            }
            self.load.overrun.cancel();
        }
        !self.load.overrun.is_cancelled() && self.sender.send(item).is_ok()
    }

    /// Completes when the reader has not kept up.
    pub(crate) async fn overrun(&self) {
        self.load.overrun.cancelled().await;
    }

    /// Completes when there is no reader any more.
    pub(crate) async fn closed(&self) {
        tokio::select! {
            () = self.sender.closed() => {}
            () = self.load.overrun.cancelled() => {}
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.load.overrun.is_cancelled()
    }
}

impl Inbox {
    /// The next item; `None` at the end.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        self.load.is_parked.store(false, Ordering::Release);
        let item = tokio::select! {
            biased;
            () = self.load.overrun.cancelled() => None,
            item = self.receiver.recv() => item,
        }?;
        self.taken(&item);
        Some(item)
    }

    /// Until the next read, more messages and progress than half of the room are dropped.
    fn park(&self) {
        self.load.is_parked.store(true, Ordering::Release);
    }

    fn taken(&self, item: &Item) {
        self.load.messages.fetch_sub(1, Ordering::AcqRel);
        self.load.bytes.fetch_sub(item.size(), Ordering::AcqRel);
    }
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Message(bytes) => bytes.len(),
            Self::Last(Ok(result)) => result.get().len(),
            Self::Question((_, request)) => request.get().len(),
            // Small, or bounded by their number.
            Self::Progress(_) | Self::Last(Err(_)) => 256,
        }
    }
}

/// The answer to one request, as it comes.
pub(crate) struct Answer {
    pub(crate) inbox: Inbox,
    /// Of the request that is answered.
    pub(crate) id: Box<RawValue>,
    pub(crate) progress_token: Option<Box<RawValue>>,
    pub(crate) kept: Kept,
    /// Errors have a status of their own.
    pub(crate) modern: bool,
    /// Makes the response that asks a question. Without it no question comes.
    pub(crate) parking: Option<Parking>,
}

/// Lives as long as the answer is under way.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Cancels the call of a client that closes its stream.
    pub(crate) _cancel: Option<DropGuard>,
    pub(crate) _busy: Option<Busy>,
    /// What the client may cancel by the id of this request.
    pub(crate) followed: Option<CallEntry>,
}

impl Kept {
    /// Completes when the client has cancelled the request.
    async fn cancelled(&self) {
        match &self.followed {
            Some(followed) => followed.cancel.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// Keeps what is needed to go on with the call, and returns the result that asks the question.
pub(crate) type Parking = Box<dyn FnOnce(Inbox, Kept, Question) -> (Outcome, Undelivered) + Send>;

/// Gives a parked call up when it is dropped: no other message than the one it belongs to has the state by which the client
/// could go on. Disarmed when that message is written.
pub(crate) type Undelivered = Option<DropGuard>;

/// Something to write, and whether it is the end.
pub(crate) struct Written {
    pub(crate) bytes: Bytes,
    /// The status of the response, where this is its end.
    pub(crate) last: Option<StatusCode>,
    undelivered: Undelivered,
}

impl Written {
    /// The bytes, which are handed to the client's connection now.
    pub(crate) fn delivered(self) -> Bytes {
        if let Some(guard) = self.undelivered {
            guard.disarm();
        }
        self.bytes
    }
}

impl Answer {
    /// The next message; `None` if the answer ends without a response.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn next(&mut self) -> Option<Written> {
        loop {
            let message = |bytes| Written {
                bytes,
                last: None,
                undelivered: None,
            };
            let item = tokio::select! {
                biased;
                () = self.kept.cancelled() => None,
                item = self.inbox.next() => item,
            };
            return match item? {
                Item::Message(bytes) => Some(message(bytes)),
                Item::Progress(progress) => {
                    let Some(token) = &self.progress_token else {
                        continue;
                    };
                    let mut params = Members::of(&message::json(&*progress));
                    params.set("progressToken", token.clone());
                    let progress =
                        message::notification("notifications/progress", &params.written());
                    Some(message(progress))
                }
                Item::Last(outcome) => Some(self.last(&outcome, None)),
                Item::Question(question) => {
                    let parking = self.parking.take()?;
                    let inbox = mem::replace(&mut self.inbox, channel(StreamLimits::default()).1);
                    inbox.park();
                    let mut kept = mem::take(&mut self.kept);
                    // The request has its response.
                    kept.followed = None;
                    let (outcome, undelivered) = parking(inbox, kept, question);
                    Some(self.last(&outcome, undelivered))
                }
            };
        }
    }

    fn last(&self, outcome: &Outcome, undelivered: Undelivered) -> Written {
        let modern = self.modern;
        let status = match outcome {
            Err(error) if modern => status_of(error),
            _ => StatusCode::OK,
        };
        Written {
            bytes: message::response(&self.id, outcome),
            last: Some(status),
            undelivered,
        }
    }

    /// The HTTP response: JSON if its last message is the first to come, and soon; else an event stream.
    pub(crate) async fn respond(mut self, keep_alive: Duration) -> Response<Body> {
        let first = match timeout(keep_alive, self.next()).await {
            Ok(Some(written)) => match written.last {
                Some(status) => return only(status, written),
                None => event(&written.delivered()),
            },
            Ok(None) => return events(Body::empty()),
            Err(_) => Bytes::from_static(COMMENT),
        };
        self.stream(first, keep_alive)
    }

    /// An event stream.
    pub(crate) fn stream(self, first: Bytes, keep_alive: Duration) -> Response<Body> {
        let rest = futures::stream::unfold(Some(self), move |answer| async move {
            let mut answer = answer?;
            let (bytes, more) = match timeout(keep_alive, answer.next()).await {
                Ok(Some(written)) => {
                    let more = written.last.is_none().then_some(answer);
                    (event(&written.delivered()), more)
                }
                Ok(None) => return None,
                Err(_) => (Bytes::from_static(COMMENT), Some(answer)),
            };
            Some((Ok::<_, Infallible>(bytes), more))
        });
        let first = futures::stream::once(async move { Ok(first) });
        events(Body::from_stream(futures::StreamExt::chain(first, rest)))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The status of an error to a modern client.
pub(crate) fn status_of(error: &ErrorData) -> StatusCode {
    match error.code {
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
        | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
        | ErrorCode::HEADER_MISMATCH => StatusCode::BAD_REQUEST,
        ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// A response of the one message, which is delivered when its body is taken.
fn only(status: StatusCode, written: Written) -> Response<Body> {
    if written.undelivered.is_none() {
        return json(status, written.bytes);
    }
    let length = HeaderValue::from(written.bytes.len());
    let mut response = json(status, Bytes::new());
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    let message = async move { Ok::<_, Infallible>(written.delivered()) };
    *response.body_mut() = Body::from_stream(futures::stream::once(message));
    response
}

/// A response that is one message.
pub(crate) fn json(status: StatusCode, message: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Else nginx would hold events back until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A message as an event. JSON has line ends between its tokens alone, where they mean nothing.
fn event(message: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(message.len() + 32);
    event.put_slice(b"event: message\n");
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
        event.put_slice(b"data: ");
        event.put_slice(line);
        event.put_u8(b'\n');
    }
    event.put_u8(b'\n');
    event.freeze()
}

/// Keeps proxies from ending a silent stream.
pub(crate) const COMMENT: &[u8] = b": keep-alive\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_does_not_keep_up_is_closed_and_no_writer_waits() {
        let (outbox, mut inbox) = channel(StreamLimits::default());
        let message = || Item::Message(Bytes::from_static(b"{}"));
        for _ in 0..StreamLimits::default().messages {
            assert!(outbox.push(message()));
        }
        assert!(!outbox.push(message()));
        outbox.overrun().await;
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn a_call_that_is_parked_may_report_on_and_keeps_its_response() {
        let (outbox, mut inbox) = channel(StreamLimits::default());
        inbox.park();
        for _ in 0..=StreamLimits::default().messages {
            assert!(outbox.push(Item::Message(Bytes::from_static(b"{}"))));
        }
        outbox.push(Item::Last(Ok(message::json(&()))));
        for _ in 0..StreamLimits::default().messages / 2 {
            assert!(matches!(inbox.next().await, Some(Item::Message(_))));
        }
        assert!(matches!(inbox.next().await, Some(Item::Last(Ok(_)))));
    }

    #[tokio::test]
    async fn one_message_may_be_longer_than_the_limit_and_two_may_not() {
        let (outbox, mut inbox) = channel(StreamLimits::default());
        let long = || Item::Message(Bytes::from(vec![b' '; StreamLimits::default().bytes + 1]));
        assert!(outbox.push(long()));
        assert!(inbox.next().await.is_some());
        assert!(outbox.push(long()), "what was read is no load");
        assert!(!outbox.push(long()));
    }

    #[test]
    fn a_message_of_several_lines_is_one_event() {
        let text = event(b"{\n\"a\": 1\r\n}");
        assert_eq!(
            text,
            "event: message\ndata: {\ndata: \"a\": 1\ndata: \ndata: }\n\n"
        );
    }
}
