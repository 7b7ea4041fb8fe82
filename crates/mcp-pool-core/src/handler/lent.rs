//! A caller's handler, lent to a session for the time of a call.
//!
//! rmcp hands each notification to a task of its own, so that they arrive in any order, and the last ones after the reply
//! to the call. Here they are queued in the order of the wire and handed on one after the other, and the borrower can wait
//! until all that came before the reply has been handed on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::{
    RoleClient,
    model::{GetExtensions, GetMeta, ServerNotification},
    service::NotificationContext,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{CallerHandler, Slot};

/// Notifications that wait for the handler, in number and bytes; later ones are dropped.
const MAX_WAITING: usize = 1_000;
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// rmcp makes these contexts, and nothing else can: the first notification that passes through its loop leaves one here.
pub(super) type Context = watch::Sender<Option<NotificationContext<RoleClient>>>;

enum Item {
    Notification(Box<ServerNotification>, usize),
    Flushed(oneshot::Sender<()>),
}

/// The queue before a caller's handler.
pub(super) struct Queue {
    pub(super) handler: CallerHandler,
    items: mpsc::Sender<Item>,
    waiting_bytes: Arc<AtomicUsize>,
    overflowed: AtomicBool,
}

impl Queue {
    /// Queues a notification that had `size` bytes on the wire.
    pub(super) fn push(&self, notification: ServerNotification, size: usize) {
        let before = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        // One alone may be as large as any message.
        let fits = before == 0 || before + size <= MAX_WAITING_BYTES;
        let item = Item::Notification(Box::new(notification), size);
        if fits && self.items.try_send(item).is_ok() {
            return;
        }
        self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
        if !self.overflowed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a caller's handler is slower than its server: notifications are dropped"
            );
        }
    }
}

/// Ends the lending of a session's handler when it is dropped.
#[must_use = "the handler is taken back when this is dropped"]
pub struct Lent {
    slot: Slot,
    queue: Arc<Queue>,
    _delivering: AbortOnDropHandle<()>,
}

impl Lent {
    pub(super) fn new(slot: Slot, handler: CallerHandler, context: Context) -> Self {
        let (items, inbox) = mpsc::channel(MAX_WAITING);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let delivery = deliver(
            Arc::clone(&handler),
            inbox,
            Arc::clone(&waiting_bytes),
            context,
        );
        #[allow(clippy::disallowed_methods, reason = "aborted with its owner")]
        let delivering = AbortOnDropHandle::new(tokio::spawn(delivery));
        let queue = Arc::new(Queue {
            handler,
            items,
            waiting_bytes,
            overflowed: AtomicBool::new(false),
        });
        *slot.lock() = Some(Arc::clone(&queue));
        Self {
            slot,
            queue,
            _delivering: delivering,
        }
    }

    /// Waits until the handler has been given all notifications that have been read so far: after a reply, those that
    /// came before it. Gives up after `limit`.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn flush(&self, limit: Duration) {
        let (flushed, done) = oneshot::channel();
        let flushing = async {
            let item = Item::Flushed(flushed);
            if self.queue.items.send(item).await.is_ok() {
                let _ = done.await;
            }
        };
        if timeout(limit, flushing).await.is_err() {
            tracing::warn!("a caller's handler did not take the last notifications of its call");
        }
    }
}

async fn deliver(
    handler: CallerHandler,
    mut inbox: mpsc::Receiver<Item>,
    waiting_bytes: Arc<AtomicUsize>,
    context: Context,
) {
    while let Some(item) = inbox.recv().await {
        match item {
            Item::Flushed(flushed) => drop(flushed.send(())),
            Item::Notification(mut notification, size) => {
                let Some(mut context) = known(&context).await else {
                    return;
                };
                // As rmcp does it.
                std::mem::swap(&mut context.extensions, notification.extensions_mut());
                std::mem::swap(&mut context.meta, notification.get_meta_mut());
                if let Err(error) = handler.handle_notification(*notification, context).await {
                    tracing::warn!(
                        "a caller's handler failed on a notification: {}",
                        error.message
                    );
                }
                waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            }
        }
    }
}

async fn known(context: &Context) -> Option<NotificationContext<RoleClient>> {
    let mut context = context.subscribe();
    let known = context.wait_for(Option::is_some).await.ok()?;
    known.clone()
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.slot.lock().take();
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}
