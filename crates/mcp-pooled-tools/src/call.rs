//! The path of a call: validation, deadline, retry, circuit breaker, checkout, exchange, classification.
//!
//! Each step is one file with one function. The request is a value and passes through by reference, so no step depends on
//! its kind. An attempt takes one snapshot of pool, settings and breaker and runs wholly on that, also if the server
//! is reconfigured meanwhile.
//!
//! The deadline is outside everything. rmcp's own fire late on a hung HTTP server and never on a process that has
//! stopped reading, because they first await that the server takes the cancellation. Dropping the call's future
//! frees its place at once, and notifies the server where it still listens.
//!
//! The breaker is asked before the queue: a caller of a server that fails is answered in microseconds. Every attempt
//! has a permit of its own, and whatever ends the attempt decides what the permit says.

pub(crate) mod checkout;
pub(crate) mod circuit;
pub(crate) mod classify;
mod clock;
mod deadline;
mod exchange;
mod gate;
mod progress;
mod retry;
mod span;
mod validate;

use std::{pin::pin, sync::Arc};

use classify::Verdict;
pub(crate) use deadline::{CallDeadline, Interrupted};
pub(crate) use exchange::Exchange;
use mcp_breaker::Breaker;
use mcp_config::EffectiveSettings;
use mcp_pool_core::{CallFailure, Phase, PinnedLease, SessionId};
use progress::Progress;
use rmcp::model::ClientConfig;
use span::CallSpan;
use tracing::Instrument;

use crate::{
    error::Error,
    identity::Identity,
    operation::Operation,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    scope::ScopeHandle,
    secrets::Secrets,
    server::{Server, ServerPool},
    telemetry::Telemetry,
};

/// One call: what is requested of whom, how, and how far it has come.
struct Call<'a> {
    server: &'a Arc<str>,
    secrets: &'a Secrets,
    telemetry: &'a Telemetry,
    request: &'a Request,
    options: &'a RequestOptions,
    operation: Operation,
    deadline: CallDeadline,
    progress: Progress,
}

impl<'a> Call<'a> {
    fn of_pool(
        pool: &'a ServerPool,
        request: &'a Request,
        options: &'a RequestOptions,
        deadline: CallDeadline,
    ) -> Self {
        Self {
            server: &pool.server,
            secrets: pool.secrets(),
            telemetry: &pool.context.telemetry,
            request,
            options,
            operation: request.operation(),
            deadline,
            progress: Progress::default(),
        }
    }
}

/// Where a call may find a session.
pub(crate) struct Route<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) pool: &'a Arc<ServerPool>,
    pub(crate) scope: &'a ScopeHandle,
}

/// A failed attempt: the caller's error, and what became of the request if there was one.
struct Failed {
    error: Error,
    failure: Option<CallFailure>,
    session: Option<SessionId>,
}

impl Failed {
    fn without_request(error: Error) -> Self {
        Self {
            error,
            failure: None,
            session: None,
        }
    }

    /// The session that took the request and had no answer.
    fn lost_on(&self) -> Option<SessionId> {
        self.session
            .filter(|_| self.failure == Some(CallFailure::Lost))
    }

    fn verdict(&self) -> Verdict {
        self.failure
            .map_or(Verdict::Nothing, |_| Verdict::of(&self.error))
    }
}

/// Makes a call on a session of the pool, and once more where that does no harm.
pub(crate) async fn on_pool(
    route: &Route<'_>,
    mut request: Request,
    options: &RequestOptions,
) -> Result<Reply, Error> {
    let (pool, snapshot) = (route.pool, route.pool.snapshot());
    let deadline = CallDeadline::with(snapshot.settings.call_timeout, options);
    gate::pass("validate", &snapshot);
    let checked = validate::on_pool(route, &snapshot.settings, &request, &deadline).await?;
    options.add_meta(&mut request);
    let call = Call::of_pool(pool, &request, options, deadline);
    let record = call.telemetry.call(&call.operation, call.deadline.began());
    // Pinned here: a future is copied as a whole into each one that takes it by value, and this one is large.
    let reply = {
        let attempts = pin!(retry::attempts(&call, route, snapshot));
        deadline::limit(&call, pool, attempts).await
    };
    let reply = record.end(reply)?;
    checked.result(route.server, reply, &call.deadline).await
}

/// A session that its caller holds, and what its calls are made with.
pub(crate) struct HeldRoute<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) pool: &'a Arc<ServerPool>,
    pub(crate) scope: &'a ScopeHandle,
    pub(crate) session: &'a PinnedLease,
    /// Of the pool that the session is from, which another may have replaced by now.
    pub(crate) breaker: &'a Breaker,
    pub(crate) settings: &'a EffectiveSettings,
}

/// Makes a call on a session that is held already, which may be older than the trouble its server is in: that it
/// serves does not show that the server has recovered, and that it is dead does not show that the server is.
pub(crate) async fn on_held(
    held: &HeldRoute<'_>,
    mut request: Request,
    options: &RequestOptions,
) -> Result<Reply, Error> {
    let route = Route {
        server: held.server,
        pool: held.pool,
        scope: held.scope,
    };
    let deadline = CallDeadline::with(held.settings.call_timeout, options);
    let checked = validate::on_pool(&route, held.settings, &request, &deadline).await?;
    options.add_meta(&mut request);
    let call = Call::of_pool(held.pool, &request, options, deadline);
    let record = call.telemetry.call(&call.operation, call.deadline.began());
    let span = CallSpan::begin(&call, 1);
    let outcome = circuit::around_held(&call, held, &span).await;
    span.end(outcome.as_ref());
    let reply = record.end(outcome)?;
    checked.result(held.server, reply, &call.deadline).await
}

/// Makes a call on a session of its own, whose opening is part of the call.
pub(crate) async fn on_temporary(
    server: &Arc<Server>,
    (identity, info): (Option<&Identity>, Option<&ClientConfig>),
    mut request: Request,
    options: &RequestOptions,
) -> Result<Reply, Error> {
    let (settings, secrets) = (server.settings(), server.factory().secrets(identity));
    let deadline = CallDeadline::with(settings.call_timeout, options);
    let known = || server.known_tools(identity, info);
    let checked = validate::arguments(known, server, &settings, &request, &deadline).await?;
    options.add_meta(&mut request);
    let call = Call {
        server: &server.name,
        secrets: &secrets,
        telemetry: &server.telemetry,
        request: &request,
        options,
        operation: request.operation(),
        deadline,
        progress: Progress::default(),
    };
    let record = call.telemetry.call(&call.operation, call.deadline.began());
    let span = CallSpan::begin(&call, 1);
    let outcome = {
        let calling = checkout::temporary(&call, server, (identity, info.cloned()), None, &span);
        let calling = pin!(calling.instrument(span.to_instrument()));
        call.deadline.within(calling).await
    };
    let outcome = match outcome {
        Ok(outcome) => outcome.map_err(|failed| failed.error),
        Err(ended) => Err(call.interrupted(ended, call.progress.phase().unwrap_or(Phase::Open))),
    };
    span.end(outcome.as_ref());
    let reply = record.end(outcome)?;
    checked.result(server, reply, &call.deadline).await
}

#[cfg(test)]
mod tests {
    use mcp_pool_core::connect::in_process::InProcess;
    use mcp_testkit::TestServer;
    use rmcp::model::CallToolRequestParams;

    use super::*;
    use crate::{Client, ConnectionManager, PoolSettings};

    /// A future is allocated for each call, and copied as a whole wherever it is handed on by value. What few calls need is
    /// boxed where it is awaited.
    #[tokio::test]
    async fn the_future_of_a_call_has_no_room_for_what_few_calls_need() {
        let connector = InProcess::new(TestServer::new);
        let manager = ConnectionManager::builder();
        let manager = manager.connector("test", connector, PoolSettings::new());
        let manager = manager.build().await.unwrap();
        let tools = manager.tools("test").unwrap();
        let request = CallToolRequestParams::new("echo").into();
        let sending = tools.send(request, RequestOptions::new());
        let bytes = size_of_val(&*sending);
        assert!(bytes <= 6 * 1024, "{bytes} bytes");
    }
}
