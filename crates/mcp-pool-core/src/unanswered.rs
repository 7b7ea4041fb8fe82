//! Requests that a server was sent and has not answered.
//!
//! Read off the messages themselves, so that it holds for whatever is done with a session. A caller that goes away takes
//! its reply channel along, and rmcp drops a late reply unseen. What still runs on the server is known here alone.

use std::collections::HashMap;

use parking_lot::Mutex;
use rmcp::{
    RoleClient,
    model::{ClientNotification, ClientRequest, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
};
use tokio::sync::Notify;

/// The requests under way on one session.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    requests: Mutex<Requests>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Requests {
    /// By id, whether the server was told that it is cancelled.
    open: HashMap<RequestId, bool>,
    /// Cancellations that were sent.
    cancellations: u64,
    /// Requests that were answered.
    answered: u64,
    /// Requests sent that may have left state on the server.
    calls: u64,
}

impl Unanswered {
    /// Requests under way at which cancelled ones are forgotten: many servers never answer those.
    const MANY: usize = 1_000;

    /// Notes a message to the server. Returns the id of a request, for [`Unanswered::not_sent`].
    pub(crate) fn sending(&self, message: &TxJsonRpcMessage<RoleClient>) -> Option<RequestId> {
        match message {
            JsonRpcMessage::Request(request) => {
                // A subscription lasts as long as its session.
                if matches!(
                    request.request,
                    ClientRequest::SubscriptionsListenRequest(_)
                ) {
                    return None;
                }
                let id = request.id.clone();
                let mut requests = self.requests.lock();
                requests.calls += u64::from(!only_reads(&request.request));
                requests.open.insert(id.clone(), false);
                Some(id)
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    let mut requests = self.requests.lock();
                    requests.cancellations += 1;
                    if requests.open.len() >= Self::MANY {
                        requests.open.retain(|_, cancelled| !*cancelled);
                    }
                    if let Some(cancelled) = requests.open.get_mut(id) {
                        *cancelled = true;
                    }
                    drop(requests);
                    self.changed.notify_waiters();
                }
                None
            }
            _ => None,
        }
    }

    /// Notes that a request could not be sent after all.
    pub(crate) fn not_sent(&self, id: &RequestId) {
        self.requests.lock().open.remove(id);
        self.changed.notify_waiters();
    }

    /// Notes a message from the server.
    pub(crate) fn received(&self, message: &RxJsonRpcMessage<RoleClient>) {
        match message {
            JsonRpcMessage::Response(response) => self.close(&response.id),
            JsonRpcMessage::Error(error) => {
                if let Some(id) = &error.id {
                    self.close(id);
                }
            }
            _ => {}
        }
    }

    fn close(&self, id: &RequestId) {
        let mut requests = self.requests.lock();
        // A reply that nothing has asked for is no sign that the server serves.
        let was_asked = requests.open.remove(id).is_some();
        requests.answered += u64::from(was_asked);
        drop(requests);
        self.changed.notify_waiters();
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.requests.lock().answered
    }

    /// Requests sent so far that may have left state on the server.
    pub(crate) fn calls(&self) -> u64 {
        self.requests.lock().calls
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.lock().open.is_empty()
    }

    /// Cancellations sent so far.
    pub(crate) fn cancellations(&self) -> u64 {
        self.requests.lock().cancellations
    }

    /// Expects no answers to cancelled requests any more.
    pub(crate) fn forget_cancelled(&self) {
        self.requests.lock().open.retain(|_, cancelled| !*cancelled);
        self.changed.notify_waiters();
    }

    /// Waits until every request has been answered.
    pub(crate) async fn wait_empty(&self) {
        self.wait(|requests| requests.open.is_empty()).await;
    }

    /// Waits until more than `before` cancellations have been sent, and every cancelled request has been answered.
    pub(crate) async fn wait_cancelled_answered(&self, before: u64) {
        self.wait(|requests| {
            requests.cancellations > before && !requests.open.values().any(|cancelled| *cancelled)
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

/// Whether a request leaves nothing behind on the server that a fresh session would lack.
fn only_reads(request: &ClientRequest) -> bool {
    matches!(
        request,
        ClientRequest::PingRequest(_)
            | ClientRequest::ListToolsRequest(_)
            | ClientRequest::ListPromptsRequest(_)
            | ClientRequest::ListResourcesRequest(_)
            | ClientRequest::ListResourceTemplatesRequest(_)
            | ClientRequest::SetLevelRequest(_)
    )
}

#[cfg(test)]
mod tests {
    use rmcp::model::{
        CancelledNotification, CancelledNotificationParam, EmptyObject, PingRequest, ServerResult,
    };

    use super::*;

    fn ask(unanswered: &Unanswered, id: i64) {
        let ping = ClientRequest::PingRequest(PingRequest::default());
        unanswered.sending(&JsonRpcMessage::request(ping, RequestId::Number(id)));
    }

    fn cancel(unanswered: &Unanswered, id: i64) {
        let params = CancelledNotificationParam::new(Some(RequestId::Number(id)), None);
        let cancelled = CancelledNotification::new(params);
        let cancelled = ClientNotification::CancelledNotification(cancelled);
        unanswered.sending(&JsonRpcMessage::notification(cancelled));
    }

    fn answer(unanswered: &Unanswered, id: i64) {
        let result = ServerResult::EmptyResult(EmptyObject {});
        unanswered.received(&JsonRpcMessage::response(result, RequestId::Number(id)));
    }

    #[test]
    fn a_reply_that_nothing_has_asked_for_is_not_counted_as_an_answer() {
        let unanswered = Unanswered::default();
        ask(&unanswered, 1);
        answer(&unanswered, 999);
        assert_eq!((unanswered.answered(), unanswered.is_empty()), (0, false));
        answer(&unanswered, 1);
        answer(&unanswered, 1);
        assert_eq!((unanswered.answered(), unanswered.is_empty()), (1, true));
    }

    #[test]
    fn cancelled_requests_that_are_never_answered_are_not_kept_without_end() {
        let unanswered = Unanswered::default();
        ask(&unanswered, -1);
        for id in 0..100_000 {
            ask(&unanswered, id);
            cancel(&unanswered, id);
        }
        assert!(unanswered.requests.lock().open.len() <= Unanswered::MANY);
        let kept = |id| {
            let id = RequestId::Number(id);
            unanswered.requests.lock().open.contains_key(&id)
        };
        assert!(kept(-1), "it was not cancelled");
        assert!(kept(99_999), "it was cancelled last");
    }
}
