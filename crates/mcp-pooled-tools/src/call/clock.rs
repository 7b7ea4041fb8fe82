//! The clock of a call's limit. It begins again with progress, and stands still while a handler with a limit of its own
//! answers the server.

use std::{sync::Arc, time::Duration};

use mcp_pool_core::CallerHandler;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleClient,
    model::{ClientConfig, ClientResult, ServerNotification, ServerRequest},
    service::{NotificationContext, RequestContext, Service},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// When the limit last began, without the time of the handler.
#[derive(Debug)]
pub(super) struct Clock {
    state: Mutex<State>,
    /// Notified when it runs again: the call is due earlier then.
    runs: Notify,
}

#[derive(Debug)]
struct State {
    since: Instant,
    /// How long the handler has taken in all.
    answered: Duration,
    /// Answers under way.
    under_way: usize,
    /// Since when there are some.
    stopped: Instant,
}

impl Clock {
    pub(super) fn start(now: Instant) -> Self {
        let state = State {
            since: now,
            answered: Duration::ZERO,
            under_way: 0,
            stopped: now,
        };
        Self {
            state: Mutex::new(state),
            runs: Notify::new(),
        }
    }

    /// The server has reported progress.
    pub(super) fn restart(&self) {
        let mut state = self.state.lock();
        state.note_answered();
        state.since = Instant::now();
    }

    /// How long it has run since it last began.
    pub(super) fn elapsed(&self) -> Duration {
        let state = self.state.lock();
        let now = match state.under_way {
            0 => Instant::now(),
            _ => state.stopped,
        };
        now.saturating_duration_since(state.since)
    }

    /// When it began, and how long the handler has taken, if an answer that is under way takes until its `limit`.
    pub(super) fn at_the_latest(&self, limit: Option<Duration>) -> (Instant, Duration) {
        let state = self.state.lock();
        match limit {
            Some(limit) if state.under_way > 0 => {
                let limit = limit.min(LONGEST);
                (state.since + limit, state.answered + limit)
            }
            _ => (state.since, state.answered),
        }
    }

    /// Completes when it runs again.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(super) async fn runs(&self) {
        self.runs.notified().await;
    }

    pub(super) fn begin_answer(&self) -> Answer<'_> {
        let mut state = self.state.lock();
        if state.under_way == 0 {
            state.stopped = Instant::now();
        }
        state.under_way += 1;
        Answer(self)
    }
}

impl State {
    /// Leaves the time of the answers that are under way out.
    fn note_answered(&mut self) {
        if self.under_way > 0 {
            let now = Instant::now();
            let took = now - self.stopped;
            self.since += took;
            self.answered += took;
            self.stopped = now;
        }
    }
}

/// An answer that is under way, until it is dropped.
pub(super) struct Answer<'a>(&'a Clock);

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.note_answered();
        state.under_way -= 1;
        if state.under_way == 0 {
            self.0.runs.notify_one();
        }
    }
}

/// A handler that stops the clock while it answers the server, and answers within its limit.
pub(super) struct Answering {
    handler: CallerHandler,
    clock: Arc<Clock>,
    limit: Duration,
}

impl Answering {
    pub(super) fn new(handler: &CallerHandler, clock: Arc<Clock>, limit: Duration) -> Self {
        Self {
            handler: Arc::clone(handler),
            clock,
            limit,
        }
    }
}

impl Service<RoleClient> for Answering {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        let _answer = self.clock.begin_answer();
        let answer = self.handler.handle_request(request, context);
        match timeout(self.limit, answer).await {
            Ok(answered) => answered,
            Err(_) => {
                let message = format!("the client did not answer within {:?}", self.limit);
                Err(ErrorData::internal_error(message, None))
            }
        }
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        self.handler
            .handle_notification(notification, context)
            .await
    }

    fn get_info(&self) -> ClientConfig {
        self.handler.get_info()
    }
}

/// As far as the runtime's clock goes.
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);
