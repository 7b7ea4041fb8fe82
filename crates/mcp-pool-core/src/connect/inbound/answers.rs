//! Queue of answers to a server.

use std::{collections::VecDeque, io, pin::Pin, sync::Arc};

use rmcp::{RoleClient, service::TxJsonRpcMessage};
use tokio::time::{Duration, Instant};

use crate::exchange::{Backlog, MAX_MESSAGES, QueuedMessage};

/// Answers that may wait before nothing more is read, and for how long none of them may leave then.
const MAX_ANSWERS: usize = MAX_MESSAGES / 2;
const PATIENCE: Duration = Duration::from_secs(5);

type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers to a server's requests, sent one after the other, and a count of all that is not a request of ours.
pub(super) struct Answers {
    queue: VecDeque<(TxJsonRpcMessage<RoleClient>, QueuedMessage)>,
    sending: Option<Sending>,
    /// Since when the queue is full and none has left.
    stuck_since: Option<Instant>,
    backlog: Arc<Backlog>,
}

impl Answers {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self {
            queue: VecDeque::new(),
            sending: None,
            stuck_since: None,
            backlog,
        }
    }

    pub(super) fn push(&mut self, answer: TxJsonRpcMessage<RoleClient>) {
        let waiting = self.hold(&answer);
        self.queue.push_back((answer, waiting));
    }

    /// Counts a message that waits.
    pub(super) fn hold(&self, message: &TxJsonRpcMessage<RoleClient>) -> QueuedMessage {
        self.backlog.hold(size(message))
    }

    /// Until when an answer has to leave, if so many wait that nothing should be read.
    pub(super) fn full_until(&mut self) -> Option<Instant> {
        if self.queue.len() < MAX_ANSWERS {
            return None;
        }
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        Some(since + PATIENCE)
    }

    /// Begins to send the next answer, unless one is under way.
    pub(super) fn start<F, E>(&mut self, send: impl FnOnce(TxJsonRpcMessage<RoleClient>) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        if self.sending.is_some() {
            return;
        }
        if let Some((answer, waiting)) = self.queue.pop_front() {
            let sending = send(answer);
            self.sending = Some(Box::pin(async move {
                // A broken connection shows where it is read.
                let _ = sending.await;
                drop(waiting);
            }));
        }
    }

    /// Waits until the answer under way is sent; without one, it never returns.
    pub(super) async fn sent(&mut self) {
        match &mut self.sending {
            Some(sending) => sending.await,
            None => std::future::pending().await,
        }
        self.sending = None;
        self.stuck_since = None;
    }
}

fn size(message: &TxJsonRpcMessage<RoleClient>) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    let _ = serde_json::to_writer(&mut count, message);
    count.0
}
