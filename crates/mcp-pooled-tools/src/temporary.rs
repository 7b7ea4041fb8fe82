//! A temporary session for one caller, outside of every pool.

use mcp_pool_core::{AcquireError, PinnedLease, SessionPool};

use crate::server::Tasks;

/// Closed in the background when it is dropped; shutdown waits for that.
#[derive(Debug)]
pub(crate) struct TemporarySession {
    session: PinnedLease,
    _closing: Closing,
}

impl TemporarySession {
    /// `pool` holds one session at the most, and has no other user.
    pub(crate) async fn open(pool: SessionPool, tasks: Tasks) -> Result<Self, AcquireError> {
        // Also if it does not open, or its caller has gone.
        let closing = Closing { pool, tasks };
        let session = closing.pool.pin().await?;
        Ok(Self {
            session,
            _closing: closing,
        })
    }

    pub(crate) fn held(&self) -> &PinnedLease {
        &self.session
    }
}

#[derive(Debug)]
struct Closing {
    pool: SessionPool,
    tasks: Tasks,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let pool = self.pool.clone();
        self.tasks.spawn(async move { pool.close().await });
    }
}
