//! What the streams of one HTTP session share: the way of their messages to the client, and who waits for which reply.
//!
//! rmcp's worker knows one reply per POST. Everything else that a server sends (notifications, its own requests, replies on
//! another stream) goes past the worker into the inbox, from which [`HttpTransport`] feeds the client.

use std::{borrow::Cow, collections::HashMap, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rmcp::{
    RoleClient,
    model::{GetExtensions, JsonRpcMessage, RequestId, ServerJsonRpcMessage},
    service::{InboundStreamOrigin, RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{Transport, streamable_http_client::StreamableHttpClientTransport},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep},
};

use super::{client::SessionClient, failure::HttpFailure};

/// Messages that wait for the client. Beyond these the streams are read no further.
const INBOX: usize = 64;

/// The GET stream of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// The server has not answered yet.
    Pending,
    Open,
    /// There is none: the server has none, or has ended it too often.
    Closed,
}

#[derive(Debug)]
pub(super) struct Link {
    inbox: mpsc::Sender<ServerJsonRpcMessage>,
    waiting: Mutex<HashMap<RequestId, oneshot::Sender<ServerJsonRpcMessage>>>,
    pub(super) listening: watch::Sender<Listening>,
    pace: Mutex<Pace>,
}

/// Where a message went.
pub(super) enum Routed {
    /// It is the reply that the reader of this stream waits for.
    Reply(ServerJsonRpcMessage),
    /// To the client, or to whoever waits for it.
    Passed,
    /// It is a reply that nothing waits for.
    Stray(ServerJsonRpcMessage),
}

impl Link {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<ServerJsonRpcMessage>) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let link = Self {
            inbox,
            waiting: Mutex::default(),
            listening: watch::Sender::new(Listening::Pending),
            pace: Mutex::new(Pace::new(Instant::now())),
        };
        (Arc::new(link), messages)
    }

    /// Completes when nothing takes the messages of the session any more.
    pub(super) async fn is_abandoned(&self) {
        self.inbox.closed().await;
    }

    /// Waits for the reply to a request on whichever stream it comes.
    pub(super) fn expect(self: &Arc<Self>, id: &RequestId) -> Expected {
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().insert(id.clone(), sender);
        Expected {
            link: Arc::clone(self),
            id: id.clone(),
            reply,
        }
    }

    /// Routes a message from the stream of the request `own`, or from the GET stream.
    pub(super) async fn route(
        &self,
        mut message: ServerJsonRpcMessage,
        own: Option<&RequestId>,
    ) -> Routed {
        let id = match &mut message {
            JsonRpcMessage::Response(response) => Some(&mut response.id),
            JsonRpcMessage::Error(error) => match (&mut error.id, own) {
                (Some(id), _) => Some(id),
                // It could not read the id of the one request there was.
                (missing @ None, Some(own)) => Some(missing.insert(own.clone())),
                (None, None) => return Routed::Stray(message),
            },
            JsonRpcMessage::Request(request) => {
                let origin = match own {
                    Some(id) => InboundStreamOrigin::OutboundRequest(id.clone()),
                    None => InboundStreamOrigin::Unassociated,
                };
                request.request.extensions_mut().insert(origin);
                None
            }
            JsonRpcMessage::Notification(_) => None,
        };
        let Some(id) = id else {
            // It fails when the client has gone, and then nobody misses it.
            let _ = self.inbox.send(message).await;
            return Routed::Passed;
        };
        if let Some(own) = own.filter(|own| are_equal(own, id)) {
            *id = own.clone();
            return Routed::Reply(message);
        }
        let waiter = {
            let mut waiting = self.waiting.lock();
            let number = waiting.keys().find(|other| are_equal(other, id)).cloned();
            number.and_then(|number| {
                *id = number;
                waiting.remove(id)
            })
        };
        match waiter {
            Some(waiter) => {
                let _ = waiter.send(message);
                Routed::Passed
            }
            None => Routed::Stray(message),
        }
    }

    /// Waits where the server sends more than a client can be expected to take in: `bytes` have come. Returns what that
    /// has cost, for [`refund`](Self::refund).
    pub(super) async fn pace(&self, bytes: usize) -> f64 {
        let pause = self.pace.lock().take(bytes, Instant::now());
        if !pause.is_zero() {
            sleep(pause).await;
        }
        Pace::cost(bytes)
    }

    /// Gives back what reading a reply has cost: it was asked for.
    pub(super) fn refund(&self, cost: f64) {
        self.pace.lock().refund(cost);
    }
}

/// Some servers write a number as a string.
fn are_equal(own: &RequestId, other: &RequestId) -> bool {
    own == other
        || matches!((own, other), (RequestId::Number(number), RequestId::String(text))
            if text.parse() == Ok(*number))
}

/// A reply that is waited for, until it is dropped.
#[derive(Debug)]
pub(super) struct Expected {
    link: Arc<Link>,
    id: RequestId,
    reply: oneshot::Receiver<ServerJsonRpcMessage>,
}

impl Expected {
    /// The reply, if it comes on another stream than that of its request.
    pub(super) async fn elsewhere(&mut self) -> ServerJsonRpcMessage {
        match (&mut self.reply).await {
            Ok(reply) => reply,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.link.waiting.lock().remove(&self.id);
    }
}

/// Bounds how fast a session's streams are read, so that a server that never stops talking leaves time for others.
#[derive(Debug)]
struct Pace {
    /// Messages that may come at once.
    credit: f64,
    since: Instant,
}

impl Pace {
    /// Messages in a second.
    const RATE: f64 = 5_000.0;
    /// Bytes that count as one more message.
    const PER_MESSAGE: usize = 16 * 1024;

    fn new(now: Instant) -> Self {
        Self {
            credit: Self::RATE,
            since: now,
        }
    }

    /// Takes one message of so many bytes, and says how long to wait for the next.
    fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.since).as_secs_f64() * Self::RATE;
        self.since = now;
        self.credit = (self.credit + earned).min(Self::RATE) - Self::cost(bytes);
        Duration::from_secs_f64((-self.credit).max(0.0) / Self::RATE)
    }

    fn refund(&mut self, cost: f64) {
        self.credit = (self.credit + cost).min(Self::RATE);
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "sizes are far below where it matters"
    )]
    fn cost(bytes: usize) -> f64 {
        1.0 + (bytes / Self::PER_MESSAGE) as f64
    }
}

/// rmcp's transport, and what came past it.
pub(super) struct HttpTransport {
    inner: StreamableHttpClientTransport<SessionClient>,
    inbox: mpsc::Receiver<ServerJsonRpcMessage>,
    /// Messages out of the inbox, one after the other.
    in_a_row: usize,
    /// A reply, and how many messages of the inbox came before it.
    held: Option<(RxJsonRpcMessage<RoleClient>, usize)>,
}

impl HttpTransport {
    pub(super) fn new(
        inner: StreamableHttpClientTransport<SessionClient>,
        inbox: mpsc::Receiver<ServerJsonRpcMessage>,
    ) -> Self {
        Self {
            inner,
            inbox,
            in_a_row: 0,
            held: None,
        }
    }
}

impl Transport<RoleClient> for HttpTransport {
    type Error = HttpFailure;

    fn name() -> Cow<'static, str> {
        "HTTP".into()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), HttpFailure>> + Send + 'static {
        let sent = self.inner.send(item);
        async move { sent.await.map_err(HttpFailure::of_transport) }
    }

    /// What came before a reply is handed on before it, and a stream that is never silent does not hold replies up: at times
    /// they are looked for first.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        if self.held.is_none() && self.in_a_row < INBOX {
            tokio::select! {
                biased;
                Some(message) = self.inbox.recv() => {
                    self.in_a_row += 1;
                    return Some(message);
                }
                reply = self.inner.receive() => {
                    self.in_a_row = 0;
                    return reply;
                }
            }
        }
        if self.held.is_none() {
            self.in_a_row = 0;
            let reply = tokio::select! {
                biased;
                reply = self.inner.receive() => reply?,
                Some(message) = self.inbox.recv() => return Some(message),
            };
            self.held = Some((reply, self.inbox.len()));
        }
        let (reply, before) = self.held.take()?;
        if before > 0
            && let Ok(message) = self.inbox.try_recv()
        {
            self.held = Some((reply, before - 1));
            return Some(message);
        }
        Some(reply)
    }

    async fn close(&mut self) -> Result<(), HttpFailure> {
        self.inner.close().await.map_err(HttpFailure::of_transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_what_never_ends_at_a_bounded_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let burst: Duration = (0..5_000).map(|_| pace.take(10, start)).sum();
        assert_eq!(burst, Duration::ZERO);
        let mut now = start;
        for _ in 0..5_000 {
            now += pace.take(10, now);
        }
        let took = now - start;
        assert!(took >= Duration::from_millis(900), "{took:?}");
        let large = pace.take(16 * 1024 * 1024, now);
        assert!(large <= Duration::from_millis(300), "{large:?}");
    }
}
