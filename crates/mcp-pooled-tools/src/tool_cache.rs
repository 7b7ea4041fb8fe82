//! A server's tools, listed once per pool.
//!
//! A list is good until the server says that it has changed, until the time it was given runs out (`ttlMs`), or until
//! a session meets another version of the server. One pool serves one identity, so what a server lists for one caller
//! is never shown to another.
//!
//! A server that announces changes (`listChanged`) needs a subscribed session. Without one, a list is good for
//! the time it was given and no longer; when there is one again, the list is requested again, because a change in between
//! was lost. One subscribed session is enough.
//!
//! A server that does not announce changes has a list of limited age (`list_max_age`), unless it gave the list a time.

use std::{future::Future, sync::Arc, time::Duration};

use mcp_pool_core::ServerListener;
use parking_lot::Mutex;
use rmcp::model::{ListToolsResult, ServerNotification, ServerPeerInfo};
use tokio::time::Instant;

use crate::tool_list::ToolList;

/// rmcp's own bound on the time that a server gives its list.
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Default)]
pub(crate) struct ToolCache {
    state: Mutex<State>,
    /// Held by who fetches, so that a herd of callers asks once.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// The list that came in last, good or not: for what was worked out from it.
    newest: Option<Arc<ToolList>>,
    /// Grows whenever a list has become stale: one that was asked for before is not kept.
    generation: u64,
    /// Subscribed sessions.
    listeners: usize,
    /// Name and version of the server that the last session met.
    server: Option<(String, String)>,
    /// Whether the last session's server announces changes of its tools.
    announces: bool,
    /// No list is fetched in the background before this, because the last one failed.
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    list: Arc<ToolList>,
    asked: Instant,
    expires: Option<Instant>,
}

impl State {
    fn invalidate(&mut self) {
        self.generation += 1;
        self.kept = None;
    }
}

/// When a list was asked for. To be taken before the request: a change that comes in between makes the reply stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    generation: u64,
    at: Instant,
}

/// A session that is subscribed to changes until this is dropped.
#[derive(Debug)]
pub(crate) struct Listening(Arc<ToolCache>);

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.listeners -= 1;
        if state.listeners > 0 {
            return;
        }
        // It was good until a change, of which no session would learn now.
        if let Some(kept) = &mut state.kept {
            kept.expires.get_or_insert_with(Instant::now);
        }
    }
}

impl ToolCache {
    /// A session is subscribed to changes from here on.
    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        let mut state = self.state.lock();
        state.listeners += 1;
        if state.listeners == 1 {
            // Changes without a subscribed session are unknown.
            state.invalidate();
        }
        Listening(Arc::clone(self))
    }

    /// The list, if there is a good one.
    pub(crate) fn get(&self) -> Option<Arc<ToolList>> {
        let state = self.state.lock();
        let kept = state.kept.as_ref()?;
        kept.expires
            .is_none_or(|expires| Instant::now() < expires)
            .then(|| Arc::clone(&kept.list))
    }

    /// The list, fetched if there is no good one. Of many who ask at once, one asks the server for all that are
    /// waiting by then, whatever the time it gives the list.
    pub(crate) async fn get_or_fetch<E, F>(
        &self,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<ToolList>, E>
    where
        F: Future<Output = Result<Fetched, E>>,
    {
        if let Some(list) = self.get() {
            return Ok(list);
        }
        let since = Instant::now();
        let _alone = self.fetching.lock().await;
        if let Some(list) = self.get().or_else(|| self.asked_for_since(since)) {
            return Ok(list);
        }
        Ok(self.keep(fetch().await?))
    }

    /// The last list that is not known to have changed, though it may be past its time: enough to hold arguments
    /// against while another is fetched.
    pub(crate) fn last(&self) -> Option<Arc<ToolList>> {
        let state = self.state.lock();
        state.kept.as_ref().map(|kept| Arc::clone(&kept.list))
    }

    /// Whether there is no good list and another is worth fetching in the background: a server may give its lists no
    /// time at all, a fetch may be under way, and the last one may have failed.
    pub(crate) fn wants_another(&self) -> bool {
        const NOT_SOONER_THAN: Duration = Duration::from_secs(1);
        if self.get().is_some() {
            return false;
        }
        let state = self.state.lock();
        let recent = |kept: &Kept| kept.asked.elapsed() < NOT_SOONER_THAN;
        let paused = state.paused_until.is_some_and(|end| Instant::now() < end);
        let recent = state.kept.as_ref().is_some_and(recent);
        !paused && !recent && self.fetching.try_lock().is_ok()
    }

    /// A background fetch failed after `took`. The next one waits, so that fetches which are never answered take a
    /// tenth of a session's time at most.
    pub(crate) fn background_failed(&self, took: Duration) {
        const SHORTEST: Duration = Duration::from_secs(1);
        let pause = took.saturating_mul(10).max(SHORTEST);
        self.state.lock().paused_until = Instant::now().checked_add(pause);
    }

    fn asked_for_since(&self, then: Instant) -> Option<Arc<ToolList>> {
        let state = self.state.lock();
        let kept = state.kept.as_ref().filter(|kept| kept.asked >= then);
        kept.map(|kept| Arc::clone(&kept.list))
    }

    pub(crate) fn asks(&self) -> Asked {
        Asked {
            generation: self.state.lock().generation,
            at: Instant::now(),
        }
    }

    /// Keeps a list, unless it has become stale since it was asked for.
    fn keep(&self, fetched: Fetched) -> Arc<ToolList> {
        let Fetched {
            asked,
            list,
            max_age,
        } = fetched;
        let ttl = list
            .ttl_ms
            .map(|ttl| Duration::from_millis(ttl).min(MAX_TTL));
        let before = self.state.lock().newest.clone();
        let list = Arc::new(ToolList::new(list.tools, before.as_deref()));
        let mut state = self.state.lock();
        state.newest = Some(Arc::clone(&list));
        state.paused_until = None;
        if state.generation == asked.generation {
            let age = match ttl {
                Some(ttl) => Some(ttl),
                None if !state.announces => Some(max_age),
                None => (state.listeners == 0).then_some(Duration::ZERO),
            };
            state.kept = Some(Kept {
                list: Arc::clone(&list),
                asked: asked.at,
                expires: age.and_then(|age| Instant::now().checked_add(age)),
            });
        }
        list
    }

    pub(crate) fn invalidate(&self) {
        self.state.lock().invalidate();
    }

    /// A session was opened, and this is what the server said of itself.
    pub(crate) fn set_server(&self, server: Option<&ServerPeerInfo>) {
        let met = server
            .and_then(|info| info.server_info.as_ref())
            .map(|server| (server.name.clone(), server.version.clone()));
        let mut state = self.state.lock();
        state.announces = announces_changes(server);
        if state.server != met {
            state.server = met;
            state.invalidate();
        }
    }
}

impl ServerListener for ToolCache {
    fn on_notification(&self, notification: &ServerNotification) {
        if matches!(
            notification,
            ServerNotification::ToolListChangedNotification(_)
        ) {
            self.invalidate();
        }
    }
}

/// Whether the server notifies its clients of changes in its tools.
fn announces_changes(server: Option<&ServerPeerInfo>) -> bool {
    let tools = server.and_then(|info| info.capabilities.tools.as_ref());
    tools.is_some_and(|tools| tools.list_changed == Some(true))
}

/// A list as the server has just given it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) asked: Asked,
    pub(crate) list: ListToolsResult,
    /// How old the list may become if nothing else says so.
    pub(crate) max_age: Duration,
}

#[cfg(test)]
mod tests {
    use rmcp::{
        model::{Implementation, ProtocolVersion, ServerCapabilities, Tool, ToolsCapability},
        service::ServiceError,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fetched(cache: &ToolCache, ttl: Option<Duration>) -> Fetched {
        let tools = vec![Tool::new("a", "", serde_json::Map::new())];
        let mut list = ListToolsResult::with_all_items(tools);
        list.ttl_ms = ttl.and_then(|ttl| u64::try_from(ttl.as_millis()).ok());
        Fetched {
            asked: cache.asks(),
            list,
            max_age: 60 * SECOND,
        }
    }

    /// What a server says of itself that announces changes, or not.
    fn info(version: &str, announces: bool) -> ServerPeerInfo {
        let mut tools = ToolsCapability::default();
        tools.list_changed = Some(announces);
        let mut capabilities = ServerCapabilities::default();
        capabilities.tools = Some(tools);
        ServerPeerInfo::new(ProtocolVersion::LATEST, capabilities)
            .with_server_info(Implementation::new("server", version))
    }

    fn announcing() -> Arc<ToolCache> {
        let cache = Arc::new(ToolCache::default());
        cache.set_server(Some(&info("1", true)));
        cache
    }

    fn with_list(ttl: Option<Duration>) -> (Arc<ToolCache>, Listening) {
        let cache = announcing();
        let listening = cache.listen();
        cache.keep(fetched(&cache, ttl));
        (cache, listening)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_good_for_the_time_it_was_given() {
        let (cache, _listening) = with_list(Some(SECOND));
        assert!(cache.get().is_some());
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert!(cache.get().is_none());
    }

    #[tokio::test]
    async fn a_list_that_was_asked_for_before_a_change_is_not_kept() {
        let (cache, _listening) = with_list(None);
        let old = fetched(&cache, None);
        cache.invalidate();
        cache.keep(old);
        assert!(cache.get().is_none());
    }

    #[tokio::test]
    async fn another_version_of_the_server_makes_the_list_stale() {
        let cache = announcing();
        let _listening = cache.listen();
        cache.keep(fetched(&cache, None));
        cache.set_server(Some(&info("1", true)));
        assert!(
            cache.get().is_some(),
            "a session more of the same server changes nothing"
        );
        cache.set_server(Some(&info("2", true)));
        assert!(cache.get().is_none());
    }

    #[tokio::test]
    async fn listeners_more_or_less_change_nothing_until_the_first_comes_back() {
        let (cache, first) = with_list(Some(SECOND));
        let second = cache.listen();
        drop(first);
        let third = cache.listen();
        drop(second);
        assert!(
            cache.get().is_some(),
            "a session was subscribed all the time"
        );
        drop(third);
        assert!(
            cache.get().is_some(),
            "it is good for a second, subscribed or not"
        );
        let _again = cache.listen();
        assert!(cache.get().is_none(), "something may have been missed");
    }

    #[tokio::test]
    async fn a_list_without_a_time_is_good_only_while_somebody_listens() {
        let (cache, listening) = with_list(None);
        assert!(cache.get().is_some());
        let late = fetched(&cache, None);
        drop(listening);
        assert!(cache.get().is_none());
        assert!(cache.last().is_some(), "it is not known to have changed");
        cache.keep(late);
        assert!(cache.get().is_none(), "nor is one that came in afterwards");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_whose_server_announces_no_changes_has_a_limited_age() {
        let cache = Arc::new(ToolCache::default());
        cache.set_server(Some(&info("1", false)));
        cache.keep(fetched(&cache, None));
        tokio::time::advance(59 * SECOND).await;
        assert!(cache.get().is_some());
        tokio::time::advance(2 * SECOND).await;
        assert!(cache.get().is_none());
        cache.keep(fetched(&cache, Some(3600 * SECOND)));
        tokio::time::advance(61 * SECOND).await;
        assert!(cache.get().is_some(), "the server gave it an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_background_waits_ten_times_as_long_as_it_took() {
        let (cache, _listening) = with_list(Some(Duration::ZERO));
        tokio::time::advance(2 * SECOND).await;
        assert!(cache.wants_another());
        cache.background_failed(3 * SECOND);
        tokio::time::advance(29 * SECOND).await;
        assert!(!cache.wants_another());
        tokio::time::advance(2 * SECOND).await;
        assert!(cache.wants_another());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_any_time_serves_those_who_waited_for_it_alone() {
        let cache = Arc::new(ToolCache::default());
        let _listening = cache.listen();
        let fetches = Mutex::new(0);
        let ask = || {
            cache.get_or_fetch(async || {
                *fetches.lock() += 1;
                let fetched = fetched(&cache, Some(Duration::ZERO));
                tokio::time::sleep(SECOND).await;
                Ok::<_, ServiceError>(fetched)
            })
        };
        let late = async {
            tokio::time::sleep(SECOND / 2).await;
            tokio::join!(ask(), ask())
        };
        let _ = tokio::join!(ask(), ask(), late);
        assert_eq!(
            *fetches.lock(),
            2,
            "the late ones asked after it was asked for"
        );
        ask().await.unwrap();
        assert_eq!(*fetches.lock(), 3);
    }
}
