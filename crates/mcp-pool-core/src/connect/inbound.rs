//! Unsolicited messages of a server: answered here, passed on in order, or dropped, and bounded.
//!
//! rmcp spawns a task for every request and notification of a server, whether or not a reader exists.
//! A server that sends without end fills the memory that way, and keeps a worker of the runtime busy. So rmcp gets only
//! what it needs to see:
//!
//! - Requests for a caller's handler, at most [`MAX_REQUESTS`] at a time. All others, `ping` first among them, are answered
//!   here, one after the other.
//! - Cancellations and what belongs to a subscription. All other notifications go to the progress sinks, the listener
//!   and a lent handler, in the order of the wire and before the reply that follows them.
//!
//! What waits to be written back to a server that does not read is bounded; past that the session ends. Reading pauses
//! while the server sends more than its [`Pace`].

mod answers;

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use answers::Answers;
use rmcp::{
    ErrorData, RoleClient,
    model::{
        CancelledNotificationParam, ErrorCode, GetExtensions, GetMeta, JsonRpcError,
        JsonRpcMessage, JsonRpcRequest, ProgressNotificationParam, RequestId, ServerNotification,
        ServerRequest,
    },
    service::{RxJsonRpcMessage, ServiceError, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    decode::number,
    exchange::{Exchange, is_raw},
    handler::{ServerListener, SessionHandler, decline},
    pace::Pace,
    progress::ProgressRoutes,
    redact::MAX_QUOTED,
    transport_report::TransportReport,
};

/// Requests of one server that callers' handlers may be at work on.
const MAX_REQUESTS: usize = 64;

/// A transport that passes on messages with a reader, and handles the rest.
pub(super) struct Inbound<T> {
    inner: T,
    hearers: Hearers,
    requests: Arc<Semaphore>,
    answers: Answers,
    pace: Pace,
    report: Arc<TransportReport>,
    /// Cancelled as soon as nothing more will be read; rmcp takes seconds to let go of a transport.
    ended: CancellationToken,
}

/// Those to whom a server's messages go, beside rmcp.
pub(super) struct Hearers {
    pub(super) handler: SessionHandler,
    pub(super) progress: ProgressRoutes,
    pub(super) listener: Option<Arc<dyn ServerListener>>,
}

impl<T> Inbound<T> {
    pub(super) fn new(
        inner: T,
        hearers: Hearers,
        report: Arc<TransportReport>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            inner,
            hearers,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            answers: Answers::new(Arc::clone(&report.exchange().backlog)),
            pace: Pace::new(),
            report,
            ended,
        }
    }

    /// Nothing more will be read.
    fn end(&self) {
        self.ended.cancel();
        self.report.exchange().close();
    }

    fn does_not_read(&self) {
        let waiting = self.report.exchange().backlog.describe();
        self.report.fault(format!(
            "the server does not read what is sent to it: {waiting}"
        ));
    }

    /// What rmcp has to see of a message, if anything.
    fn take(
        &mut self,
        message: RxJsonRpcMessage<RoleClient>,
    ) -> Option<RxJsonRpcMessage<RoleClient>> {
        let size = self.report.take_size();
        // Our own transports look at how fast they read.
        let exchange = self.report.exchange();
        if !exchange.has_way() && is_unasked(&message, exchange) {
            self.pace.count(size);
        }
        match message {
            JsonRpcMessage::Request(request) => {
                self.take_request(request).map(JsonRpcMessage::Request)
            }
            JsonRpcMessage::Notification(notification) => {
                let notification = self.take_notification(notification.notification, size)?;
                Some(JsonRpcMessage::notification(notification))
            }
            JsonRpcMessage::Error(error) if error.id.is_none() => self.take_error(error),
            reply => {
                exchange.received(&reply);
                Some(reply)
            }
        }
    }

    /// An error without an id is that of the request under way, if there is one alone: the server could not read its id.
    fn take_error(&self, mut error: JsonRpcError) -> Option<RxJsonRpcMessage<RoleClient>> {
        let exchange = self.report.exchange();
        match exchange.only() {
            Some(id) if is_raw(id) => {
                exchange.answer(id, Err(ServiceError::McpError(error.error)));
                return None;
            }
            Some(id) => error.id = Some(RequestId::Number(id)),
            // In a handshake with two requests it is taken for that of the first.
            None => self.report.noise(),
        }
        let error = JsonRpcMessage::Error(error);
        exchange.received(&error);
        Some(error)
    }

    fn take_request(
        &mut self,
        mut request: JsonRpcRequest<ServerRequest>,
    ) -> Option<JsonRpcRequest<ServerRequest>> {
        let answer = if matches!(request.request, ServerRequest::PingRequest(_))
            || !self.hearers.handler.is_lent()
        {
            decline(&request.request)
        } else if let Ok(place) = Arc::clone(&self.requests).try_acquire_owned() {
            // It travels with the request to the handler, and is free when the handler is done.
            request.request.extensions_mut().insert(Arc::new(place));
            return Some(request);
        } else {
            let message = format!("{MAX_REQUESTS} requests wait for an answer already");
            Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, message, None))
        };
        self.answers.push(match answer {
            Ok(result) => JsonRpcMessage::response(result, request.id),
            Err(error) => JsonRpcMessage::error(error, Some(request.id)),
        });
        None
    }

    fn take_notification(
        &self,
        notification: ServerNotification,
        size: usize,
    ) -> Option<ServerNotification> {
        let hearers = &self.hearers;
        if let Some(listener) = &hearers.listener {
            let notify = || listener.on_notification(&notification);
            // A panic would end the reading, and with it the calls of all who share the session.
            if catch_unwind(AssertUnwindSafe(notify)).is_err() {
                tracing::error!("a listener to a server's notifications panicked");
            }
        }
        if notification.get_meta().subscription_id().is_some() {
            return Some(notification);
        }
        match notification {
            ServerNotification::CancelledNotification(mut cancelled) => {
                let CancelledNotificationParam {
                    request_id, reason, ..
                } = cancelled.params;
                let reason = reason.filter(|reason| reason.len() <= MAX_QUOTED);
                cancelled.params = CancelledNotificationParam::new(request_id, reason);
                Some(ServerNotification::CancelledNotification(cancelled))
            }
            ServerNotification::SubscriptionsAcknowledgedNotification(_) => Some(notification),
            ServerNotification::ProgressNotification(mut progress)
                if !hearers.progress.deliver(&progress.params) && !hearers.handler.is_lent() =>
            {
                // rmcp may have a timeout that progress resets. It looks at the token alone.
                let token = progress.params.progress_token;
                progress.params = ProgressNotificationParam::new(token, 0.0);
                Some(ServerNotification::ProgressNotification(progress))
            }
            other => hearers.handler.hand_on(other, size),
        }
    }
}

impl<T> Transport<RoleClient> for Inbound<T>
where
    T: Transport<RoleClient>,
{
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let waiting = match &item {
            JsonRpcMessage::Request(request) => {
                self.hearers.progress.open(&request.request);
                None
            }
            other => Some(self.answers.hold(other)),
        };
        let exchange = Arc::clone(self.report.exchange());
        let request = exchange.sending(&item);
        if request.is_some_and(is_raw) {
            self.report
                .fault("the session has used up the ids of its plain requests");
            self.ended.cancel();
        }
        let sending = self.inner.send(item);
        async move {
            let sent = sending.await;
            drop(waiting);
            if let (Err(_), Some(id)) = (&sent, request) {
                exchange.not_sent(id, None);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        while !self.ended.is_cancelled() {
            let backlog = &self.report.exchange().backlog;
            if backlog.is_excessive() {
                self.does_not_read();
                break;
            }
            self.answers.start(|answer| self.inner.send(answer));
            let full_until = self.answers.full_until();
            let message = tokio::select! {
                biased;
                () = self.answers.sent() => continue,
                () = backlog.excess() => continue,
                () = sleep_until(full_until.unwrap_or_else(Instant::now)), if full_until.is_some() => {
                    self.does_not_read();
                    break;
                }
                message = async {
                    self.pace.ready(self.report.server()).await;
                    self.inner.receive().await
                }, if full_until.is_none() => message,
            };
            let Some(message) = message else { break };
            if let Some(message) = self.take(message) {
                return Some(message);
            }
        }
        self.end();
        None
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}

/// Whether a message is none that was asked for.
pub(super) fn is_unasked(message: &RxJsonRpcMessage<RoleClient>, exchange: &Exchange) -> bool {
    let id = match message {
        JsonRpcMessage::Response(response) => Some(&response.id),
        JsonRpcMessage::Error(error) => error.id.as_ref(),
        JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
    };
    !id.and_then(number).is_some_and(|id| exchange.awaits(id))
}

/// rmcp's service drops its transport when it ends, for whatever reason; nothing else says so to the outside without being
/// asked.
impl<T> Drop for Inbound<T> {
    fn drop(&mut self) {
        self.end();
    }
}
