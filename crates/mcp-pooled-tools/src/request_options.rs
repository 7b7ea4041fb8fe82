//! Options of one request.

use std::{fmt, sync::Arc, time::Duration};

use mcp_config::Replay;
use mcp_pool_core::{CallerHandler, ProgressSink};
use rmcp::{
    RoleClient,
    model::{DEFAULT_MRTR_MAX_ROUNDS, ProgressNotificationParam, RequestMetaObject},
    service::Service,
};
use tokio_util::sync::CancellationToken;

use crate::{identity::Identity, pending::Sent, request::Request};

/// What may be set for one request, of whatever kind. What is not set is as the settings of the server say.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RequestOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_total: Option<Duration>,
    pub(crate) reset_on_progress: bool,
    pub(crate) replay: Option<Replay>,
    pub(crate) progress: Option<ProgressSink>,
    pub(crate) cancellation: Option<CancellationToken>,
    pub(crate) meta: Option<RequestMetaObject>,
    pub(crate) scope: Option<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) handler: Option<CallerHandler>,
    pub(crate) handler_limit: Option<Duration>,
    pub(crate) max_rounds: Option<usize>,
    pub(crate) once: bool,
    pub(crate) all_pages: bool,
    /// Where the request's id is noted, for a handle.
    pub(crate) sent: Option<Sent>,
}

impl RequestOptions {
    /// Nothing set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the whole call, waiting for a session included. Default: `call_timeout`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Starts the limit again whenever the server reports progress. See [`RequestOptions::max_total`].
    #[must_use]
    pub fn reset_on_progress(mut self) -> Self {
        self.reset_on_progress = true;
        self
    }

    /// Limits the whole call whatever progress it makes. Default: none beyond the timeout, and where progress resets
    /// that, ten times it.
    #[must_use]
    pub fn max_total(mut self, limit: Duration) -> Self {
        self.max_total = Some(limit);
        self
    }

    /// Whether the request is made once more when it may not have reached the server. Default: the setting `replay`.
    #[must_use]
    pub fn replay(mut self, replay: Replay) -> Self {
        self.replay = Some(replay);
        self
    }

    /// How many rounds of input a modern server may ask for before it gives its result. Default: 10. A server that asks
    /// on is an error of kind [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) that says so.
    #[must_use]
    pub fn max_rounds(mut self, rounds: usize) -> Self {
        self.max_rounds = Some(rounds);
        self
    }

    /// Makes the first answer the reply, also where the server asks for input in it: see
    /// [`ReplyKind::InputRequired`](crate::ReplyKind::InputRequired). Default: input is given by the
    /// [handler](RequestOptions::handler).
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Follows a list to its last page, on one session and under one limit. The reply is one list. A list without an end
    /// is cut, with a warning: at a cursor that the server gave before, at 1,000 pages, 10,000 items, or 32 MiB in
    /// memory. No effect on requests of other kinds.
    #[must_use]
    pub fn all_pages(mut self) -> Self {
        self.all_pages = true;
        self
    }

    /// Adds what the caller sends along to the `_meta` of a request.
    pub(crate) fn add_meta(&self, request: &mut Request) {
        if let Some(meta) = &self.meta {
            request.meta_mut().extend(meta.clone());
        }
    }

    pub(crate) fn rounds(&self) -> usize {
        self.max_rounds.unwrap_or(DEFAULT_MRTR_MAX_ROUNDS)
    }

    /// Called with the progress of this call only, on the task that reads messages: it must not block.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, RequestOptions, rmcp};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let options = RequestOptions::new()
    ///     .on_progress(|progress| println!("{}", progress.progress))
    ///     .reset_on_progress();
    /// let params = rmcp::model::CallToolRequestParams::new("index");
    /// manager.tools("search")?.call_tool_with(params, options).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_progress(
        mut self,
        sink: impl Fn(ProgressNotificationParam) + Send + Sync + 'static,
    ) -> Self {
        self.progress = Some(Arc::new(sink));
        self
    }

    /// Ends the call, with an error of kind [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), when the token is
    /// cancelled. The server is notified.
    #[must_use]
    pub fn cancellation(mut self, token: CancellationToken) -> Self {
        self.cancellation = Some(token);
        self
    }

    /// Sent along as the request's `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: RequestMetaObject) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Makes the call in the scope of this name: see [`PooledTools::scoped`](crate::PooledTools::scoped).
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Makes the call on behalf of an identity: see [`PooledTools::with_identity`](crate::PooledTools::with_identity).
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Answers the server's requests during the call: sampling, elicitation, roots, rounds of input. The call has a
    /// session for itself, which declares the capabilities of the handler.
    ///
    /// Where sessions are pinned, that is the session of the call's scope, with the state it has. Its handshake declared
    /// what the handler of the scope's first call declares, and a legacy server asks for nothing else: make the first
    /// call of such a scope with a handler.
    ///
    /// In a scope with a [client](crate::PooledTools::with_client) the call shares the scope's session with the other
    /// calls of the scope, and its server has been told what the scope's client declares.
    #[must_use]
    pub fn handler(mut self, handler: impl Service<RoleClient>) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Limits each answer of the [handler](RequestOptions::handler), such as that of a person. The call's limit stands still
    /// meanwhile; [`RequestOptions::max_total`] does not. An answer that takes longer is an error to the server. Default:
    /// the handler's time is a part of the call's.
    #[must_use]
    pub fn handler_limit(mut self, limit: Duration) -> Self {
        self.handler_limit = Some(limit);
        self
    }
}

impl fmt::Debug for RequestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestOptions")
            .field("timeout", &self.timeout)
            .field("max_total", &self.max_total)
            .field("reset_on_progress", &self.reset_on_progress)
            .field("handler_limit", &self.handler_limit)
            .field("replay", &self.replay)
            .field("scope", &self.scope)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
