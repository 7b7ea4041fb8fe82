//! Routes progress notifications to their calls.
//!
//! rmcp chooses a request's progress token when the request is sent, and returns it to the caller afterwards, by when the server may
//! have reported progress already. So the sink travels with the request, as an extension of it, and is registered by the
//! transport in the moment in which the request passes: no progress comes too early, and none is kept.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use rmcp::model::{
    ClientRequest, GetExtensions, GetMeta, ProgressNotificationParam, ProgressToken,
};

/// Receives the progress of one call, where messages are read: a sink must not block.
///
/// One that panics receives no more; its call and the others on the session go on.
pub type ProgressSink = Arc<dyn Fn(ProgressNotificationParam) + Send + Sync>;

/// The open routes of one session.
#[derive(Clone, Default)]
pub(crate) struct ProgressRoutes(Arc<Mutex<HashMap<ProgressToken, ProgressSink>>>);

impl ProgressRoutes {
    /// Attaches a sink to a request that is about to be sent on this session.
    pub(crate) fn attach(&self, request: &mut ClientRequest, sink: ProgressSink) -> ProgressRoute {
        let route = Arc::new(Route {
            sink,
            state: Mutex::default(),
        });
        let attached = Attached(Arc::downgrade(&route));
        request.extensions_mut().insert(attached);
        ProgressRoute {
            routes: self.clone(),
            route,
        }
    }

    /// Opens a route for the progress of a raw request that has this token.
    pub(crate) fn route(&self, token: ProgressToken, sink: ProgressSink) -> ProgressRoute {
        self.0.lock().insert(token.clone(), Arc::clone(&sink));
        ProgressRoute {
            routes: self.clone(),
            route: Arc::new(Route {
                sink,
                state: Mutex::new(State::Open(token)),
            }),
        }
    }

    /// Opens the route that is attached to a request, if there is one and its caller still waits.
    pub(crate) fn open(&self, request: &ClientRequest) {
        let Some(Attached(route)) = request.extensions().get() else {
            return;
        };
        let (Some(route), Some(token)) = (route.upgrade(), request.get_meta().get_progress_token())
        else {
            return;
        };
        let mut state = route.state.lock();
        if matches!(*state, State::Attached) {
            *state = State::Open(token.clone());
            self.0.lock().insert(token, Arc::clone(&route.sink));
        }
    }

    /// Delivers progress to the sink of its call. `false` if there is none.
    pub(crate) fn deliver(&self, progress: &ProgressNotificationParam) -> bool {
        let Some(sink) = self.0.lock().get(&progress.progress_token).cloned() else {
            return false;
        };
        // In the loop that reads for all who share the session.
        if catch_unwind(AssertUnwindSafe(|| sink(progress.clone()))).is_err() {
            tracing::error!("a progress sink panicked; it receives no more");
            self.0.lock().remove(&progress.progress_token);
        }
        true
    }
}

impl fmt::Debug for ProgressRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressRoutes")
            .field("open", &self.0.lock().len())
            .finish_non_exhaustive()
    }
}

/// What travels with a request.
#[derive(Clone)]
struct Attached(Weak<Route>);

struct Route {
    sink: ProgressSink,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Attached,
    Open(ProgressToken),
    Closed,
}

/// The route of one call's progress; closed when it is dropped.
#[must_use = "progress stops when this is dropped"]
pub struct ProgressRoute {
    routes: ProgressRoutes,
    route: Arc<Route>,
}

impl Drop for ProgressRoute {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.route.state.lock(), State::Closed);
        if let State::Open(token) = state {
            self.routes.0.lock().remove(&token);
        }
    }
}

impl fmt::Debug for ProgressRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressRoute").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{NumberOrString, PingRequest};

    use super::*;

    fn sent(routes: &ProgressRoutes, request: &mut ClientRequest, token: i64) {
        let token = ProgressToken(NumberOrString::Number(token));
        request.get_meta_mut().set_progress_token(token);
        routes.open(request);
    }

    fn progress(token: i64) -> ProgressNotificationParam {
        ProgressNotificationParam::new(ProgressToken(NumberOrString::Number(token)), 1.0)
    }

    fn request() -> ClientRequest {
        ClientRequest::PingRequest(PingRequest::default())
    }

    #[test]
    fn progress_is_delivered_from_the_moment_the_request_is_sent_until_its_route_is_dropped() {
        let routes = ProgressRoutes::default();
        let received = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&received);
        let mut request = request();
        let route = routes.attach(
            &mut request,
            Arc::new(move |p| sink.lock().push(p.progress)),
        );
        assert!(!routes.deliver(&progress(7)));
        sent(&routes, &mut request, 7);
        assert!(routes.deliver(&progress(7)));
        assert!(!routes.deliver(&progress(8)));
        drop(route);
        assert!(!routes.deliver(&progress(7)));
        assert_eq!(*received.lock(), [1.0]);
        assert!(routes.0.lock().is_empty());
    }

    #[test]
    fn a_route_that_is_dropped_before_its_request_is_sent_is_never_opened() {
        let routes = ProgressRoutes::default();
        let mut request = request();
        drop(routes.attach(&mut request, Arc::new(|_| {})));
        sent(&routes, &mut request, 7);
        assert!(routes.0.lock().is_empty());
    }
}
