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
    total: Arc<Limit>,
    connecting: Arc<Limit>,
    members: Mutex<Vec<Weak<dyn Member>>>,
}

/// A number of places that may change while they are taken.
struct Limit {
    free: Arc<Semaphore>,
    count: Mutex<Count>,
}

#[derive(Clone, Copy)]
struct Count {
    max: usize,
    /// Places above the limit that are still taken: each is given up when it comes back.
    owed: usize,
}

/// One of the places of a [`Limit`], given back when it is dropped.
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Limit>,
}

/// Leave to start one session.
pub(crate) type Turn = Place;

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
        Self(Arc::new(Inner {
            total: Limit::new(total),
            connecting: Limit::new(connecting),
            members: Mutex::default(),
        }))
    }

    /// Changes the limits. No session is closed for it: where more are open than may be, none is opened before enough
    /// have ended. `false` if they are what they were.
    pub fn configure(&self, total: usize, connecting: usize) -> bool {
        let total = self.0.total.resize(total);
        let connecting = self.0.connecting.resize(connecting);
        total || connecting
    }

    /// Sessions that may be open at once, over all pools.
    #[must_use]
    pub fn max_total(&self) -> usize {
        self.0.total.count.lock().max
    }

    /// Sessions open now, over all pools, counting those being opened and those not yet dead.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.total.taken()
    }

    pub(crate) fn join(&self, member: Weak<dyn Member>) {
        let mut members = self.0.members.lock();
        members.retain(|member| member.strong_count() > 0);
        members.push(member);
    }

    /// Waits for a place among all. If somebody waits for the session (`wanted`), an idle one elsewhere makes room, the
    /// longest unused first.
    pub(crate) async fn place(&self, wanted: impl Fn() -> bool) -> Place {
        tokio::select! {
            biased;
            place = self.0.total.take() => place,
            () = self.make_room_while(wanted) => unreachable!("it does not end"),
        }
    }

    /// Waits for leave to open.
    pub(crate) async fn turn(&self) -> Turn {
        self.0.connecting.take().await
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

impl Limit {
    fn new(max: usize) -> Arc<Self> {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            count: Mutex::new(Count { max, owed: 0 }),
        })
    }

    async fn take(self: &Arc<Self>) -> Place {
        loop {
            let permit = Arc::clone(&self.free).acquire_owned().await;
            let permit = permit.expect("never closed");
            let mut count = self.count.lock();
            if count.owed == 0 {
                return Place {
                    permit: Some(permit),
                    of: Arc::clone(self),
                };
            }
            // It came back in the moment in which the limit was lowered.
            count.owed -= 1;
            permit.forget();
        }
    }

    fn resize(&self, max: usize) -> bool {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        let mut count = self.count.lock();
        if max < count.max {
            let fewer = count.max - max;
            count.owed += fewer - self.free.forget_permits(fewer);
        } else {
            let more = max - count.max;
            let paid = more.min(count.owed);
            count.owed -= paid;
            self.free.add_permits(more - paid);
        }
        std::mem::replace(&mut count.max, max) != max
    }

    fn taken(&self) -> usize {
        let count = self.count.lock();
        (count.max + count.owed).saturating_sub(self.free.available_permits())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.of.count.lock();
        if count.owed > 0
            && let Some(permit) = self.permit.take()
        {
            count.owed -= 1;
            permit.forget();
        }
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
