//! Requests of one session in flight: matches replies to waiting callers by id.
//!
//! A raw request is written to the session's wire by its caller and answered by the reader of the wire: rmcp's service has
//! no part in it. That service keeps the handshake, what the server asks, and requests that are made on the plain peer. Its
//! requests are entered here, too, since a server that is busy with them is busy. Their ids count from 0, those of the
//! exchange from [`FIRST_ID`], so that the id alone identifies a reply.

mod backlog;
mod message;

#[cfg(feature = "http")]
use std::sync::Weak;
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, OnceLock},
};

pub(crate) use backlog::{Backlog, MAX_MESSAGES, QueuedMessage};
pub(crate) use message::Defaults;
use parking_lot::Mutex;
use rmcp::{
    RoleClient,
    model::{
        ClientNotification, ClientRequest, JsonRpcMessage, NumberOrString, ProgressToken, RequestId,
    },
    service::{RxJsonRpcMessage, ServiceError, TxJsonRpcMessage},
    transport::DynamicTransportError,
};
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

#[cfg(feature = "http")]
use crate::future::BoxFuture;
use crate::{
    decode::{RawReply, number},
    progress::ProgressRoutes,
    raw_request::{ABANDONED, RawRequest, RequestObserver},
};

/// The first id of a raw request. The handshake's few are below it. A session ends on which rmcp's service has counted so
/// far, after a billion requests.
pub(crate) const FIRST_ID: i64 = (1 << 30) + (1 << 10);

/// Requests under way from which on a line may wait for those of others.
const MANY: usize = 4;

/// Whether an id is that of a raw request.
pub(crate) fn is_raw(id: i64) -> bool {
    id >= FIRST_ID
}

/// What a server has answered: the result as it wrote it, or why there is none.
pub(crate) type Reply = Result<Box<RawValue>, ServiceError>;

/// A way to the server on which lines can be left without waiting.
pub(crate) trait Wire: Send + Sync {
    /// Leaves the line of a request. If it cannot be written, [`Exchange::not_sent`] is called.
    /// More requests are under way if it may be written `later`, together with theirs.
    fn request(
        &self,
        id: i64,
        line: Vec<u8>,
        later: bool,
        exchange: &Arc<Exchange>,
    ) -> io::Result<()>;

    /// Leaves a line that nothing waits for.
    fn notify(&self, line: Vec<u8>, held: QueuedMessage);

    /// Takes the line of a request back. `false` if it has left, wholly or in part.
    fn withdraw(&self, id: i64) -> bool;
}

/// A way to the server on which each request waits for its own answer.
#[cfg(feature = "http")]
pub(crate) trait Post: Send + Sync {
    /// Sends a request, and returns its reply.
    fn post<'a>(&'a self, id: i64, request: RawRequest<'a>, body: Vec<u8>) -> BoxFuture<'a, Reply>;

    /// Notifies the server that a request was cancelled.
    fn cancel(&self, line: Vec<u8>, held: QueuedMessage);
}

/// How raw requests get to the server.
#[derive(Clone)]
pub(crate) enum Way {
    Lines(Arc<dyn Wire>),
    /// Held by the session's transport.
    #[cfg(feature = "http")]
    Posts(Weak<dyn Post>),
}

/// The requests under way on one session.
#[derive(Default)]
pub(crate) struct Exchange {
    requests: Mutex<Requests>,
    changed: Notify,
    way: OnceLock<Way>,
    pub(crate) backlog: Arc<Backlog>,
}

#[derive(Default)]
struct Requests {
    open: BTreeMap<i64, Open>,
    /// Raw requests sent so far.
    sent: i64,
    /// Calls that their callers have given up: the request of each is dropped, or will be in a moment.
    given_up: u64,
    /// Requests that were dropped: cancelled, or withdrawn before they had left.
    dropped: u64,
    /// Cancellations that were sent.
    cancellations: u64,
    /// Requests that were answered.
    answered: u64,
    /// Requests sent that may have left state on the server.
    calls: u64,
    /// The session has ended.
    closed: bool,
}

#[derive(Default)]
struct Open {
    /// Who waits for the reply to a raw request.
    waiter: Option<oneshot::Sender<Reply>>,
    /// The server was notified that it is cancelled.
    cancelled: bool,
}

impl Exchange {
    /// Requests under way at which cancelled ones are forgotten: many servers never answer those.
    const MOST: usize = 1_000;

    /// Has raw requests go out this way. Without one they go over rmcp's peer.
    pub(crate) fn connect(&self, way: Way) {
        let _ = self.way.set(way);
    }

    /// Whether there is a way for raw requests.
    pub(crate) fn has_way(&self) -> bool {
        self.way.get().is_some()
    }

    /// Sends a request and waits for the reply.
    ///
    /// # Cancel safety
    /// Dropped, the request is withdrawn or cancelled.
    pub(crate) async fn request(
        self: &Arc<Self>,
        request: RawRequest<'_>,
        defaults: &Defaults,
        progress: &ProgressRoutes,
    ) -> Reply {
        let way = self.way.get().ok_or(ServiceError::TransportClosed)?;
        let (id, reply, under_way) = self.begin(request.method)?;
        if let Some(observer) = request.observer {
            observer.sending(id);
        }
        let mut waiting = Waiting {
            exchange: self,
            id,
            observer: request.observer,
            answered: false,
        };
        let line = message::request_line(id, request, defaults);
        let line = line.inspect_err(|_| waiting.never_sent())?;
        let _route = request
            .progress
            .map(|sink| progress.route(token(id), Arc::clone(sink)));
        match way {
            Way::Lines(wire) => {
                let later = under_way > MANY;
                if let Err(error) = wire.request(id, line, later, self) {
                    waiting.never_sent();
                    return Err(unsent(error));
                }
                waiting.sent();
            }
            #[cfg(feature = "http")]
            Way::Posts(post) => {
                let Some(post) = post.upgrade() else {
                    waiting.never_sent();
                    return Err(ServiceError::TransportClosed);
                };
                waiting.sent();
                let posted = tokio::select! {
                    biased;
                    // It came on another stream, or the session has ended.
                    elsewhere = reply => elsewhere.unwrap_or(Err(ServiceError::TransportClosed)),
                    posted = post.post(id, request, line) => {
                        self.complete(id, &posted);
                        posted
                    }
                };
                waiting.answered = true;
                return posted;
            }
        }
        let reply = reply.await;
        waiting.answered = true;
        reply.unwrap_or(Err(ServiceError::TransportClosed))
    }

    /// Enters a raw request. Returns its id, its reply, and how many are under way.
    fn begin(&self, method: &str) -> Result<(i64, oneshot::Receiver<Reply>, usize), ServiceError> {
        let (waiter, reply) = oneshot::channel();
        let mut requests = self.requests.lock();
        if requests.closed {
            return Err(ServiceError::TransportClosed);
        }
        let id = FIRST_ID + requests.sent;
        requests.sent += 1;
        requests.calls += u64::from(!only_reads(method));
        let open = Open {
            waiter: Some(waiter),
            cancelled: false,
        };
        requests.open.insert(id, open);
        Ok((id, reply, requests.open.len()))
    }

    /// Hands on the reply to a raw request. Returns whether it was asked for.
    pub(crate) fn answer_raw(&self, reply: RawReply) -> bool {
        self.answer(reply.id, reply.outcome.map_err(ServiceError::McpError))
    }

    /// Hands a reply to the caller that waits for it. Returns whether it was asked for.
    pub(crate) fn answer(&self, id: i64, reply: Reply) -> bool {
        let mut requests = self.requests.lock();
        // A reply that nothing has asked for is no sign that the server serves.
        let Some(open) = requests.open.remove(&id) else {
            return false;
        };
        requests.answered += 1;
        drop(requests);
        self.changed.notify_waiters();
        if let Some(waiter) = open.waiter {
            let _ = waiter.send(reply);
        }
        true
    }

    /// Notes how a request ended whose reply its caller has.
    #[cfg(feature = "http")]
    fn complete(&self, id: i64, reply: &Reply) {
        let answered = matches!(reply, Ok(_) | Err(ServiceError::McpError(_)));
        let mut requests = self.requests.lock();
        if requests.open.remove(&id).is_some() {
            requests.answered += u64::from(answered);
        }
        drop(requests);
        self.changed.notify_waiters();
    }

    /// Notes that a request could not be sent after all.
    pub(crate) fn not_sent(&self, id: i64, why: Option<io::Error>) {
        let open = self.requests.lock().open.remove(&id);
        self.changed.notify_waiters();
        if let Some(waiter) = open.and_then(|open| open.waiter) {
            let _ = waiter.send(Err(match why {
                Some(error) => unsent(error),
                None => ServiceError::TransportClosed,
            }));
        }
    }

    /// The caller of a raw request has gone.
    fn abandon(&self, id: i64, reason: Option<&str>) {
        if self.withdraw(id) {
            self.requests.lock().dropped += 1;
            return self.not_sent(id, None);
        }
        let Some(way) = self.way.get().filter(|_| self.cancelled(id)) else {
            return;
        };
        let line = message::cancelled_line(id, reason.unwrap_or(ABANDONED));
        let held = self.backlog.hold(line.len());
        match way {
            Way::Lines(wire) => wire.notify(line, held),
            #[cfg(feature = "http")]
            Way::Posts(post) => {
                if let Some(post) = post.upgrade() {
                    post.cancel(line, held);
                }
            }
        }
    }

    /// Takes a request back that has not left.
    fn withdraw(&self, id: i64) -> bool {
        matches!(self.way.get(), Some(Way::Lines(wire)) if wire.withdraw(id))
    }

    /// Notes that a request is cancelled. `false` if it is not under way.
    fn cancelled(&self, id: i64) -> bool {
        let mut requests = self.requests.lock();
        let is_open = match requests.open.get_mut(&id) {
            Some(open) => {
                open.cancelled = true;
                open.waiter = None;
                true
            }
            None => false,
        };
        if is_open {
            requests.cancellations += 1;
            requests.dropped += 1;
        }
        if requests.open.len() >= Self::MOST {
            requests
                .open
                .retain(|other, open| !open.cancelled || *other == id);
        }
        drop(requests);
        self.changed.notify_waiters();
        is_open
    }

    /// Ends all requests under way: the session has ended.
    pub(crate) fn close(&self) {
        let mut requests = self.requests.lock();
        requests.closed = true;
        let waiters: Vec<_> = requests
            .open
            .iter_mut()
            .filter_map(|(id, open)| Some((*id, open.waiter.take()?)))
            .collect();
        drop(requests);
        for (id, waiter) in waiters {
            let _ = waiter.send(Err(match self.withdraw(id) {
                true => unsent(io::ErrorKind::BrokenPipe.into()),
                false => ServiceError::TransportClosed,
            }));
        }
        self.changed.notify_waiters();
    }
}

/// What rmcp sends and receives.
impl Exchange {
    /// Notes a message to the server. Returns the id of a request, for [`Exchange::not_sent`].
    pub(crate) fn sending(&self, message: &TxJsonRpcMessage<RoleClient>) -> Option<i64> {
        match message {
            JsonRpcMessage::Request(request) => {
                // A subscription lasts as long as its session.
                if matches!(
                    request.request,
                    ClientRequest::SubscriptionsListenRequest(_)
                ) {
                    return None;
                }
                let id = number(&request.id)?;
                let mut requests = self.requests.lock();
                requests.calls += u64::from(!only_reads(request.request.method()));
                requests.open.insert(id, Open::default());
                Some(id)
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = cancelled.params.request_id.as_ref().and_then(number)
                {
                    self.cancelled(id);
                }
                None
            }
            _ => None,
        }
    }

    /// Notes a message from the server.
    pub(crate) fn received(&self, message: &RxJsonRpcMessage<RoleClient>) {
        let id = match message {
            JsonRpcMessage::Response(response) => number(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref().and_then(number),
            _ => None,
        };
        if let Some(id) = id {
            // Its waiter is rmcp's service, which has the message itself.
            self.answer(id, Err(ServiceError::UnexpectedResponse));
        }
    }
}

/// What is known of the server's work.
impl Exchange {
    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.requests.lock().answered
    }

    /// Requests sent so far that may have left state on the server.
    pub(crate) fn calls(&self) -> u64 {
        self.requests.lock().calls
    }

    /// Whether the server has a request with this id to answer.
    pub(crate) fn awaits(&self, id: i64) -> bool {
        self.requests.lock().open.contains_key(&id)
    }

    /// The id of the request that the server has to answer, if there is exactly one.
    pub(crate) fn only(&self) -> Option<i64> {
        let requests = self.requests.lock();
        let mut ids = requests.open.keys();
        ids.next().copied().filter(|_| ids.next().is_none())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.lock().open.is_empty()
    }

    /// Requests that the server has not answered.
    pub(crate) fn len(&self) -> usize {
        self.requests.lock().open.len()
    }

    /// Cancellations sent so far.
    #[cfg(test)]
    pub(crate) fn cancellations(&self) -> u64 {
        self.requests.lock().cancellations
    }

    /// Notes that a call was given up.
    pub(crate) fn give_up(&self) {
        self.requests.lock().given_up += 1;
    }

    /// Expects nothing of calls that were given up any more, no answers and no cancellations.
    pub(crate) fn forget_given_up(&self) {
        let mut requests = self.requests.lock();
        requests.open.retain(|_, open| !open.cancelled);
        requests.given_up = requests.dropped;
        drop(requests);
        self.changed.notify_waiters();
    }

    /// Waits until every request has been answered.
    pub(crate) async fn wait_empty(&self) {
        self.wait(|requests| requests.open.is_empty()).await;
    }

    /// Waits until the request of every call that was given up is dropped, and every cancelled one has been answered.
    pub(crate) async fn wait_given_up_answered(&self) {
        self.wait(|requests| {
            requests.dropped >= requests.given_up
                && !requests.open.values().any(|open| open.cancelled)
        })
        .await;
    }

    async fn wait(&self, reached: impl Fn(&Requests) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if reached(&self.requests.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("open", &self.len())
            .finish_non_exhaustive()
    }
}

/// A raw request under way, given up when it is dropped.
struct Waiting<'a> {
    exchange: &'a Exchange,
    id: i64,
    observer: Option<&'a dyn RequestObserver>,
    answered: bool,
}

impl Waiting<'_> {
    fn sent(&self) {
        if let Some(observer) = self.observer {
            observer.sent(RequestId::Number(self.id), token(self.id));
        }
    }

    fn never_sent(&mut self) {
        self.answered = true;
        self.exchange.not_sent(self.id, None);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let reason = self.observer.and_then(RequestObserver::cancel_reason);
            self.exchange.abandon(self.id, reason.as_deref());
        }
    }
}

/// The token under which a server reports the progress of a raw request.
pub(crate) fn token(id: i64) -> ProgressToken {
    ProgressToken(NumberOrString::Number(id))
}

fn unsent(error: io::Error) -> ServiceError {
    let name = "lines";
    let id = std::any::TypeId::of::<Exchange>();
    ServiceError::TransportSend(DynamicTransportError::from_parts(name, id, Box::new(error)))
}

/// Whether a request leaves nothing behind on the server that a fresh session would lack.
fn only_reads(method: &str) -> bool {
    matches!(
        method,
        "ping"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "logging/setLevel"
    )
}

#[cfg(test)]
mod tests;
