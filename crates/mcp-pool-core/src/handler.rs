//! Handler of a pooled session: answers requests of the server, and passes on its notifications.

#![allow(
    deprecated,
    reason = "roots are deprecated by the protocol, and servers still ask for them"
)]

mod lent;

use std::{fmt, sync::Arc};

pub use lent::Lent;
use lent::{Context, Queue};
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleClient, Service,
    model::{
        ClientConfig, ClientResult, CreateMessageRequestMethod, CustomNotification, ElicitResult,
        ElicitationAction, ErrorCode, Implementation, ListRootsResult, ServerNotification,
        ServerRequest,
    },
    service::{DynService, NotificationContext, RequestContext},
};

/// A caller's own answers to requests of the server.
pub type CallerHandler = Arc<dyn DynService<RoleClient>>;

/// Receives every notification of a server, in the order of the wire.
///
/// Called where messages are read: a listener must not block. If it panics, that is logged, the session lives on, and
/// the listener receives the next notification as before.
pub trait ServerListener: Send + Sync + 'static {
    /// A notification has come in.
    fn on_notification(&self, notification: &ServerNotification);
}

/// The client's side of a pooled session.
///
/// A pooled session serves many callers, and over legacy stdio a request of the server cannot be attributed to
/// one of them. So, unless it is lent to one caller alone, it declines sampling, elicitation and roots, exactly as
/// the plain client `()` does.
#[derive(Clone, Default)]
pub struct SessionHandler {
    info: ClientConfig,
    lent: Slot,
    context: Context,
}

/// Where a lent handler is found.
type Slot = Arc<Mutex<Option<Arc<Queue>>>>;

impl SessionHandler {
    /// A handler that introduces itself with `info`. What it declares, servers will ask for.
    #[must_use]
    pub fn new(info: ClientConfig) -> Self {
        Self {
            info,
            lent: Arc::default(),
            context: Context::default(),
        }
    }

    /// The same introduction, for another session.
    pub(crate) fn for_session(&self) -> Self {
        Self::new(self.info.clone())
    }

    /// Routes requests of the server to a caller until the guard is dropped. Only for a session without other callers.
    pub(crate) fn lend(&self, caller: CallerHandler) -> Lent {
        Lent::new(Arc::clone(&self.lent), caller, self.context.clone())
    }

    /// Whether a caller answers the server.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent.lock().is_some()
    }

    /// Queues a notification of `size` bytes for the lent handler, if there is one. Returns what has to pass through
    /// rmcp first, so that there is a context to hand on with it.
    pub(crate) fn hand_on(
        &self,
        notification: ServerNotification,
        size: usize,
    ) -> Option<ServerNotification> {
        let queue = self.lent.lock().clone()?;
        queue.push(notification, size);
        let has_context = self.context.borrow().is_some();
        (!has_context).then(|| {
            let empty = CustomNotification::new("mcp-pool/context", None);
            ServerNotification::CustomNotification(empty)
        })
    }

    fn caller(&self) -> Option<CallerHandler> {
        let lent = self.lent.lock();
        lent.as_ref().map(|queue| Arc::clone(&queue.handler))
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
        self.context.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                let mut bare = context.clone();
                (bare.meta, bare.extensions) = Default::default();
                *known = Some(bare);
            }
            is_first
        });
        // All others were queued for the caller where they were read.
        let passed_by = matches!(notification, ServerNotification::CancelledNotification(_))
            || context.meta.subscription_id().is_some();
        match self.caller() {
            Some(caller) if passed_by => caller.handle_notification(notification, context).await,
            _ => Ok(()),
        }
    }

    fn get_info(&self) -> ClientConfig {
        self.info.clone()
    }
}

/// The answer to a server where no caller answers: that of the plain client `()`.
pub(crate) fn decline(request: &ServerRequest) -> Result<ClientResult, ErrorData> {
    match request {
        ServerRequest::PingRequest(_) => Ok(ClientResult::empty(())),
        ServerRequest::ListRootsRequest(_) => {
            Ok(ClientResult::ListRootsResult(ListRootsResult::default()))
        }
        ServerRequest::ElicitRequest(_) => Ok(ClientResult::ElicitResult(ElicitResult::new(
            ElicitationAction::Decline,
        ))),
        ServerRequest::CreateMessageRequest(_) => {
            Err(ErrorData::method_not_found::<CreateMessageRequestMethod>())
        }
        // A server may have put megabytes into the name of its method.
        _ => Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            "method not found",
            None,
        )),
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
