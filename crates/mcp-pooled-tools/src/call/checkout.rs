//! A session for an attempt: a place on a shared one, a whole one, or a new one beside the pool.

use std::sync::Arc;

use mcp_config::Fallback;
use mcp_pool_core::{
    AcquireError, CallFailure, CallGuard, CallerHandler, Lease, PinnedLease, RequestObserver,
    Session,
};
use rmcp::model::ClientConfig;

use super::{Call, CallDeadline, Exchange, Failed, Route, classify::Verdict, gate, span::CallSpan};
use crate::{
    error::{Error, ErrorKind},
    identity::Identity,
    reply::Reply,
    scope::ScopeHandle,
    scope_handler::DuringCall,
    server::{Server, ServerPool, Snapshot},
    temporary::TemporarySession,
};

/// A session in hand. The place is given back when it is dropped.
enum Place<'a> {
    Shared(Lease),
    Whole(PinnedLease),
    Held(&'a PinnedLease),
    Direct(TemporarySession),
}

impl Place<'_> {
    fn session(&self) -> &Arc<Session> {
        match self {
            Self::Shared(lease) => lease.session(),
            whole => whole.whole().expect("only a lease is shared").session(),
        }
    }

    fn begin_call(&self, deadline: &CallDeadline) -> CallGuard<'_> {
        match self {
            Self::Shared(lease) => lease.begin_call(deadline.for_pool()),
            whole => {
                let whole = whole.whole().expect("only a lease is shared");
                whole.begin_call(deadline.for_pool())
            }
        }
    }

    /// The session, if the caller has it alone.
    fn whole(&self) -> Option<&PinnedLease> {
        match self {
            Self::Shared(_) => None,
            Self::Whole(session) => Some(session),
            Self::Held(session) => Some(session),
            Self::Direct(session) => Some(session.held()),
        }
    }
}

/// Why there is no session.
pub(crate) enum NoSession {
    /// Another pool has replaced that of the snapshot.
    Replaced,
    Failed(Error),
}

impl NoSession {
    /// Where a scope has a session only for its handler, the loss of that session is no loss of state.
    fn is_no_loss(&self, snapshot: &Snapshot) -> bool {
        matches!(self, Self::Failed(error) if error.is_state_lost() && !snapshot.is_stateful())
    }
}

/// Takes a session and makes the request there. The outer error is that of there being no session.
pub(super) async fn from_pool(
    call: &Call<'_>,
    route: &Route<'_>,
    snapshot: &Snapshot,
    span: &CallSpan<'_>,
) -> Result<Result<Reply, Failed>, NoSession> {
    gate::pass("checkout", snapshot);
    let place = match call.options.handler {
        Some(_) if route.scope.client().is_none() => route
            .pool
            .pin(snapshot, route.scope)
            .await
            .map(Place::Whole),
        _ => route
            .pool
            .lease(snapshot, route.scope, false)
            .await
            .map(Place::Shared),
    };
    match place {
        Ok(place) => {
            call.progress.leased();
            let on = On {
                pool: Some((route.pool, snapshot)),
                scope: Some(route.scope),
            };
            Ok(exchange(call, &place, on, span).await)
        }
        Err(NoSession::Failed(error))
            if error.kind() == ErrorKind::Exhausted
                && snapshot.settings.fallback == Fallback::Direct =>
        {
            // Boxed: a session is opened there, and hardly any call needs that.
            Ok(Box::pin(direct(call, route, snapshot, error, span)).await)
        }
        Err(none) => Err(none),
    }
}

/// The pool is full to the last place in line: a few calls may go beside it.
async fn direct(
    call: &Call<'_>,
    route: &Route<'_>,
    snapshot: &Snapshot,
    exhausted: Error,
    span: &CallSpan<'_>,
) -> Result<Reply, Failed> {
    // The state of a scope is on its own session, and nowhere else.
    let stateful = snapshot.is_stateful();
    let place = || route.server.direct_permit();
    let Some(_place) = (!stateful).then(place).flatten() else {
        return Err(Failed::without_request(exhausted));
    };
    call.telemetry.fell_back();
    tracing::warn!(server = %call.server, "{} uses a temporary session beside the pool, which is full: {exhausted}", call.operation);
    call.progress.opens_direct();
    let context = &route.pool.context;
    let (identity, info) = (context.identity.as_ref(), Some(context.info.clone()));
    let client = (identity, info);
    let outcome = temporary(call, route.server, client, Some(route.scope), span).await;
    if let Err(failed) = &outcome
        && failed.failure.is_none()
    {
        call.progress
            .record(Verdict::without_session(&failed.error, true));
    }
    outcome
}

/// Makes the request on a session of its own.
pub(super) async fn temporary(
    call: &Call<'_>,
    server: &Server,
    (identity, info): (Option<&Identity>, Option<ClientConfig>),
    scope: Option<&ScopeHandle>,
    span: &CallSpan<'_>,
) -> Result<Reply, Failed> {
    let opening = server.temporary_session(identity, info, call.secrets);
    let session = opening.await.map_err(Failed::without_request)?;
    call.progress.leased();
    exchange(
        call,
        &Place::Direct(session),
        On { pool: None, scope },
        span,
    )
    .await
}

/// Makes the request on a session that is held, when it is its turn.
pub(super) async fn held(
    call: &Call<'_>,
    (held, scope): (&PinnedLease, &ScopeHandle),
    span: &CallSpan<'_>,
) -> Result<Reply, Failed> {
    let turn = held.turn().await;
    let _turn = turn
        .map_err(|reason| Failed::without_request(Error::held_session_lost(call.server, reason)))?;
    call.progress.leased();
    let on = On {
        pool: None,
        scope: Some(scope),
    };
    exchange(call, &Place::Held(held), on, span).await
}

/// Makes the request on a session, where a handler of the call or of its scope answers the server.
async fn exchange(
    call: &Call<'_>,
    place: &Place<'_>,
    on: On<'_>,
    span: &CallSpan<'_>,
) -> Result<Reply, Failed> {
    let of_scope = on.scope.and_then(ScopeHandle::client);
    let own = call.options.handler.as_ref();
    let own = own.map(|own| call.deadline.timed(own));
    let (handler, during): (CallerHandler, _) = match (own, of_scope) {
        (None, None) => return on_session(call, place, on, Answering::default(), span).await,
        (Some(own), None) => (own, None),
        (own, Some(client)) => {
            let during = own.map(|own| client.handler.during_call(own));
            (client.handler, during)
        }
    };
    let lent = match (place.whole(), on.pool) {
        (Some(session), _) => {
            if let Some(scope) = on.scope {
                scope.take_handler_back();
            }
            Some(Arc::new(session.lend_handler(handler)))
        }
        (None, Some((_, snapshot))) if snapshot.scoped => {
            let lent = on.scope.map(|scope| scope.lend(place.session(), handler));
            lent.flatten()
        }
        // A modern server asks in its reply, whatever else uses the session.
        (None, _) => {
            let handler = during.as_ref().map_or(&handler, DuringCall::handler);
            let answering = Answering {
                handler: Some(handler),
                observer: None,
            };
            return on_session(call, place, on, answering, span).await;
        }
    };
    let answering = Answering {
        handler: None,
        observer: during.as_ref().map(|during| during as _),
    };
    let outcome = on_session(call, place, on, answering, span).await;
    if let Some(lent) = lent {
        lent.flush(call.deadline.time_for_notifications()).await;
    }
    outcome
}

/// What answers the server during an exchange, if it is not the session.
#[derive(Clone, Copy, Default)]
struct Answering<'a> {
    handler: Option<&'a CallerHandler>,
    observer: Option<&'a dyn RequestObserver>,
}

/// What the session of an exchange belongs to.
#[derive(Clone, Copy)]
struct On<'a> {
    pool: Option<(&'a ServerPool, &'a Snapshot)>,
    scope: Option<&'a ScopeHandle>,
}

async fn on_session(
    call: &Call<'_>,
    place: &Place<'_>,
    on: On<'_>,
    answering: Answering<'_>,
    span: &CallSpan<'_>,
) -> Result<Reply, Failed> {
    let session = place.session();
    span.on(session);
    let guard = place.begin_call(&call.deadline);
    let mut request = call.request.clone();
    call.telemetry.trace().onto(request.meta_mut());
    if let Some(client) = on.scope.and_then(ScopeHandle::client) {
        client.declare(session, &mut request);
    }
    let asked = on.pool.and_then(|(pool, snapshot)| {
        gate::pass("exchange", snapshot);
        (request.method() == "tools/list").then(|| pool.context.tools().asks())
    });
    let sink = call.deadline.sink(call.options);
    let sent = call.options.sent.as_ref().map(|sent| sent as _);
    let exchange = Exchange {
        progress: sink.as_ref(),
        observer: answering.observer.or(sent),
        handler: (answering.handler).map_or(session.service(), |handler| &**handler),
        ..Exchange::on(session)
    };
    match exchange.run(&request, call.options).await {
        Ok(reply) => {
            guard.answered();
            let reply = reply.from(call.server, call.operation.clone(), Some(session));
            Ok(reply.asked_for(asked))
        }
        Err(error) => {
            let failure = guard.failed(&error);
            let cause = cause_of_end(session, failure).await;
            let error = Error::call(
                call.server,
                call.secrets,
                &call.operation,
                failure,
                error,
                cause,
            );
            Err(Failed {
                error,
                failure: Some(failure),
                session: Some(session.id()),
            })
        }
    }
}

async fn cause_of_end(session: &Session, failure: CallFailure) -> Option<String> {
    if failure == CallFailure::Answered || !session.has_ended() {
        return None;
    }
    match session.close_reason() {
        Some(reason) if !reason.is_fault() => {
            Some(format!("the pool closed the session ({reason})"))
        }
        _ => Some(session.cause_of_end().await),
    }
}

/// Sessions of the pool proper, as of a snapshot.
impl ServerPool {
    /// A place on a session, in this scope. In the `background` it takes no place in line from a caller, and
    /// leaves the news of a loss of state to the scope's next caller.
    pub(crate) async fn lease(
        &self,
        snapshot: &Snapshot,
        handle: &ScopeHandle,
        background: bool,
    ) -> Result<Lease, NoSession> {
        match self.lease_once(snapshot, handle, background).await {
            Err(none) if none.is_no_loss(snapshot) => {
                self.lease_once(snapshot, handle, background).await
            }
            outcome => outcome,
        }
    }

    async fn lease_once(
        &self,
        snapshot: &Snapshot,
        handle: &ScopeHandle,
        background: bool,
    ) -> Result<Lease, NoSession> {
        let background = background && snapshot.is_stateful();
        let scope = handle.in_pool(&self.server, snapshot, background);
        let lease = match scope.map_err(NoSession::Failed)? {
            scope if background => snapshot.pool.acquire_in_background(scope.as_ref()).await,
            Some(scope) => snapshot.pool.acquire_in(&scope).await,
            None => snapshot.pool.acquire().await,
        };
        let lease = lease.map_err(|error| self.no_session(snapshot, error))?;
        if snapshot.scoped {
            handle.is_on(lease.session(), snapshot.generation);
        }
        Ok(lease)
    }

    /// A session for one caller alone, in this scope.
    pub(crate) async fn pin(
        &self,
        snapshot: &Snapshot,
        handle: &ScopeHandle,
    ) -> Result<PinnedLease, NoSession> {
        match self.pin_once(snapshot, handle).await {
            Err(none) if none.is_no_loss(snapshot) => self.pin_once(snapshot, handle).await,
            outcome => outcome,
        }
    }

    async fn pin_once(
        &self,
        snapshot: &Snapshot,
        handle: &ScopeHandle,
    ) -> Result<PinnedLease, NoSession> {
        let scope = handle.in_pool(&self.server, snapshot, false);
        let session = match scope.map_err(NoSession::Failed)? {
            Some(scope) => snapshot.pool.pin_in(&scope).await,
            None => snapshot.pool.pin().await,
        };
        let session = session.map_err(|error| self.no_session(snapshot, error))?;
        handle.is_on(session.session(), snapshot.generation);
        Ok(session)
    }

    fn no_session(&self, snapshot: &Snapshot, error: AcquireError) -> NoSession {
        if matches!(error, AcquireError::Closed) {
            let newest = self.snapshot();
            if let Some(why) = &newest.gone {
                return NoSession::Failed(Error::gone(&self.server, why));
            }
            if newest.generation != snapshot.generation {
                return NoSession::Replaced;
            }
        }
        NoSession::Failed(Error::acquire(&self.server, self.secrets(), error))
    }
}
