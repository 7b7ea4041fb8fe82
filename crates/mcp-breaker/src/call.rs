//! Running a future through the breaker.

use std::future::Future;

use crate::{Breaker, Classify, FaultOnErr, Rejected};

/// Why a call through the breaker returned no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The breaker rejected the call. The future was dropped without having been polled.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The call was made and ended with this error.
    #[error("the guarded call failed")]
    Inner(#[source] E),
}

impl<E> CallError<E> {
    /// The rejection, if it was one.
    pub fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    /// The call's own error, if it was made.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl Breaker {
    /// Runs `future` if the breaker admits it. `Ok` counts as a success, `Err` as a fault.
    ///
    /// Put a time limit *inside*: `breaker.call(timeout(limit, work))`. Outside, it drops the call, and a dropped call
    /// records nothing: a server that hangs would never trip the breaker.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if the breaker rejects the call, [`CallError::Inner`] if it fails.
    ///
    /// # Cancel safety
    /// If the returned future is dropped, or `future` panics, the permit is given back and nothing is recorded.
    pub async fn call<F, T, E>(&self, future: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.call_with(future, FaultOnErr).await
    }

    /// As [`call`](Self::call), with results classified by `classifier`.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if the breaker rejects the call, [`CallError::Inner`] if it fails.
    ///
    /// # Cancel safety
    /// As for [`call`](Self::call).
    pub async fn call_with<F, T, E, C>(&self, future: F, classifier: C) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let permit = self.try_acquire()?;
        let result = future.await;
        permit.record(classifier.classify(&result));
        result.map_err(CallError::Inner)
    }
}
