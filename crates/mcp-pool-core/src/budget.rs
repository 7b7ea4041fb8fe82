//! Limits over all the pools of a process.
//!
//! A place serves the caller that has waited longest, over all pools. Where all places are taken, an idle session makes room for
//! a caller, the longest unused first. Where none is idle, the pool with the most sessions owes one to a pool that has
//! none, or at least two fewer: it closes the first session that becomes idle once earlier callers have been served. So a busy server cannot keep a quiet one from its first session, and two busy ones end up with equal
//! shares. Filling a minimum takes free places only.

mod limit;
mod member;

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use limit::Limit;
pub(crate) use limit::{Demand, Eviction, Place};
pub(crate) use member::{Member, Sessions, Waiting};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::router::ScopeId;

/// A pool may have become the one to ask without saying so.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A share in the limits: may be held by any number of pools.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    total: Arc<Limit>,
    connecting: Arc<Limit>,
    members: Mutex<Members>,
    /// Openings in line for a place.
    looking: AtomicUsize,
    /// When no pool had an idle session, if none has come to rest since.
    none_idle: Mutex<Option<Instant>>,
    /// When no pool had a session to give up for one that has none.
    none_to_ask: Mutex<Option<Instant>>,
    rested: Notify,
}

#[derive(Default)]
struct Members {
    pools: Vec<Weak<dyn Member>>,
    /// Those that are gone are swept out when there are so many.
    sweep_at: usize,
}

/// Leave to start one session.
pub(crate) type Turn = Place;

impl Budget {
    /// At most `total` sessions, and `connecting` of them being started at once, both at least 1. A start counts for
    /// two seconds at most: a server that takes longer to answer does not hold up those of other pools.
    #[must_use]
    pub fn new(total: usize, connecting: usize) -> Self {
        Self(Arc::new(Inner {
            total: Limit::new(total),
            connecting: Limit::new(connecting),
            members: Mutex::default(),
            looking: AtomicUsize::new(0),
            none_idle: Mutex::default(),
            none_to_ask: Mutex::default(),
            rested: Notify::new(),
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
        self.0.total.max()
    }

    /// Sessions open now, over all pools, counting those being opened and those not yet dead.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.total.taken()
    }

    pub(crate) fn join(&self, member: Weak<dyn Member>) {
        const FEW: usize = 64;
        let mut members = self.0.members.lock();
        if members.pools.len() >= members.sweep_at {
            members.pools.retain(|member| member.strong_count() > 0);
            members.sweep_at = FEW.max(2 * members.pools.len());
        }
        members.pools.push(member);
    }

    /// Waits for a place among all, for a session of this queue. While callers wait for it, other pools make room.
    pub(crate) async fn place(&self, of: &dyn Member, scope: Option<ScopeId>) -> Place {
        let wanted = || of.waiting_since(Waiting::InQueue(scope));
        tokio::select! {
            biased;
            place = self.0.total.take(wanted, of.demand()) => place,
            () = self.make_room(of, wanted) => unreachable!("it does not end"),
        }
    }

    /// Waits for leave to open.
    pub(crate) async fn turn(&self, of: &dyn Member) -> Turn {
        let wanted = || of.waiting_since(Waiting::Anywhere);
        self.0.connecting.take(wanted, of.demand()).await
    }

    /// A session has come to rest: it may make room.
    pub(crate) fn rested(&self) {
        if self.0.looking.load(Ordering::Relaxed) > 0 {
            *self.0.none_idle.lock() = None;
            self.0.rested.notify_one();
        }
    }

    async fn make_room(&self, mine: &dyn Member, wanted: impl Fn() -> Option<Instant>) {
        let _looking = Looking::begin(&self.0.looking);
        let mut debt: Option<Debt> = None;
        loop {
            debt = debt.filter(Debt::stands);
            if wanted().is_some() && (debt.is_some() || self.0.total.must_evict()) {
                if self.evict_idle(&mut debt) {
                    continue;
                }
                if debt.is_none() {
                    debt = self.ask(mine);
                }
            }
            tokio::select! {
                () = self.0.rested.notified() => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Closes the longest unused session. It is better than the one that was promised, which is still in use.
    fn evict_idle(&self, debt: &mut Option<Debt>) -> bool {
        if is_recent(&self.0.none_idle) {
            return false;
        }
        let pools = self.pools();
        let Some((idle, _)) = longest_unused(&pools) else {
            *self.0.none_idle.lock() = Some(Instant::now());
            return false;
        };
        let promised = debt.take().and_then(Debt::forgive);
        let eviction = promised.or_else(|| self.0.total.may_evict());
        eviction.is_some_and(|eviction| idle.let_go(eviction))
    }

    /// Asks the pool with the most sessions to give one up.
    fn ask(&self, mine: &dyn Member) -> Option<Debt> {
        let has = mine.sessions().live;
        if has == 0 && is_recent(&self.0.none_to_ask) {
            return None;
        }
        let pools = self.pools();
        let Some(pool) = largest(&pools, has) else {
            // A pool that has sessions may ask fewer others: its answer is its own.
            if has == 0 {
                *self.0.none_to_ask.lock() = Some(Instant::now());
            }
            return None;
        };
        Debt::of(pool, self.0.total.may_evict()?)
    }

    fn pools(&self) -> Vec<Arc<dyn Member>> {
        let members = self.0.members.lock();
        members.pools.iter().filter_map(Weak::upgrade).collect()
    }
}

fn longest_unused(pools: &[Arc<dyn Member>]) -> Option<(&Arc<dyn Member>, Duration)> {
    let unused = pools
        .iter()
        .filter_map(|pool| Some((pool, pool.longest_unused()?)));
    unused.max_by_key(|(_, unused)| *unused)
}

/// With many openings in line, each pool is looked at about once in that time, and not once for each.
fn is_recent(moment: &Mutex<Option<Instant>>) -> bool {
    moment
        .lock()
        .is_some_and(|when| when.elapsed() < LOOK_AGAIN)
}

/// The pool with the most sessions, if one fewer leaves it no fewer than one more gives the pool that asks and `has` so
/// many, or if that one has none.
fn largest(pools: &[Arc<dyn Member>], has: u32) -> Option<&Arc<dyn Member>> {
    let pools = pools.iter().map(|pool| (pool, pool.sessions()));
    let spare = pools.filter(|(_, sessions)| {
        sessions.shared > 0 && !sessions.owed && (has == 0 || sessions.live >= has + 2)
    });
    spare
        .max_by_key(|(_, sessions)| sessions.live)
        .map(|(pool, _)| pool)
}

/// A session that a pool has promised. Dropped when it is no longer needed.
struct Debt {
    debtor: Arc<dyn Member>,
    number: u64,
}

impl Debt {
    fn of(debtor: &Arc<dyn Member>, eviction: Eviction) -> Option<Self> {
        let number = debtor.owe(eviction)?;
        let debtor = Arc::clone(debtor);
        Some(Self { debtor, number })
    }

    /// Whether the promise is still to be kept, and can be.
    fn stands(&self) -> bool {
        self.debtor.owes(self.number) && self.debtor.sessions().shared > 0
    }

    /// Takes the promise back, unless it has been kept.
    fn forgive(self) -> Option<Eviction> {
        self.debtor.forgive(self.number)
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        drop(self.debtor.forgive(self.number));
    }
}

struct Looking<'a>(&'a AtomicUsize);

impl<'a> Looking<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
