//! Stages of a graceful shutdown, visible to requests.

use tokio_util::sync::CancellationToken;

/// How far the end of a server has come. Clones are the same.
///
/// A readiness probe answers "no" from [`is_draining`](Self::is_draining) on. A response without an end of its own, such as
/// an event stream, ends at [`stopping`](Self::stopping): the server waits for it until its grace is over.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl Shutdown {
    /// Of a server that has not begun to end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the end has begun. Requests are served for the drain delay after that.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Completes when no new connections are accepted and responses have to end.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    pub(crate) fn stopping_token(&self) -> CancellationToken {
        self.stopping.clone()
    }
}
