//! Places for connections.
//!
//! Silent connections cost nothing to open, so their number must not keep anybody out. When all places are taken, the
//! connection that has been idle for longest gives its place to a new one. If every connection has a request under way, a
//! few places are left, on which only probes are answered: an orchestrator must not end the program because it is asked for
//! much.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Clones are the same places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Connection>,
    next: u64,
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

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    id: u64,
    /// Only probes are answered.
    pub(crate) only_probes: bool,
    /// The connection has to go.
    pub(crate) evicted: CancellationToken,
}

/// A request under way on a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Request(Arc<Place>);

impl Places {
    /// A place for a new connection; `None` if even those for probes are taken by requests under way.
    pub(crate) fn take(&self) -> Option<Place> {
        let mut open = self.0.lock();
        let only_probes = !open.has_room(false) && !open.evict(false);
        if only_probes && !open.has_room(true) && !open.evict(true) {
            return None;
        }
        let (id, evicted) = (open.next, CancellationToken::new());
        open.next += 1;
        let connection = Connection {
            only_probes,
            requests: 0,
            idle_since: Instant::now(),
            evicted: evicted.clone(),
        };
        open.connections.insert(id, connection);
        Some(Place {
            places: self.clone(),
            id,
            only_probes,
            evicted,
        })
    }
}

impl Open {
    fn has_room(&self, only_probes: bool) -> bool {
        let connections = self.connections.values();
        let taken = connections.filter(|connection| connection.only_probes == only_probes);
        taken.count() < if only_probes { FOR_PROBES } else { MOST }
    }

    /// Ends the connection of this kind that has been idle for longest; `false` if none is idle.
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

impl Place {
    /// A request has begun.
    pub(crate) fn request(self: &Arc<Self>) -> Request {
        self.change(|connection| connection.requests += 1);
        Request(Arc::clone(self))
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        let mut open = self.places.0.lock();
        // It is no longer there once it has been evicted.
        if let Some(connection) = open.connections.get_mut(&self.id) {
            change(connection);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().connections.remove(&self.id);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.change(|connection| {
            connection.requests -= 1;
            connection.idle_since = Instant::now();
        });
    }
}

/// Connections at a time: streams, scrapes, and people.
pub(crate) const MOST: usize = 512;

/// Further ones on which only probes are answered.
const FOR_PROBES: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_for_longest_gives_its_place() {
        let places = Places::default();
        let mut open = Vec::new();
        for _ in 0..MOST {
            open.push(Arc::new(places.take().expect("there is room")));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // The first has a request, the second has just had one.
        let request = open[0].request();
        drop(open[1].request());
        let new = places.take().expect("the third goes");
        assert!(!new.only_probes);
        let evicted = |at: usize| open[at].evicted.is_cancelled();
        assert_eq!([0, 1, 2, 3].map(evicted), [false, false, true, false]);
        drop(request);
    }

    #[tokio::test]
    async fn among_requests_under_way_a_few_places_are_left_for_probes() {
        let places = Places::default();
        let take = || places.take().map(Arc::new);
        let open: Vec<_> = (0..MOST).map(|_| take().expect("there is room")).collect();
        let requests: Vec<_> = open.iter().map(Place::request).collect();
        let probes: Vec<_> = (0..FOR_PROBES)
            .map(|_| take().expect("for a probe"))
            .collect();
        assert!(probes.iter().all(|place| place.only_probes));
        let busy: Vec<_> = probes.iter().map(Place::request).collect();
        assert!(take().is_none());
        // Idle ones give way to others of their kind.
        drop(busy);
        assert!(take().expect("a probe went").only_probes);
        drop((open, requests));
        assert!(!take().expect("there is room").only_probes);
    }
}
