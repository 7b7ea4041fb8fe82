//! A server's tools, listed once per pool.
//!
//! A list is good until the server says that it has changed, until the time it was given runs out (`ttlMs`), or until
//! a session meets another version of the server. One pool serves one identity, so what a server lists for one caller
//! is never shown to another.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use mcp_pool_core::ServerListener;
use parking_lot::Mutex;
use rmcp::{
    model::{PaginatedRequestParams, ServerNotification, ServerPeerInfo, Tool},
    service::ServiceError,
};
use tokio::time::Instant;

use crate::validation::Schemas;

/// The tools of a server as of one moment, with what is worked out from them once.
#[derive(Debug)]
pub(crate) struct ToolList {
    tools: Vec<Tool>,
    by_name: HashMap<String, usize>,
    schemas: Vec<OnceLock<Schemas>>,
}

impl ToolList {
    fn new(tools: Vec<Tool>) -> Self {
        let by_name = tools
            .iter()
            .enumerate()
            .map(|(at, tool)| (tool.name.to_string(), at))
            .collect();
        let schemas = tools.iter().map(|_| OnceLock::new()).collect();
        Self {
            tools,
            by_name,
            schemas,
        }
    }

    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name).map(|at| &self.tools[*at])
    }

    /// What the tool's schemas say, compiled on first use.
    pub(crate) fn schemas(&self, name: &str) -> Option<&Schemas> {
        let at = *self.by_name.get(name)?;
        Some(self.schemas[at].get_or_init(|| Schemas::of(&self.tools[at])))
    }

    /// The server says that calling the tool again does no harm.
    pub(crate) fn is_repeatable(&self, name: &str) -> bool {
        let hints = self.tool(name).and_then(|tool| tool.annotations.as_ref());
        hints.is_some_and(|hints| {
            hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct ToolCache {
    state: Mutex<State>,
    /// Held by who fetches, so that a herd of callers asks once.
    pub(crate) fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    list: Option<(Arc<ToolList>, Option<Instant>)>,
    fetched: Option<Instant>,
    /// Grows whenever a list has become stale: one that was asked for before is not kept.
    generation: u64,
    /// Name and version of the server that the last session met.
    server: Option<(String, String)>,
}

impl ToolCache {
    /// The list, if there is a good one.
    pub(crate) fn get(&self) -> Option<Arc<ToolList>> {
        let state = self.state.lock();
        let (list, expires) = state.list.as_ref()?;
        expires
            .is_none_or(|expires| Instant::now() < expires)
            .then(|| Arc::clone(list))
    }

    /// The last list that is not known to have changed, though it may be past its time: enough to hold arguments
    /// against while another is fetched.
    pub(crate) fn last(&self) -> Option<Arc<ToolList>> {
        self.state
            .lock()
            .list
            .as_ref()
            .map(|(list, _)| Arc::clone(list))
    }

    /// Whether there is no good list and another is worth asking for: a server may give its lists no time at all.
    pub(crate) fn wants_another(&self) -> bool {
        const NOT_SOONER_THAN: Duration = Duration::from_secs(1);
        let recent = self
            .state
            .lock()
            .fetched
            .is_some_and(|fetched| fetched.elapsed() < NOT_SOONER_THAN);
        self.get().is_none() && !(recent && self.last().is_some())
    }

    /// The list, if it was fetched since `then`: one who waited for it takes it whatever the time it was given.
    pub(crate) fn since(&self, then: Instant) -> Option<Arc<ToolList>> {
        let state = self.state.lock();
        state
            .list
            .as_ref()
            .filter(|_| state.fetched.is_some_and(|fetched| fetched >= then))
            .map(|(list, _)| Arc::clone(list))
    }

    /// To be taken before a list is asked for.
    pub(crate) fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Keeps a list, unless it has become stale since it was asked for.
    pub(crate) fn keep(
        &self,
        generation: u64,
        tools: Vec<Tool>,
        ttl: Option<Duration>,
    ) -> Arc<ToolList> {
        let list = Arc::new(ToolList::new(tools));
        let mut state = self.state.lock();
        if state.generation == generation {
            let now = Instant::now();
            state.list = Some((Arc::clone(&list), ttl.map(|ttl| now + ttl)));
            state.fetched = Some(now);
        }
        list
    }

    pub(crate) fn invalidate(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.list = None;
    }

    /// A session was opened, and this is what the server said of itself.
    pub(crate) fn met(&self, server: Option<&ServerPeerInfo>) {
        let met = server
            .and_then(|info| info.server_info.as_ref())
            .map(|server| (server.name.clone(), server.version.clone()));
        let mut state = self.state.lock();
        if state.server != met {
            state.server = met;
            state.generation += 1;
            state.list = None;
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

/// All pages of a server's list, and how long it is good for if the server says so.
pub(crate) async fn fetch(
    session: &mcp_pool_core::Session,
) -> Result<(Vec<Tool>, Option<Duration>), ServiceError> {
    /// A list longer than this has no end.
    const MOST_PAGES: usize = 1_000;
    /// rmcp's own bound on what a server may ask for.
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let mut tools = Vec::new();
    let mut ttl: Option<Duration> = None;
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let page = session
            .list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor)))
            .await?;
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
            return Ok((tools, ttl));
        }
    }
    Err(ServiceError::UnexpectedResponse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(names: &[&str]) -> Vec<Tool> {
        names
            .iter()
            .map(|name| Tool::new(name.to_string(), "", serde_json::Map::new()))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_good_for_the_time_it_was_given() {
        let cache = ToolCache::default();
        cache.keep(
            cache.generation(),
            tools(&["a"]),
            Some(Duration::from_secs(1)),
        );
        assert!(cache.get().is_some());
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert!(cache.get().is_none());
    }

    #[tokio::test]
    async fn a_list_that_was_asked_for_before_a_change_is_not_kept() {
        let cache = ToolCache::default();
        let asked = cache.generation();
        cache.invalidate();
        cache.keep(asked, tools(&["old"]), None);
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
        let cache = ToolCache::default();
        cache.met(Some(&info("1")));
        cache.keep(cache.generation(), tools(&["a"]), None);
        cache.met(Some(&info("1")));
        assert!(
            cache.get().is_some(),
            "a session more of the same server changes nothing"
        );
        cache.met(Some(&info("2")));
        assert!(cache.get().is_none());
    }
}
