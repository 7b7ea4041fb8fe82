//! A request that has been sent, and has its place on a session until it is answered.

use std::{sync::Arc, time::Duration};

use mcp_pool_core::{CallFailure, Lease, Phase};
use rmcp::{
    RoleClient,
    model::{ClientRequest, ProgressToken, RequestId, ServerResult},
    service::{PeerRequestOptions, RequestHandle, ServiceError},
};

use crate::{
    call::{Abandoned, Clock},
    error::Error,
    operation::Operation,
    server::ServerPool,
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
    handle: RequestHandle<RoleClient>,
    abandoned: Abandoned,
    lease: Lease,
    pool: Arc<ServerPool>,
    operation: Operation,
    limit: Duration,
}

impl PendingRequest {
    pub(crate) async fn send(
        pool: Arc<ServerPool>,
        lease: Lease,
        operation: Operation,
        request: ClientRequest,
        options: PeerRequestOptions,
        limit: Duration,
    ) -> Result<Self, Error> {
        let sending = lease.send_cancellable_request(request, options);
        let clock = Clock::start(limit);
        let sent = clock.within(lease.while_it_lives(sending));
        let handle = match sent.await {
            Ok(sent) => sent.map_err(|error| {
                let failure = CallFailure::of(&error);
                Error::call(
                    &pool.server,
                    pool.secrets(),
                    &operation,
                    failure,
                    error,
                    None,
                )
            })?,
            Err(_) => {
                return Err(Error::timeout(
                    &pool.server,
                    &operation,
                    Phase::Call,
                    clock.passed(),
                    false,
                ));
            }
        };
        Ok(Self {
            id: handle.id.clone(),
            progress_token: handle.progress_token.clone(),
            abandoned: Abandoned::new(lease.peer(), &handle),
            handle,
            lease,
            pool,
            operation,
            limit,
        })
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the request is cancelled.
    pub async fn await_response(self) -> Result<ServerResult, Error> {
        let Self {
            handle,
            mut abandoned,
            lease,
            pool,
            operation,
            limit,
            ..
        } = self;
        let clock = Clock::start(limit);
        let guard = lease.begin_call(clock.deadline());
        let answer = lease.while_it_lives(handle.await_response());
        let error = match clock.within(answer).await {
            Ok(Ok(answer)) => {
                abandoned.ended();
                guard.answered();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => ServiceError::Timeout { timeout: limit },
        };
        if matches!(error, ServiceError::Timeout { .. }) {
            return Err(Error::timeout(
                &pool.server,
                &operation,
                Phase::Call,
                clock.passed(),
                clock.is_overdue(),
            ));
        }
        abandoned.ended();
        let failure = guard.failed(&error);
        Err(Error::call(
            &pool.server,
            pool.secrets(),
            &operation,
            failure,
            error,
            None,
        ))
    }

    /// Cancels the request.
    ///
    /// # Errors
    /// Any [`Error`] of sending.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the request is cancelled in the background.
    pub async fn cancel(self, reason: Option<String>) -> Result<(), Error> {
        let Self {
            handle,
            mut abandoned,
            lease,
            pool,
            operation,
            limit,
            ..
        } = self;
        let cancelling = lease.while_it_lives(handle.cancel(reason));
        let clock = Clock::start(limit);
        let cancelled = clock.within(cancelling).await;
        abandoned.ended();
        match cancelled {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let failure = CallFailure::of(&error);
                let (server, secrets) = (&pool.server, pool.secrets());
                Err(Error::call(
                    server, secrets, &operation, failure, error, None,
                ))
            }
            Err(_) => Err(Error::timeout(
                &pool.server,
                &operation,
                Phase::Call,
                clock.passed(),
                false,
            )),
        }
    }
}
