//! Lists of all servers for one identity: in memory, and of those without an identity also on disk.
//!
//! Lists are answered from here. A server whose lists are known is not started for a listing; they are refreshed in the
//! background while it runs. Fetches are coalesced: at most one for each server is under way, and what changes during it
//! causes one more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{disk::Disk, kind::ListKind, server_lists::ServerLists};
use crate::error::Error;

#[derive(Debug)]
pub(crate) struct Catalogue {
    servers: Mutex<BTreeMap<Arc<str>, Known>>,
    /// Fetches begun so far.
    begun: AtomicU64,
    /// Grows with each change of what is known, and with each end of a fetch.
    version: watch::Sender<u64>,
    disk: Option<Disk>,
    /// Held while lists are read from the disk: no other listing starts a server meanwhile.
    pub(crate) reading: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of one server.
#[derive(Debug, Default)]
struct Known {
    lists: Option<Arc<ServerLists>>,
    /// When the lists are to be fetched again: at once after a change. `None`: not before a change.
    refresh_at: Option<Instant>,
    /// Why the last fetch failed.
    failure: Option<Arc<Error>>,
    fetching: Option<Fetching>,
    /// When the last fetch ended.
    fetched: Option<Instant>,
    /// Fetches in a row that were held back and brought nothing new.
    needless: u32,
    looked_on_disk: bool,
}

#[derive(Debug)]
struct Fetching {
    by: FetchId,
    /// Listings wait until then.
    until: Instant,
    /// Something has changed since.
    again: bool,
}

/// One fetch. What it brings is of no use once its server has been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchId(u64);

/// What a listing has of one server. Lists that are known stay so while they are fetched again, and after a failure.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Known(Arc<ServerLists>),
    /// The fetch failed.
    Failed(Arc<Error>),
    /// A fetch is under way, which listings wait for until then.
    Fetching(Instant),
    /// No fetch has begun.
    Unknown,
}

impl Catalogue {
    pub(crate) fn new(disk: Option<Disk>) -> Self {
        Self {
            servers: Mutex::default(),
            begun: AtomicU64::new(0),
            version: watch::Sender::new(0),
            disk,
            reading: Arc::default(),
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn state(&self, server: &str) -> State {
        let servers = self.servers.lock();
        let Some(known) = servers.get(server) else {
            return State::Unknown;
        };
        match known {
            Known {
                lists: Some(lists), ..
            } => State::Known(Arc::clone(lists)),
            Known {
                fetching: Some(fetching),
                ..
            } if fetching.until > Instant::now() => State::Fetching(fetching.until),
            Known {
                failure: Some(failure),
                ..
            } => State::Failed(Arc::clone(failure)),
            _ => State::Unknown,
        }
    }

    /// The directory, for a server that was not looked for there yet.
    pub(crate) fn to_look_on_disk(&self, server: &Arc<str>) -> Option<Disk> {
        let disk = self.disk.as_ref()?;
        let mut servers = self.servers.lock();
        let known = servers.entry(Arc::clone(server)).or_default();
        let looked = std::mem::replace(&mut known.looked_on_disk, true);
        (!looked && known.lists.is_none()).then(|| disk.clone())
    }

    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Takes over lists of an earlier process, to be fetched again when the server runs.
    pub(crate) fn restore(&self, server: &Arc<str>, lists: ServerLists) {
        let mut servers = self.servers.lock();
        let known = servers.entry(Arc::clone(server)).or_default();
        if known.lists.is_none() {
            known.lists = Some(Arc::new(lists));
            known.refresh_at = Some(Instant::now());
            drop(servers);
            self.changed();
        }
    }

    /// The lists of a server may have changed.
    pub(crate) fn mark_stale(&self, server: &str) {
        if let Some(known) = self.servers.lock().get_mut(server) {
            known.refresh_at = Some(Instant::now());
            if let Some(fetching) = &mut known.fetching {
                fetching.again = true;
            }
        }
    }

    /// Whether the lists of a known server are due to be fetched again.
    pub(crate) fn is_stale(&self, server: &str) -> bool {
        let servers = self.servers.lock();
        let known = servers.get(server).filter(|known| known.lists.is_some());
        let due = known.and_then(|known| known.refresh_at);
        due.is_some_and(|due| due <= Instant::now())
    }

    /// When a fetch that has begun may ask the server, if not at once: some servers announce a change with every answer.
    /// Lists that are not known are waited for, unless they are fetched `again`.
    pub(crate) fn may_ask_at(&self, server: &str, again: bool) -> Option<Instant> {
        let mut servers = self.servers.lock();
        let known = servers.get_mut(server)?;
        if known.lists.is_none() && !again {
            return None;
        }
        let pause = BETWEEN_FETCHES * 2u32.pow(known.needless.min(MOST_DOUBLINGS));
        let at = known.fetched? + pause;
        if at <= Instant::now() {
            known.needless = 0;
            return None;
        }
        known.needless += 1;
        Some(at)
    }

    /// The server is asked now: what has changed before is part of the fetch.
    pub(crate) fn asks(&self, server: &str, by: FetchId) {
        let mut servers = self.servers.lock();
        let fetching = servers.get_mut(server);
        let fetching = fetching.and_then(|known| known.fetching.as_mut());
        if let Some(fetching) = fetching.filter(|fetching| fetching.by == by) {
            fetching.again = false;
        }
    }

    /// Waits until no fetch from this server is under way.
    pub(crate) async fn not_fetching(&self, server: &str) {
        let mut changes = self.changes();
        let is_fetching = || {
            let servers = self.servers.lock();
            let known = servers.get(server);
            known.is_some_and(|known| known.fetching.is_some())
        };
        while is_fetching() && changes.changed().await.is_ok() {}
    }

    /// Whether a fetch is under way or has just ended.
    pub(crate) fn is_fresh(&self, server: &str) -> bool {
        let servers = self.servers.lock();
        servers.get(server).is_some_and(|known| {
            let just_now = known
                .fetched
                .is_some_and(|ended| ended.elapsed() < SHORTEST_AGE);
            known.fetching.is_some() || just_now
        })
    }

    /// A fetch for the caller to make; `None` if one is under way. Listings wait for it for `limit`.
    pub(crate) fn begin_fetch(&self, server: &Arc<str>, limit: Duration) -> Option<FetchId> {
        let mut servers = self.servers.lock();
        let known = servers.entry(Arc::clone(server)).or_default();
        if known.fetching.is_some() {
            return None;
        }
        let by = FetchId(self.begun.fetch_add(1, Ordering::Relaxed));
        // What has just failed is not worth waiting for again.
        let limit = match known.failure {
            Some(_) => limit.min(AFTER_FAILURE),
            None => limit,
        };
        known.fetching = Some(Fetching {
            by,
            until: Instant::now() + limit,
            again: false,
        });
        Some(by)
    }

    /// Takes what a fetch came to, unless its server is another one by now. `max_age` holds for lists that have no time and
    /// whose changes are not announced. Returns the lists if they changed, and whether something has changed meanwhile.
    pub(crate) fn end_fetch(
        &self,
        server: &str,
        by: FetchId,
        fetched: Result<ServerLists, Error>,
        max_age: Duration,
    ) -> (Option<Arc<ServerLists>>, bool) {
        let mut servers = self.servers.lock();
        let is_current = |known: &&mut Known| {
            let current = known.fetching.as_ref();
            current.is_some_and(|fetching| fetching.by == by)
        };
        let Some(known) = servers.get_mut(server).filter(is_current) else {
            return (None, false);
        };
        let fetching = known.fetching.take();
        let again = fetching.is_some_and(|fetching| fetching.again);
        known.fetched = Some(Instant::now());
        let mut changed = None;
        match fetched {
            Ok(mut lists) => {
                known.failure = None;
                known.refresh_at = refresh_after(&lists, max_age).map(|age| Instant::now() + age);
                let before = known.lists.as_ref();
                lists.generation = before.map_or(0, |before| before.generation);
                if before.is_none_or(|before| !before.has_same_content(&lists)) {
                    lists.generation += 1;
                    known.needless = 0;
                    changed = Some(Arc::new(lists));
                    known.lists.clone_from(&changed);
                }
            }
            Err(error) => {
                known.failure = Some(Arc::new(error));
                known.refresh_at = Some(Instant::now() + PAUSE_AFTER_FAILURE);
            }
        }
        drop(servers);
        self.changed();
        (changed, again)
    }

    /// Forgets all servers but these.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.servers.lock().retain(|server, _| is_there(server));
        self.changed();
    }

    /// Forgets what a server listed: it is another one now, of which a fetch that is under way says nothing.
    pub(crate) fn forget(&self, server: &str) {
        if let Some(known) = self.servers.lock().get_mut(server) {
            *known = Known {
                looked_on_disk: true,
                ..Known::default()
            };
        }
        self.changed();
    }

    /// Waits until no first fetch from one of the servers is worth waiting for, or `enough` says so.
    pub(crate) async fn fetched(&self, servers: &[Arc<str>], enough: impl Fn() -> bool) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let waiting = servers
                .iter()
                .filter_map(|server| match self.state(server) {
                    State::Fetching(until) => Some(until),
                    _ => None,
                });
            let Some(last) = waiting.max() else {
                return;
            };
            if enough() {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(last) => {}
            }
        }
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// How long lists are good.
fn refresh_after(lists: &ServerLists, max_age: Duration) -> Option<Duration> {
    if let Some(ttl) = lists.ttl() {
        return Some(ttl.clamp(SHORTEST_AGE, LONGEST_AGE));
    }
    let announced = ListKind::ALL
        .iter()
        .all(|kind| lists.list(*kind).is_none() || lists.announces(*kind));
    (!announced).then_some(max_age)
}

/// A server that gives its lists no time at all is not asked with every listing.
const SHORTEST_AGE: Duration = Duration::from_secs(1);
const LONGEST_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two fetches, twice as long after each that was needless.
const BETWEEN_FETCHES: Duration = Duration::from_millis(500);
const MOST_DOUBLINGS: u32 = 6;
/// How long listings wait for another try.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Before known lists are fetched again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_fetch_from_a_server_that_was_replaced_meanwhile_says_nothing_of_the_new_one() {
        let catalogue = Catalogue::new(None);
        let server: Arc<str> = "server".into();
        let limit = Duration::from_secs(60);
        let failed = || Err(Error::new(ErrorKind::Connection, "it ends"));
        let begin = || catalogue.begin_fetch(&server, limit);
        let first = begin().expect("none is under way");
        assert!(begin().is_none());
        catalogue.forget(&server);
        let second = begin().expect("the first is of no use any more");
        for outcome in [failed(), Ok(ServerLists::new(None))] {
            let (lists, again) = catalogue.end_fetch(&server, first, outcome, limit);
            assert!(lists.is_none() && !again);
            assert!(matches!(catalogue.state(&server), State::Fetching(_)));
        }
        catalogue.end_fetch(&server, second, failed(), limit);
        assert!(matches!(catalogue.state(&server), State::Failed(_)));

        let third = begin().expect("the second has ended");
        catalogue.retain(|_| false);
        catalogue.end_fetch(&server, third, Ok(ServerLists::new(None)), limit);
        assert!(matches!(catalogue.state(&server), State::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_announces_a_change_with_every_list_is_asked_less_and_less_often() {
        let catalogue = Catalogue::new(None);
        let server: Arc<str> = "server".into();
        let limit = Duration::from_secs(60);
        // Returns how long it was held back.
        let fetch = async || {
            let began = Instant::now();
            let by = catalogue.begin_fetch(&server, limit).unwrap();
            catalogue.mark_stale(&server);
            if let Some(at) = catalogue.may_ask_at(&server, false) {
                sleep_until(at).await;
            }
            catalogue.asks(&server, by);
            let lists = Ok(ServerLists::new(None));
            let (_, again) = catalogue.end_fetch(&server, by, lists, limit);
            assert!(!again, "it is what was announced");
            began.elapsed().as_millis()
        };
        assert_eq!(fetch().await, 0, "the first");
        for held_back in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000] {
            assert_eq!(fetch().await, held_back);
        }
        tokio::time::advance(limit).await;
        assert_eq!((fetch().await, fetch().await), (0, 500), "it was quiet");
    }
}
