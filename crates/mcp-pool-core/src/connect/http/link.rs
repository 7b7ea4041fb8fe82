//! What the streams of one HTTP session share: the way of their messages to the client, and who waits for which reply.
//!
//! rmcp's worker knows one reply per POST. Everything else that a server sends (notifications, its own requests, replies on
//! another stream) goes past the worker into the inbox, from which [`HttpTransport`] feeds the client.

use std::{borrow::Cow, collections::HashMap, future::Future, sync::Arc};

use parking_lot::Mutex;
use rmcp::{
    RoleClient,
    model::{GetExtensions, JsonRpcMessage, RequestId, ServerJsonRpcMessage},
    service::{InboundStreamOrigin, RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{Transport, streamable_http_client::StreamableHttpClientTransport},
};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};

use super::{client::SessionClient, exchange::Outcome, failure::HttpFailure, raw::RawPosts};
use crate::{decode::RawReply, exchange::Exchange, pace::Pace, transport_report::TransportReport};

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
    inbox: mpsc::Sender<Item>,
    /// Requests of rmcp's service whose replies may come on another stream.
    waiting: Mutex<HashMap<i64, oneshot::Sender<Outcome>>>,
    exchange: Arc<Exchange>,
    pub(super) listening: watch::Sender<Listening>,
    /// Of all that its streams bring beside replies.
    pub(super) pace: Pace,
}

/// What goes to the client past rmcp's worker.
#[derive(Debug)]
pub(super) enum Item {
    /// A message, and its bytes on the wire.
    Message(Box<ServerJsonRpcMessage>, usize),
    /// What came before this has been taken in.
    Passed(oneshot::Sender<()>),
}

/// Where a message went.
#[derive(Debug)]
pub(super) enum Routed {
    /// It is the reply that the reader of this stream waits for.
    Reply(Outcome),
    /// To the client, or to the task that waits for it.
    Passed,
    /// It is a reply that nothing waits for, with its id.
    Stray(Option<RequestId>, Outcome),
}

impl Link {
    pub(super) fn new(exchange: &Arc<Exchange>) -> (Arc<Self>, mpsc::Receiver<Item>) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let link = Self {
            inbox,
            waiting: Mutex::default(),
            exchange: Arc::clone(exchange),
            listening: watch::Sender::new(Listening::Pending),
            pace: Pace::new(),
        };
        (Arc::new(link), messages)
    }

    /// Completes when nothing takes the messages of the session any more.
    pub(super) async fn is_abandoned(&self) {
        self.inbox.closed().await;
    }

    /// Waits for the reply to a request of rmcp's service on whichever stream it comes.
    pub(super) fn expect(self: &Arc<Self>, id: i64) -> Expected {
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        Expected {
            link: Arc::clone(self),
            id,
            reply,
        }
    }

    /// Routes a reply from the stream of the request `own`, or from the GET stream.
    pub(super) fn route_reply(&self, reply: RawReply, own: Option<i64>) -> Routed {
        let RawReply { id, outcome } = reply;
        if own == Some(id) {
            return Routed::Reply(outcome);
        }
        let waiter = self.waiting.lock().remove(&id);
        if let Some(waiter) = waiter {
            let _ = waiter.send(outcome);
            return Routed::Passed;
        }
        if !self.exchange.awaits(id) {
            return Routed::Stray(Some(RequestId::Number(id)), outcome);
        }
        self.exchange.answer_raw(RawReply { id, outcome });
        Routed::Passed
    }

    /// Routes a message of so many bytes that is no reply with an id.
    pub(super) async fn route(
        &self,
        mut message: ServerJsonRpcMessage,
        size: usize,
        own: Option<i64>,
    ) -> Routed {
        match &mut message {
            // It could not read the id of the one request there was.
            JsonRpcMessage::Error(error) => {
                let reply = Err(error.error.clone());
                return match own {
                    Some(_) if error.id.is_none() => Routed::Reply(reply),
                    _ => Routed::Stray(None, reply),
                };
            }
            // Its id is no number, so it is none of ours.
            JsonRpcMessage::Response(response) => {
                let result = RawValue::NULL.to_owned();
                return Routed::Stray(Some(response.id.clone()), Ok(result));
            }
            JsonRpcMessage::Request(request) => {
                let origin = match own {
                    Some(id) => InboundStreamOrigin::OutboundRequest(RequestId::Number(id)),
                    None => InboundStreamOrigin::Unassociated,
                };
                request.request.extensions_mut().insert(origin);
            }
            JsonRpcMessage::Notification(_) => {}
        }
        // It fails when the client has gone, and then nothing waits for it.
        let _ = self
            .inbox
            .send(Item::Message(Box::new(message), size))
            .await;
        Routed::Passed
    }

    /// Waits until the client has taken in what was passed on to it.
    pub(super) async fn passed(&self) {
        let (sender, taken) = oneshot::channel();
        if self.inbox.send(Item::Passed(sender)).await.is_ok() {
            let _ = taken.await;
        }
    }
}

/// A reply that is waited for, until it is dropped.
#[derive(Debug)]
pub(super) struct Expected {
    link: Arc<Link>,
    id: i64,
    reply: oneshot::Receiver<Outcome>,
}

impl Expected {
    /// The reply, if it comes on another stream than that of its request.
    pub(super) async fn elsewhere(&mut self) -> Outcome {
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

/// rmcp's transport, and what came past it.
pub(super) struct HttpTransport {
    inner: StreamableHttpClientTransport<SessionClient>,
    inbox: mpsc::Receiver<Item>,
    _raw: Arc<RawPosts>,
    report: Arc<TransportReport>,
    /// Messages out of the inbox, one after the other.
    in_a_row: usize,
    /// A reply, and how many messages of the inbox came before it.
    held: Option<(RxJsonRpcMessage<RoleClient>, usize)>,
}

impl HttpTransport {
    pub(super) fn new(
        inner: StreamableHttpClientTransport<SessionClient>,
        inbox: mpsc::Receiver<Item>,
        raw: Arc<RawPosts>,
        report: Arc<TransportReport>,
    ) -> Self {
        Self {
            inner,
            inbox,
            _raw: raw,
            report,
            in_a_row: 0,
            held: None,
        }
    }

    /// The message in an item, if it is one.
    fn take(&self, item: Item) -> Option<RxJsonRpcMessage<RoleClient>> {
        match item {
            Item::Message(message, size) => {
                self.report.size(size);
                Some(*message)
            }
            Item::Passed(sender) => {
                let _ = sender.send(());
                None
            }
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
        loop {
            if let Some((reply, before)) = self.held.take() {
                let Some(item) = (before > 0).then(|| self.inbox.try_recv().ok()).flatten() else {
                    return Some(reply);
                };
                self.held = Some((reply, before - 1));
                if let Some(message) = self.take(item) {
                    return Some(message);
                }
                continue;
            }
            let item = if self.in_a_row < INBOX {
                tokio::select! {
                    biased;
                    Some(item) = self.inbox.recv() => {
                        self.in_a_row += 1;
                        item
                    }
                    reply = self.inner.receive() => {
                        self.in_a_row = 0;
                        return reply;
                    }
                }
            } else {
                self.in_a_row = 0;
                tokio::select! {
                    biased;
                    reply = self.inner.receive() => {
                        self.held = Some((reply?, self.inbox.len()));
                        continue;
                    }
                    Some(item) = self.inbox.recv() => item,
                }
            };
            if let Some(message) = self.take(item) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), HttpFailure> {
        self.inner.close().await.map_err(HttpFailure::of_transport)
    }
}
