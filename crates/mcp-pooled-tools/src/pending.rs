//! A request that is under way on its own, and whose reply is awaited or cancelled by a handle.
//!
//! The call runs in a task of the manager, by the same path as every other: with its deadline, permit, span and metrics.
//! Its place on a session is free when it ends, whatever becomes of the handle.

use std::sync::Arc;

use mcp_config::Replay;
use mcp_pool_core::RequestObserver;
use parking_lot::Mutex;
use rmcp::{
    model::{ClientRequest, ProgressToken, RequestId, ServerResult},
    service::PeerRequestOptions,
};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, instrument::WithSubscriber};

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    server::Server,
    tools::PooledTools,
};

/// A request on its way: see
/// [`PooledTools::send_cancellable_request`](crate::PooledTools::send_cancellable_request).
///
/// Dropped, the request is cancelled.
#[derive(Debug)]
#[must_use = "the request is cancelled when this is dropped"]
pub struct PendingRequest {
    /// The request's id on its session.
    pub id: RequestId,
    /// The token of the request's progress on its session.
    pub progress_token: ProgressToken,
    server: Arc<Server>,
    sent: Sent,
    reply: oneshot::Receiver<Result<Reply, Error>>,
    cancel: DropGuard,
}

impl PendingRequest {
    pub(crate) async fn start(
        tools: PooledTools,
        request: ClientRequest,
        options: PeerRequestOptions,
    ) -> Result<Self, Error> {
        let token = CancellationToken::new();
        let cancel = token.clone().drop_guard();
        let (sent, on_session) = Sent::new();
        let options = RequestOptions {
            timeout: options.timeout,
            max_total: options.max_total_timeout,
            reset_on_progress: options.reset_timeout_on_progress,
            meta: options.meta,
            cancellation: Some(token),
            // The id that the caller knows is that of one request.
            replay: Some(Replay::Never),
            once: true,
            sent: Some(sent.clone()),
            ..RequestOptions::default()
        };
        let server = Arc::clone(tools.server());
        let (ended, mut reply) = oneshot::channel();
        let request = Request::from(request);
        let calling = async move {
            let _ = ended.send(tools.send(request, options).await);
        };
        // What it logs belongs to the caller.
        let calling = calling
            .instrument(Span::current())
            .with_current_subscriber();
        server.spawn(calling);
        tokio::select! {
            biased;
            Ok((id, progress_token)) = on_session => Ok(Self {
                id,
                progress_token,
                server,
                sent,
                reply,
                cancel,
            }),
            outcome = &mut reply => match outcome {
                Ok(Err(error)) => Err(error),
                _ => Err(lost(&server)),
            },
        }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the request is cancelled.
    pub async fn await_response(self) -> Result<ServerResult, Error> {
        self.await_reply().await?.parse_any().await
    }

    /// Waits for the reply, as the server wrote it.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the request is cancelled.
    pub async fn await_reply(self) -> Result<Reply, Error> {
        let _cancel = self.cancel;
        let reply = self.reply.await;
        reply.unwrap_or_else(|_| Err(lost(&self.server)))
    }

    /// Cancels the request, and waits until its place on the session is free. A request that has been answered by then
    /// is not cancelled.
    ///
    /// # Errors
    /// None: the result is that of rmcp's method.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the request is cancelled in the background.
    pub async fn cancel(self, reason: Option<String>) -> Result<(), Error> {
        self.sent.set_reason(reason);
        drop(self.cancel);
        let _ = self.reply.await;
        Ok(())
    }
}

fn lost(server: &Server) -> Error {
    Error::new(ErrorKind::ShuttingDown, "the runtime of the call has ended").of(&server.name)
}

/// Where a request is noted when it has been sent, and why it is cancelled if it is.
#[derive(Clone, Debug)]
pub(crate) struct Sent(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    on_session: Option<oneshot::Sender<(RequestId, ProgressToken)>>,
    reason: Option<String>,
}

impl Sent {
    fn new() -> (Self, oneshot::Receiver<(RequestId, ProgressToken)>) {
        let (on_session, receiver) = oneshot::channel();
        let state = State {
            on_session: Some(on_session),
            reason: None,
        };
        (Self(Arc::new(Mutex::new(state))), receiver)
    }

    fn set_reason(&self, reason: Option<String>) {
        self.0.lock().reason = reason;
    }
}

impl RequestObserver for Sent {
    fn sent(&self, id: RequestId, progress_token: ProgressToken) {
        if let Some(on_session) = self.0.lock().on_session.take() {
            let _ = on_session.send((id, progress_token));
        }
    }

    /// In the caller's words.
    fn cancel_reason(&self) -> Option<String> {
        self.0.lock().reason.clone()
    }
}
