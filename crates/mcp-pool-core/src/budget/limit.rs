//! A number of places that may change while they are taken.
//!
//! Not a semaphore, because the order matters: an opening for which callers wait comes before one that fills a minimum,
//! and among the former the one whose callers have waited longest. A place that comes back is handed to the first in
//! line under the lock, so no newcomer takes it on the way.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

#[derive(Debug)]
pub(super) struct Limit(Mutex<State>);

#[derive(Debug)]
struct State {
    max: usize,
    taken: usize,
    line: BTreeMap<Key, Arc<Asker>>,
    /// Those in line for whom callers wait.
    wanted: usize,
    /// Sessions that have been chosen to make room, and still hold their places.
    evictions: usize,
    joined: u64,
}

/// The order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Callers have waited since this moment.
    Wanted(Instant),
    /// No caller waits.
    Spare,
}

type Key = (Rank, u64);

#[derive(Debug, Default)]
struct Asker {
    granted: AtomicBool,
    notify: Notify,
}

/// One of the places of a [`Limit`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Limit>);

/// A session has been chosen to make room. Dropped when its place has come back.
#[derive(Debug)]
pub(crate) struct Eviction(Arc<Limit>);

/// Notifies the openings of a pool that callers are waiting.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Openings in line for which no caller waits.
    spare: AtomicUsize,
    arrived: Notify,
}

impl Demand {
    /// A caller has gone in line. Called after that, without the pool's lock.
    pub(crate) fn arrived(&self) {
        if self.spare.load(Ordering::SeqCst) > 0 {
            self.arrived.notify_waiters();
        }
    }
}

impl Limit {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            max: max.max(1),
            taken: 0,
            line: BTreeMap::new(),
            wanted: 0,
            evictions: 0,
            joined: 0,
        })))
    }

    pub(super) fn max(&self) -> usize {
        self.0.lock().max
    }

    pub(super) fn taken(&self) -> usize {
        self.0.lock().taken
    }

    /// `false` if that is what it was.
    pub(super) fn resize(&self, max: usize) -> bool {
        let max = max.max(1);
        let mut state = self.0.lock();
        let changed = std::mem::replace(&mut state.max, max) != max;
        let granted = state.grant();
        drop(state);
        granted.iter().for_each(|asker| asker.notify.notify_one());
        changed
    }

    /// Waits for a place. `wanted` says since when callers wait for it, if any do.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the place in line is given up, and a place that was granted goes to the next.
    pub(super) async fn take(
        self: &Arc<Self>,
        wanted: impl Fn() -> Option<Instant>,
        demand: &Demand,
    ) -> Place {
        let mut line = Request::join(self, demand, rank(wanted()));
        loop {
            let arrived = demand.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if line.key.0 == Rank::Spare {
                line.change_rank(rank(wanted()));
            }
            tokio::select! {
                () = line.asker.notify.notified() => {
                    if !line.pass_on(rank(wanted())) {
                        return line.into_place();
                    }
                }
                () = arrived => {}
            }
        }
    }

    /// Whether more callers wait for a place than sessions are on their way out.
    pub(super) fn must_evict(&self) -> bool {
        let state = self.0.lock();
        state.wanted > state.evictions
    }

    /// Leave to have one session closed, if more callers wait for a place than sessions are on their way out.
    pub(super) fn may_evict(self: &Arc<Self>) -> Option<Eviction> {
        let mut state = self.0.lock();
        (state.wanted > state.evictions).then(|| {
            state.evictions += 1;
            Eviction(Arc::clone(self))
        })
    }

    fn give_back(&self) {
        let mut state = self.0.lock();
        state.taken -= 1;
        let granted = state.grant();
        drop(state);
        granted.iter().for_each(|asker| asker.notify.notify_one());
    }
}

impl State {
    /// Gives free places to the first in line.
    fn grant(&mut self) -> Vec<Arc<Asker>> {
        let mut granted = Vec::new();
        while self.taken < self.max
            && let Some(((rank, _), asker)) = self.line.pop_first()
        {
            self.wanted -= usize::from(rank != Rank::Spare);
            self.taken += 1;
            asker.granted.store(true, Ordering::Relaxed);
            granted.push(asker);
        }
        granted
    }

    fn join(&mut self, key: Key, asker: Arc<Asker>) {
        self.wanted += usize::from(key.0 != Rank::Spare);
        self.line.insert(key, asker);
    }

    fn leave(&mut self, key: Key) -> Option<Arc<Asker>> {
        let asker = self.line.remove(&key)?;
        self.wanted -= usize::from(key.0 != Rank::Spare);
        Some(asker)
    }
}

fn rank(wanted: Option<Instant>) -> Rank {
    wanted.map_or(Rank::Spare, Rank::Wanted)
}

/// An opening in line for a place.
struct Request<'a> {
    limit: &'a Arc<Limit>,
    demand: &'a Demand,
    asker: Arc<Asker>,
    key: Key,
    over: bool,
}

impl<'a> Request<'a> {
    fn join(limit: &'a Arc<Limit>, demand: &'a Demand, rank: Rank) -> Self {
        let asker = Arc::<Asker>::default();
        let mut state = limit.0.lock();
        state.joined += 1;
        let key = (rank, state.joined);
        state.join(key, Arc::clone(&asker));
        let granted = state.grant();
        drop(state);
        granted.iter().for_each(|asker| asker.notify.notify_one());
        if rank == Rank::Spare {
            demand.spare.fetch_add(1, Ordering::SeqCst);
        }
        Self {
            limit,
            demand,
            asker,
            key,
            over: false,
        }
    }

    fn change_rank(&mut self, rank: Rank) {
        if rank == self.key.0 {
            return;
        }
        let mut state = self.limit.0.lock();
        // Else it has been granted meanwhile.
        if let Some(asker) = state.leave(self.key) {
            state.join((rank, self.key.1), asker);
        }
        drop(state);
        match rank {
            Rank::Spare => self.demand.spare.fetch_add(1, Ordering::SeqCst),
            Rank::Wanted(_) => self.demand.spare.fetch_sub(1, Ordering::SeqCst),
        };
        self.key.0 = rank;
    }

    /// The callers for whom the place was granted may have been served meanwhile. If those who wait `now` came later than
    /// others in line, the place goes to those, and this opening goes in line again.
    fn pass_on(&mut self, now: Rank) -> bool {
        let mut state = self.limit.0.lock();
        let first = state.line.first_key_value().map(|(key, _)| key.0);
        if now <= self.key.0 || first.is_none_or(|first| now <= first) {
            return false;
        }
        self.asker.granted.store(false, Ordering::Relaxed);
        let was_spare = std::mem::replace(&mut self.key.0, now) == Rank::Spare;
        state.join(self.key, Arc::clone(&self.asker));
        state.taken -= 1;
        let granted = state.grant();
        drop(state);
        if now == Rank::Spare && !was_spare {
            self.demand.spare.fetch_add(1, Ordering::SeqCst);
        }
        granted.iter().for_each(|asker| asker.notify.notify_one());
        true
    }

    fn into_place(mut self) -> Place {
        self.over = true;
        Place(Arc::clone(self.limit))
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.key.0 == Rank::Spare {
            self.demand.spare.fetch_sub(1, Ordering::SeqCst);
        }
        if self.over {
            return;
        }
        let mut state = self.limit.0.lock();
        if state.leave(self.key).is_none() && self.asker.granted.load(Ordering::Relaxed) {
            drop(state);
            self.limit.give_back();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for Eviction {
    fn drop(&mut self) {
        self.0.0.lock().evictions -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[tokio::test]
    async fn a_lowered_limit_is_paid_back_before_the_next_in_line_is_served() {
        let (limit, demand) = (Limit::new(3), Demand::default());
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(limit.take(|| None, &demand).await);
        }
        limit.resize(1);
        let mut next = pin!(limit.take(|| None, &demand));
        let mut poll = || next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        for taken in [3, 2, 1] {
            assert!(poll().is_pending());
            assert_eq!(limit.taken(), taken);
            places.pop();
        }
        assert!(matches!(poll(), Poll::Ready(_)));
    }
}
