//! A server's tools, listed once per pool.
//!
//! A list is good until the server says that it has changed, until the time it was given runs out (`ttlMs`), or until
//! a session meets another version of the server. One pool serves one identity, so what a server lists for one caller
//! is never shown to another.
//!
//! All of that presumes that somebody would have heard of a change. While nobody does, a list is good for the time it
//! was given and no longer; when somebody does again, it is asked for anew, because what was said in between is lost.
//! One listener is enough: that further sessions come and go changes nothing.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use mcp_pool_core::ServerListener;
use parking_lot::Mutex;
use rmcp::{
    model::{PaginatedRequestParams, ServerNotification, ServerPeerInfo, Tool},
    service::ServiceError,
};
use tokio::time::Instant;

use crate::{
    tool_list::ToolList,
    trace::{Carry, Trace},
};

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
    /// How many would hear of a change.
    listeners: usize,
    /// Name and version of the server that the last session met.
    server: Option<(String, String)>,
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

/// Somebody who would hear of a change, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listening(Arc<ToolCache>);

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.listeners -= 1;
        if state.listeners > 0 {
            return;
        }
        // Good until a change is told, and nobody is there to be told.
        if let Some(kept) = &mut state.kept {
            kept.expires.get_or_insert_with(Instant::now);
        }
    }
}

impl ToolCache {
    /// Somebody hears of changes from here on.
    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        let mut state = self.state.lock();
        state.listeners += 1;
        if state.listeners == 1 {
            // What changed while nobody listened is not known.
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

    /// Whether there is no good list and another is worth asking for: a server may give its lists no time at all, and
    /// somebody may be asking already.
    pub(crate) fn wants_another(&self) -> bool {
        const NOT_SOONER_THAN: Duration = Duration::from_secs(1);
        let recent = |kept: &Kept| kept.asked.elapsed() < NOT_SOONER_THAN;
        self.get().is_none()
            && !self.state.lock().kept.as_ref().is_some_and(recent)
            && self.fetching.try_lock().is_ok()
    }

    fn asked_for_since(&self, then: Instant) -> Option<Arc<ToolList>> {
        let state = self.state.lock();
        let kept = state.kept.as_ref().filter(|kept| kept.asked >= then);
        kept.map(|kept| Arc::clone(&kept.list))
    }

    fn asks(&self) -> Asked {
        Asked {
            generation: self.state.lock().generation,
            at: Instant::now(),
        }
    }

    /// Keeps a list, unless it has become stale since it was asked for.
    fn keep(&self, fetched: Fetched) -> Arc<ToolList> {
        let Fetched { asked, tools, ttl } = fetched;
        let before = self.state.lock().newest.clone();
        let list = Arc::new(ToolList::new(tools, before.as_deref()));
        let mut state = self.state.lock();
        state.newest = Some(Arc::clone(&list));
        if state.generation == asked.generation {
            let now = Instant::now();
            let unheard = (state.listeners == 0).then_some(now);
            state.kept = Some(Kept {
                list: Arc::clone(&list),
                asked: asked.at,
                expires: ttl.map(|ttl| now + ttl).or(unheard),
            });
        }
        list
    }

    pub(crate) fn invalidate(&self) {
        self.state.lock().invalidate();
    }

    /// A session was opened, and this is what the server said of itself.
    pub(crate) fn met(&self, server: Option<&ServerPeerInfo>) {
        let met = server
            .and_then(|info| info.server_info.as_ref())
            .map(|server| (server.name.clone(), server.version.clone()));
        let mut state = self.state.lock();
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

/// A list as the server has just given it.
#[derive(Debug)]
pub(crate) struct Fetched {
    asked: Asked,
    tools: Vec<Tool>,
    ttl: Option<Duration>,
}

/// All pages of a server's list, and how long it is good for if the server says so.
pub(crate) async fn fetch(
    cache: &ToolCache,
    session: &mcp_pool_core::Session,
    trace: &Trace,
) -> Result<Fetched, ServiceError> {
    /// A list longer than this has no end.
    const MOST_PAGES: usize = 1_000;
    /// rmcp's own bound on what a server may ask for.
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let asked = cache.asks();
    let mut tools = Vec::new();
    let mut ttl: Option<Duration> = None;
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = pin!(session.list_tools(Some(params.carrying(trace))));
        let page = session.while_it_lives(page).await?;
        tools.extend(page.tools);
        let page_ttl = page
            .ttl_ms
            .map(Duration::from_millis)
            .map(|ttl| ttl.min(LONGEST));
        ttl = match (ttl, page_ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(Fetched { asked, tools, ttl });
        }
    }
    Err(ServiceError::UnexpectedResponse)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fetched(cache: &ToolCache, ttl: Option<Duration>) -> Fetched {
        let tools = vec![Tool::new("a", "", serde_json::Map::new())];
        let asked = cache.asks();
        Fetched { asked, tools, ttl }
    }

    fn with_list(ttl: Option<Duration>) -> (Arc<ToolCache>, Listening) {
        let cache = Arc::new(ToolCache::default());
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
        let info = |version: &str| {
            ServerPeerInfo::new(
                rmcp::model::ProtocolVersion::LATEST,
                rmcp::model::ServerCapabilities::default(),
            )
            .with_server_info(rmcp::model::Implementation::new("server", version))
        };
        let cache = Arc::new(ToolCache::default());
        let _listening = cache.listen();
        cache.met(Some(&info("1")));
        cache.keep(fetched(&cache, None));
        cache.met(Some(&info("1")));
        assert!(
            cache.get().is_some(),
            "a session more of the same server changes nothing"
        );
        cache.met(Some(&info("2")));
        assert!(cache.get().is_none());
    }

    #[tokio::test]
    async fn listeners_more_or_less_change_nothing_until_the_first_comes_back() {
        let (cache, first) = with_list(Some(SECOND));
        let second = cache.listen();
        drop(first);
        let third = cache.listen();
        drop(second);
        assert!(cache.get().is_some(), "somebody has listened all the time");
        drop(third);
        assert!(
            cache.get().is_some(),
            "it is good for a second, heard or not"
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
