//! Limits over all the pools of a process.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use crate::session::Session;

/// A share in the limits: may be held by any number of pools.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    total: Arc<Semaphore>,
    connecting: Arc<Semaphore>,
    max_total: usize,
    members: Mutex<Vec<Weak<dyn Member>>>,
}

/// Leave to start one session.
pub(crate) type Turn = OwnedSemaphorePermit;

/// A pool, as the others see it.
pub(crate) trait Member: Send + Sync {
    /// How long the longest unused idle session has been unused.
    fn longest_unused(&self) -> Option<Duration>;
    /// Closes that session, and returns it.
    fn let_go(&self) -> Option<Arc<Session>>;
}

impl Budget {
    /// At most `total` sessions, and `connecting` of them being started at once, both at least 1. A start counts for
    /// two seconds at most: a server that takes longer to answer does not hold up those of other pools.
    #[must_use]
    pub fn new(total: usize, connecting: usize) -> Self {
        let (total, connecting) = (
            total.clamp(1, Semaphore::MAX_PERMITS),
            connecting.clamp(1, Semaphore::MAX_PERMITS),
        );
        Self(Arc::new(Inner {
            total: Arc::new(Semaphore::new(total)),
            connecting: Arc::new(Semaphore::new(connecting)),
            max_total: total,
            members: Mutex::default(),
        }))
    }

    /// Sessions that may be open at once, over all pools.
    #[must_use]
    pub fn max_total(&self) -> usize {
        self.0.max_total
    }

    /// Sessions open now, over all pools, counting those being opened and those not yet dead.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.max_total - self.0.total.available_permits()
    }

    pub(crate) fn join(&self, member: Weak<dyn Member>) {
        let mut members = self.0.members.lock();
        members.retain(|member| member.strong_count() > 0);
        members.push(member);
    }

    /// Waits for a place among all. If somebody waits for the session (`wanted`), an idle one elsewhere makes room, the
    /// longest unused first.
    pub(crate) async fn place(&self, wanted: impl Fn() -> bool) -> OwnedSemaphorePermit {
        let total = Arc::clone(&self.0.total);
        tokio::select! {
            biased;
            permit = total.acquire_owned() => permit.expect("never closed"),
            () = self.make_room_while(wanted) => unreachable!("it does not end"),
        }
    }

    /// Waits for leave to open.
    pub(crate) async fn turn(&self) -> Turn {
        Arc::clone(&self.0.connecting)
            .acquire_owned()
            .await
            .expect("never closed")
    }

    async fn make_room_while(&self, wanted: impl Fn() -> bool) {
        /// A session that becomes idle elsewhere tells nobody.
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        loop {
            // One at a time: a session takes its time to close, and needs its place until then.
            match wanted().then(|| self.make_room()).flatten() {
                Some(session) => session.buried().await,
                None => sleep(LOOK_AGAIN).await,
            }
        }
    }

    fn make_room(&self) -> Option<Arc<Session>> {
        let members: Vec<_> = self
            .0
            .members
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let unused = members
            .iter()
            .filter_map(|member| Some((member.longest_unused()?, member)));
        unused
            .max_by_key(|(unused, _)| *unused)
            .and_then(|(_, member)| member.let_go())
    }
}

impl Default for Budget {
    /// 100 sessions, 4 of them being started at once.
    fn default() -> Self {
        Self::new(100, 4)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("max_total", &self.max_total())
            .field("in_use", &self.in_use())
            .finish()
    }
}
