//! Which handler answers the server on the session of a scope: that of the call that the server asks for, else the scope's.
//!
//! Over HTTP a request of the server arrives on the stream of the call that caused it. Over lines nothing says which call
//! that is: with one call under way it is that one, and among several the last that began.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use mcp_pool_core::{CallerHandler, RequestObserver};
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleClient,
    model::{ClientConfig, ClientResult, Extensions, RequestId, ServerNotification, ServerRequest},
    service::{InboundStreamOrigin, NotificationContext, RequestContext, Service},
};

/// How it is known which call a message of the server belongs to: among the `extensions` of the context that the
/// [handler](crate::RequestOptions::handler) of a call in a scope with a [client](crate::PooledTools::with_client) receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribution {
    /// It came on the stream of the call.
    Stream,
    /// The call was the only one under way.
    OnlyCall,
    /// Several calls were under way, and nothing says which one caused it. This is the one that began last.
    LastCall,
}

/// The handlers of a scope and of its calls.
pub(crate) struct ScopeHandler {
    own: CallerHandler,
    calls: Mutex<Vec<Arc<CallHandler>>>,
}

/// The handler of one call that is under way.
struct CallHandler {
    handler: CallerHandler,
    /// The call's request on its session.
    id: AtomicI64,
}

impl ScopeHandler {
    pub(crate) fn new(own: CallerHandler) -> Self {
        Self {
            own,
            calls: Mutex::default(),
        }
    }

    /// Has `handler` answer for a call until the returned value is dropped.
    pub(crate) fn during_call(self: &Arc<Self>, handler: CallerHandler) -> DuringCall {
        let call = Arc::new(CallHandler {
            handler,
            id: AtomicI64::new(UNSENT),
        });
        self.calls.lock().push(Arc::clone(&call));
        DuringCall {
            scope: Arc::clone(self),
            call,
        }
    }

    /// The handler for a message of the server, and how it is known that it is that call's.
    fn answering(&self, extensions: &mut Extensions) -> CallerHandler {
        let calls = self.calls.lock();
        let call = match extensions.get::<InboundStreamOrigin>() {
            Some(InboundStreamOrigin::OutboundRequest(RequestId::Number(id))) => {
                let mut calls = calls.iter();
                calls.find(|call| call.id.load(Ordering::Acquire) == *id)
            }
            _ => None,
        };
        let attribution = match (call, calls.len()) {
            (Some(_), _) => Attribution::Stream,
            (None, 1) => Attribution::OnlyCall,
            (None, _) => Attribution::LastCall,
        };
        match call.or_else(|| calls.last()) {
            Some(call) => {
                let handler = Arc::clone(&call.handler);
                extensions.insert(attribution);
                handler
            }
            None => Arc::clone(&self.own),
        }
    }
}

impl Service<RoleClient> for ScopeHandler {
    async fn handle_request(
        &self,
        request: ServerRequest,
        mut context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        let handler = self.answering(&mut context.extensions);
        handler.handle_request(request, context).await
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        mut context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        let handler = self.answering(&mut context.extensions);
        handler.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ClientConfig {
        self.own.get_info()
    }
}

/// Ends the time of a call's handler when it is dropped.
pub(crate) struct DuringCall {
    scope: Arc<ScopeHandler>,
    call: Arc<CallHandler>,
}

impl DuringCall {
    pub(crate) fn handler(&self) -> &CallerHandler {
        &self.call.handler
    }
}

impl RequestObserver for DuringCall {
    fn sending(&self, id: i64) {
        self.call.id.store(id, Ordering::Release);
    }
}

impl Drop for DuringCall {
    fn drop(&mut self) {
        let mut calls = self.scope.calls.lock();
        calls.retain(|call| !Arc::ptr_eq(call, &self.call));
    }
}

/// No request has this id.
const UNSENT: i64 = -1;
