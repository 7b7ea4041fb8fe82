//! How a pooled session answers its server, and who hears what the server says unasked.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleClient, Service,
    model::{
        ClientConfig, ClientResult, Implementation, ProgressNotificationParam, ProgressToken,
        ServerNotification, ServerRequest,
    },
    service::{DynService, NotificationContext, RequestContext},
};

/// A caller's own answers to requests of the server.
pub type CallerHandler = Arc<dyn DynService<RoleClient>>;

/// Hears every notification of a server, in the order in which they came in among its replies.
///
/// Called where messages are read: a listener must not block. If it panics, that is logged, the session lives on, and
/// the listener is told of the next notification as before.
pub trait ServerListener: Send + Sync + 'static {
    /// The server has said something unasked.
    fn on_notification(&self, notification: &ServerNotification);
}

/// The client's side of a pooled session.
///
/// A pooled session serves many callers, and over legacy stdio a request of the server cannot be told to belong to
/// one of them. So, unless it is lent to one caller alone, it declines sampling, elicitation and roots, exactly as
/// the plain client `()` does.
#[derive(Clone, Default)]
pub struct SessionHandler {
    info: ClientConfig,
    caller: Arc<Mutex<Option<CallerHandler>>>,
}

impl SessionHandler {
    /// A handler that introduces itself with `info`. What it declares, servers will ask for.
    #[must_use]
    pub fn new(info: ClientConfig) -> Self {
        Self {
            info,
            caller: Arc::default(),
        }
    }

    /// The same introduction, for another session.
    pub(crate) fn for_session(&self) -> Self {
        Self::new(self.info.clone())
    }

    /// Has a caller answer the server until the guard is dropped. Only for a session that nobody else uses.
    pub(crate) fn lend(&self, caller: CallerHandler) -> Lent {
        *self.caller.lock() = Some(caller);
        Lent(Arc::clone(&self.caller))
    }

    fn caller(&self) -> Option<CallerHandler> {
        self.caller.lock().clone()
    }
}

/// Ends the lending of a session's handler when it is dropped.
#[must_use = "the handler is taken back when this is dropped"]
pub struct Lent(Arc<Mutex<Option<CallerHandler>>>);

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.lock().take();
    }
}

impl Service<RoleClient> for SessionHandler {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        match self.caller() {
            Some(caller) => caller.handle_request(request, context).await,
            None => Service::handle_request(&(), request, context).await,
        }
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        match self.caller() {
            Some(caller) => caller.handle_notification(notification, context).await,
            None => Ok(()),
        }
    }

    fn get_info(&self) -> ClientConfig {
        self.info.clone()
    }
}

/// The introduction of a pooled session: the pool's name, and no capability that would let a server ask.
#[must_use]
pub fn client_info() -> ClientConfig {
    let client = Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION"));
    ClientConfig::new(rmcp::model::ClientCapabilities::default(), client)
}

impl fmt::Debug for SessionHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandler")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Told of the progress of one call, where messages are read: a sink must not block.
///
/// One that panics is told no more; its call and the others on the session go on.
pub type ProgressSink = Arc<dyn Fn(ProgressNotificationParam) + Send + Sync>;

/// Which call's progress goes where, on one session.
#[derive(Clone, Default)]
pub(crate) struct ProgressRoutes(Arc<Mutex<Routes>>);

#[derive(Default)]
struct Routes {
    sinks: HashMap<ProgressToken, ProgressSink>,
    /// A server may be quicker than the caller, who learns its token only from the request it has sent.
    early: VecDeque<ProgressNotificationParam>,
}

impl ProgressRoutes {
    /// Progress kept for a call that has not said yet where it wants it.
    const EARLY: usize = 32;

    pub(crate) fn open(&self, token: ProgressToken, sink: ProgressSink) -> ProgressRoute {
        let mut routes = self.0.lock();
        let (mine, others) = routes
            .early
            .drain(..)
            .partition(|progress| progress.progress_token == token);
        routes.early = others;
        routes.sinks.insert(token.clone(), Arc::clone(&sink));
        drop(routes);
        let mine: VecDeque<_> = mine;
        // Before the sink is called, which may panic.
        let route = ProgressRoute {
            routes: self.clone(),
            token,
        };
        mine.into_iter().for_each(|progress| sink(progress));
        route
    }

    pub(crate) fn deliver(&self, progress: &ProgressNotificationParam) {
        let mut routes = self.0.lock();
        if let Some(sink) = routes.sinks.get(&progress.progress_token).cloned() {
            drop(routes);
            // In the loop that reads for all who share the session.
            if catch_unwind(AssertUnwindSafe(|| sink(progress.clone()))).is_err() {
                tracing::error!("a progress sink panicked; it is told no more");
                self.0.lock().sinks.remove(&progress.progress_token);
            }
            return;
        }
        if routes.early.len() == Self::EARLY {
            routes.early.pop_front();
        }
        routes.early.push_back(progress.clone());
    }
}

impl fmt::Debug for ProgressRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressRoutes")
            .field("open", &self.0.lock().sinks.len())
            .finish_non_exhaustive()
    }
}

/// The way of one call's progress; closed when it is dropped.
#[derive(Debug)]
#[must_use = "progress stops when this is dropped"]
pub struct ProgressRoute {
    routes: ProgressRoutes,
    token: ProgressToken,
}

impl Drop for ProgressRoute {
    fn drop(&mut self) {
        self.routes.0.lock().sinks.remove(&self.token);
    }
}
