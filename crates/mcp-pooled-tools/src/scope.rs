//! Scopes: a handle and its clones, which own a pinned session.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{self, AtomicBool},
    },
};

use mcp_pool_core::{CallerHandler, Era, Lent, Scope, Session, SessionId, SessionPool};
use parking_lot::Mutex;
use rmcp::model::ClientConfig;

use crate::{
    error::Error,
    request::Request,
    scope_handler::ScopeHandler,
    server::{ServerPool, Snapshot},
};

/// The scope of a handle and its clones. It takes a scope of the pool when it first needs one, and another if the
/// pool is exchanged; it ends with its last clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeHandle(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<ScopeState>,
    /// Read by every call, which need not take the lock for it.
    has_client: AtomicBool,
}

/// Where the session of a scope is.
#[derive(Debug, Default)]
struct ScopeState {
    /// The pool on which the scope's first call was made. What the client of its sessions declares was said once and
    /// for all; the state that later calls rely on is there.
    first_pool: Option<Arc<ServerPool>>,
    scope: Option<PoolScope>,
    /// What is declared to its server, and what answers that.
    client: Option<ScopeClient>,
    /// Resources that its callers have subscribed to, once for each time.
    subscribed: Vec<(Weak<ServerPool>, String)>,
}

impl Drop for ScopeState {
    fn drop(&mut self) {
        for (pool, uri) in self.subscribed.drain(..) {
            if let Some(pool) = pool.upgrade() {
                let tasks = pool.context.tasks.clone();
                tasks.spawn(async move { pool.context.subscriptions.leave(&uri).await });
            }
        }
    }
}

/// A client of one scope.
#[derive(Clone)]
pub(crate) struct ScopeClient {
    pub(crate) info: ClientConfig,
    pub(crate) handler: Arc<ScopeHandler>,
    /// Whether it uses the sessions of all where those may be shared. Its requests then say what it declares.
    pub(crate) on_shared: bool,
}

impl ScopeClient {
    /// Adds what the client declares to a request on a session that may declare something else. Only a modern server
    /// takes that from a request.
    pub(crate) fn declare(&self, session: &Session, request: &mut Request) {
        if self.on_shared && session.era() == Era::Modern {
            let meta = request.meta_mut();
            meta.set_client_info(self.info.client_info.clone());
            meta.set_client_capabilities(self.info.capabilities.clone());
        }
    }
}

impl fmt::Debug for ScopeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeClient")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// A scope of a pool.
#[derive(Clone, Debug)]
struct PoolScope {
    scope: Scope,
    /// Of the pool.
    generation: u64,
    /// The session that was last leased in it, where its state is.
    session: Option<Arc<Session>>,
    /// The scope's handler on that session, for as long as both are there.
    lent: Option<(SessionId, Arc<Lent>)>,
}

impl ScopeHandle {
    /// Notes a subscription, which ends with the scope.
    pub(crate) fn subscribed(&self, pool: &Arc<ServerPool>, uri: &str) {
        let noted = (Arc::downgrade(pool), uri.to_owned());
        self.0.state.lock().subscribed.push(noted);
    }

    /// Takes the note of a subscription out. `false` if there is none.
    pub(crate) fn unsubscribed(&self, pool: &Arc<ServerPool>, uri: &str) -> bool {
        let subscribed = &mut self.0.state.lock().subscribed;
        let noted = subscribed.iter().position(|(on, resource)| {
            std::ptr::eq(on.as_ptr(), Arc::as_ptr(pool)) && resource == uri
        });
        noted.map(|at| subscribed.swap_remove(at)).is_some()
    }

    /// Gives the scope a client of its own.
    pub(crate) fn set_client(&self, client: ScopeClient) {
        self.0.state.lock().client = Some(client);
        self.0.has_client.store(true, atomic::Ordering::Release);
        self.take_handler_back();
    }

    pub(crate) fn client(&self) -> Option<ScopeClient> {
        let has_client = self.0.has_client.load(atomic::Ordering::Acquire);
        has_client
            .then(|| self.0.state.lock().client.clone())
            .flatten()
    }

    /// Has the scope's handler answer on the scope's session, for all its calls there.
    pub(crate) fn lend(&self, session: &Arc<Session>, handler: CallerHandler) -> Option<Arc<Lent>> {
        let mut state = self.0.state.lock();
        let pool_scope = state.scope.as_mut()?;
        if let Some((on, lent)) = &pool_scope.lent
            && *on == session.id()
        {
            return Some(Arc::clone(lent));
        }
        let lent = Arc::new(session.lend_handler(handler));
        let before = pool_scope.lent.replace((session.id(), Arc::clone(&lent)));
        drop(state);
        drop(before);
        Some(lent)
    }

    /// Ends what [`ScopeHandle::lend`] began, because a call brings a handler of its own.
    pub(crate) fn take_handler_back(&self) {
        let mut state = self.0.state.lock();
        let lent = state.scope.as_mut().map(|scope| scope.lent.take());
        drop(state);
        drop(lent);
    }

    /// The scope in this pool, if sessions of the pool belong to scopes.
    ///
    /// # Errors
    /// [`ErrorKind::StateLost`](crate::ErrorKind::StateLost) where it has state in a pool that this one has replaced. It is
    /// reported once, unless the caller works in the `background`.
    pub(crate) fn in_pool(
        &self,
        server: &Arc<str>,
        current: &Snapshot,
        background: bool,
    ) -> Result<Option<Scope>, Error> {
        if !current.scoped {
            return Ok(None);
        }
        let scope = self.of_generation(current.generation, &current.pool, background);
        scope
            .map(Some)
            .map_err(|Lost| Error::state_lost(server, REPLACED))
    }

    fn of_generation(
        &self,
        generation: u64,
        pool: &SessionPool,
        background: bool,
    ) -> Result<Scope, Lost> {
        let mut state = self.0.state.lock();
        let pool_scope = state.scope.as_ref();
        match pool_scope.map(|pool_scope| (pool_scope, pool_scope.generation.cmp(&generation))) {
            Some((pool_scope, Ordering::Equal)) => return Ok(pool_scope.scope.clone()),
            // The caller has met a pool that is being replaced, and others have moved on: it must not touch their state. The
            // old pool is closed, or will close the session with this scope of its own.
            Some((_, Ordering::Greater)) => return Ok(pool.scope()),
            _ => {}
        }
        let session = pool_scope.and_then(|pool_scope| pool_scope.session.as_ref());
        let lost = session.is_some_and(|session| session.may_hold_state());
        if lost && background {
            return Err(Lost);
        }
        let fresh = pool.scope();
        let pool_scope = PoolScope {
            scope: fresh.clone(),
            generation,
            session: None,
            lent: None,
        };
        let left = state.scope.replace(pool_scope);
        // Its end may close a session.
        drop(state);
        drop(left);
        if lost { Err(Lost) } else { Ok(fresh) }
    }

    /// Notes the session of the scope in this pool.
    pub(crate) fn is_on(&self, session: &Arc<Session>, generation: u64) {
        if let Some(pool_scope) = &mut self.0.state.lock().scope
            && pool_scope.generation == generation
        {
            pool_scope.session = Some(Arc::clone(session));
        }
    }

    /// The session that was last leased in this scope, where its client is.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.0.state.lock().scope.as_ref()?.session.clone()
    }

    /// The pool on which a call has been made in this scope.
    pub(crate) fn first_pool(&self) -> Option<Arc<ServerPool>> {
        self.0.state.lock().first_pool.clone()
    }

    /// Makes `pool` the first pool, unless there is one. What has only been read until then, on `other`, leaves no state.
    pub(crate) fn set_first_pool(
        &self,
        pool: Arc<ServerPool>,
        other: &Arc<ServerPool>,
    ) -> Arc<ServerPool> {
        let mut state = self.0.state.lock();
        if let Some(first) = &state.first_pool {
            return Arc::clone(first);
        }
        state.first_pool = Some(Arc::clone(&pool));
        let elsewhere = (!Arc::ptr_eq(&pool, other)).then(|| state.scope.take());
        // Its end may close a session.
        drop(state);
        drop(elsewhere);
        pool
    }
}

/// The scope has state in a pool that was replaced.
#[derive(Debug, PartialEq, Eq)]
struct Lost;

const REPLACED: &str = "the server's configuration was changed, and its sessions were replaced";

/// The scopes that have names.
#[derive(Debug, Default)]
pub(crate) struct ScopeRegistry(Mutex<Named>);

#[derive(Debug, Default)]
struct Named {
    scopes: HashMap<String, Weak<Slot>>,
    /// Names of scopes that have ended are swept out when so many are known.
    sweep_at: usize,
    /// Names that sweeps have looked at.
    #[cfg(test)]
    looked_at: usize,
}

impl ScopeRegistry {
    /// The scope of this name, as long as anybody holds it.
    pub(crate) fn named(&self, name: String) -> ScopeHandle {
        const FEW: usize = 64;
        let mut named = self.0.lock();
        if let Some(scope) = named.scopes.get(&name).and_then(Weak::upgrade) {
            return ScopeHandle(scope);
        }
        // Twice what is left: over all names, each is looked at a few times.
        if named.scopes.len() >= named.sweep_at {
            #[cfg(test)]
            {
                named.looked_at += named.scopes.len();
            }
            named.scopes.retain(|_, scope| scope.strong_count() > 0);
            named.sweep_at = FEW.max(2 * named.scopes.len());
        }
        let scope = ScopeHandle::default();
        named.scopes.insert(name, Arc::downgrade(&scope.0));
        scope
    }
}

#[cfg(test)]
mod tests {
    use mcp_pool_core::{PoolOptions, SharingMode, connect::in_process::InProcess};
    use mcp_testkit::TestServer;
    use rmcp::model::CallToolRequestParams;

    use super::*;

    fn pinned_pool() -> SessionPool {
        let mut options = PoolOptions::default();
        (options.sharing, options.min_connections) = (SharingMode::Pinned, 0);
        let connector = InProcess::new(TestServer::new);
        let builder = SessionPool::builder("test", connector).options(options);
        builder.build().expect("valid options")
    }

    #[test]
    fn a_name_among_twenty_thousand_living_ones_costs_what_it_costs_among_five_thousand() {
        let looked_at = |names: usize| {
            let registry = ScopeRegistry::default();
            let living: Vec<_> = (0..names)
                .map(|name| registry.named(name.to_string()))
                .collect();
            let named = registry.0.lock();
            assert_eq!(named.scopes.len(), living.len());
            named.looked_at
        };
        let (few, many) = (looked_at(5_000), looked_at(20_000));
        assert!(few > 0, "nothing is counted");
        assert!(many <= 4 * few + 20_000, "{few}, {many}");
        assert!(many <= 2 * 20_000, "{many}");
    }

    /// A call of the scope on this pool, and the session on which it ran.
    async fn call(
        handle: &ScopeHandle,
        generation: u64,
        pool: &SessionPool,
    ) -> Result<String, Lost> {
        let scope = handle.of_generation(generation, pool, false)?;
        let lease = pool.acquire_in(&scope).await.expect("a session");
        let called = lease.call_tool(CallToolRequestParams::new("whoami"));
        called.await.expect("an answer");
        handle.is_on(lease.session(), generation);
        Ok(format!("{:?}", lease.session().id()))
    }

    #[tokio::test]
    async fn a_caller_that_is_late_on_the_old_pool_takes_no_state_from_those_on_the_new_one() {
        let (old, new) = (pinned_pool(), pinned_pool());
        let handle = ScopeHandle::default();
        call(&handle, 1, &old).await.expect("nothing is lost yet");
        assert_eq!(call(&handle, 2, &new).await, Err(Lost));
        let session = call(&handle, 2, &new).await;
        assert!(session.is_ok());
        call(&handle, 1, &old).await.expect("a scope of its own");
        assert_eq!(call(&handle, 2, &new).await, session, "it is reported once");
    }

    #[tokio::test]
    async fn work_in_the_background_leaves_the_report_of_lost_state_to_a_call() {
        let (old, new) = (pinned_pool(), pinned_pool());
        let handle = ScopeHandle::default();
        let lost = |background| handle.of_generation(2, &new, background).is_err();
        call(&handle, 1, &old).await.expect("nothing is lost yet");
        assert_eq!([true, true, false].map(lost), [true; 3]);
        assert_eq!([true, false].map(lost), [false; 2], "it is reported once");
        let unused = ScopeHandle::default();
        for (generation, pool) in [(1, &old), (2, &new)] {
            assert!(unused.of_generation(generation, pool, true).is_ok());
        }
    }

    #[tokio::test]
    async fn a_session_of_a_pool_that_was_replaced_is_none_of_the_scopes_on_the_new_one() {
        let (old, new, next) = (pinned_pool(), pinned_pool(), pinned_pool());
        let handle = ScopeHandle::default();
        let scope = handle.of_generation(1, &old, false).expect("the first");
        let lease = old.acquire_in(&scope).await.expect("a session");
        let called = lease.call_tool(CallToolRequestParams::new("whoami"));
        called.await.expect("an answer");
        assert!(handle.of_generation(2, &new, false).is_ok());
        handle.is_on(lease.session(), 1);
        let moved = handle.of_generation(3, &next, false);
        assert!(moved.is_ok(), "nothing was done on the second");
    }

    #[tokio::test]
    async fn a_scope_lends_its_handler_to_a_session_once_until_it_is_taken_back() {
        let pool = pinned_pool();
        let handle = ScopeHandle::default();
        let handler = || -> CallerHandler { Arc::new(ScopeHandler::new(Arc::new(()))) };
        let scope = handle.of_generation(1, &pool, false).expect("the first");
        let first = pool.acquire_in(&scope).await.expect("a session");
        let lend = |session| handle.lend(session, handler()).expect("there is a scope");
        let lent = lend(first.session());
        assert!(Arc::ptr_eq(&lent, &lend(first.session())));
        handle.take_handler_back();
        let again = lend(first.session());
        assert!(!Arc::ptr_eq(&lent, &again));
        let other = pool.acquire_in(&pool.scope()).await.expect("a session");
        assert!(!Arc::ptr_eq(&again, &lend(other.session())), "of another");
    }

    #[test]
    fn names_of_scopes_that_have_ended_are_forgotten() {
        let registry = ScopeRegistry::default();
        for number in 0..20_000 {
            drop(registry.named(number.to_string()));
        }
        assert!(registry.0.lock().scopes.len() <= 64);
    }
}
