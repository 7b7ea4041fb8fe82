//! A limit on connections that idle ones do not exhaust.
//!
//! Silent connections cost a peer nothing, so their number must not keep others out. When all slots are taken, the
//! connection that has been idle for longest gives its slot to a new one. If every connection has a request under way, a
//! few slots are left on which only probes are answered: an orchestrator must not end the program because it is busy.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Slots on which only probes are answered.
const FOR_PROBES: usize = 16;

/// Clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimit(Arc<Mutex<Slots>>);

#[derive(Debug)]
struct Slots {
    max: usize,
    connections: HashMap<u64, Connection>,
    next_id: u64,
}

#[derive(Debug)]
struct Connection {
    only_probes: bool,
    /// Requests under way.
    requests: u32,
    /// When the last of them ended, or the connection began.
    idle_since: Instant,
    evicted: CancellationToken,
}

/// The slot of one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    limit: ConnectionLimit,
    id: u64,
    /// Only probes are answered.
    only_probes: bool,
    /// Cancelled when the connection has to close.
    pub(crate) evicted: CancellationToken,
}

/// A request under way on a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Slot>);

impl ConnectionLimit {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Slots {
            max,
            connections: HashMap::new(),
            next_id: 0,
        })))
    }

    /// A slot for a new connection; `None` if even those for probes are taken by requests under way.
    pub(crate) fn take(&self) -> Option<Slot> {
        let mut slots = self.0.lock();
        let only_probes = !slots.has_room(false) && !slots.evict(false);
        if only_probes && !slots.has_room(true) && !slots.evict(true) {
            return None;
        }
        let (id, evicted) = (slots.next_id, CancellationToken::new());
        slots.next_id += 1;
        let connection = Connection {
            only_probes,
            requests: 0,
            idle_since: Instant::now(),
            evicted: evicted.clone(),
        };
        slots.connections.insert(id, connection);
        Some(Slot {
            limit: self.clone(),
            id,
            only_probes,
            evicted,
        })
    }
}

impl Slots {
    fn has_room(&self, only_probes: bool) -> bool {
        let connections = self.connections.values();
        let taken = connections.filter(|connection| connection.only_probes == only_probes);
        taken.count() < if only_probes { FOR_PROBES } else { self.max }
    }

    /// Closes the connection of this kind that has been idle for longest; `false` if none is idle.
    fn evict(&mut self, only_probes: bool) -> bool {
        let idle = self.connections.iter().filter(|(_, connection)| {
            connection.only_probes == only_probes && connection.requests == 0
        });
        let longest = idle.min_by_key(|(id, connection)| (connection.idle_since, **id));
        let longest = longest.map(|(id, _)| *id);
        let evicted = longest.and_then(|id| self.connections.remove(&id));
        if let Some(connection) = &evicted {
            connection.evicted.cancel();
        }
        evicted.is_some()
    }
}

impl Slot {
    /// Counts a request as under way.
    pub(crate) fn request(self: &Arc<Self>) -> InFlight {
        self.change(|connection| connection.requests += 1);
        InFlight(Arc::clone(self))
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        let mut slots = self.limit.0.lock();
        // An evicted connection is no longer there.
        if let Some(connection) = slots.connections.get_mut(&self.id) {
            change(connection);
        }
    }
}

impl InFlight {
    /// Whether it is answered only if it is a probe.
    pub(crate) fn only_probes(&self) -> bool {
        self.0.only_probes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limit.0.lock().connections.remove(&self.id);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.change(|connection| {
            connection.requests -= 1;
            connection.idle_since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MAX: usize = 4;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_for_longest_gives_its_slot() {
        let limit = ConnectionLimit::new(MAX);
        let mut open = Vec::new();
        for _ in 0..MAX {
            open.push(Arc::new(limit.take().expect("there is room")));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // The first has a request, the second has just had one.
        let request = open[0].request();
        drop(open[1].request());
        let new = limit.take().expect("the third goes");
        assert!(!new.only_probes);
        let evicted = |at: usize| open[at].evicted.is_cancelled();
        assert_eq!([0, 1, 2, 3].map(evicted), [false, false, true, false]);
        drop(request);
    }

    #[tokio::test]
    async fn among_requests_under_way_a_few_slots_are_left_for_probes() {
        let limit = ConnectionLimit::new(MAX);
        let take = || limit.take().map(Arc::new);
        let open: Vec<_> = (0..MAX).map(|_| take().expect("there is room")).collect();
        let requests: Vec<_> = open.iter().map(Slot::request).collect();
        let probes: Vec<_> = (0..FOR_PROBES)
            .map(|_| take().expect("for a probe"))
            .collect();
        assert!(probes.iter().all(|slot| slot.only_probes));
        let busy: Vec<_> = probes.iter().map(Slot::request).collect();
        assert!(take().is_none());
        // Idle ones give way to others of their kind.
        drop(busy);
        assert!(take().expect("a probe went").only_probes);
        drop((open, requests));
        assert!(!take().expect("there is room").only_probes);
    }
}
