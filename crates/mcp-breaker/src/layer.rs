//! The breaker as tower middleware.
//!
//! The permit is requested in `call` and not in `poll_ready`: a service that is not ready makes its callers wait, and an
//! open breaker must reject at once. An inner service that fails to become ready is recorded as a failed call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Breaker, CallError, Classify, FaultOnErr, Permit, Rejected};

/// Guards services with a [`Breaker`]. All services made by one layer, and its clones, share that breaker.
///
/// A time limit belongs below this layer, not above it: a call dropped by a limit above records nothing.
///
/// ```
/// use mcp_breaker::{Breaker, BreakerLayer, CallError};
/// use tower::{Service, ServiceBuilder, ServiceExt};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let breaker = Breaker::builder().failure_threshold(1).build()?;
/// let mut service = ServiceBuilder::new()
///     .layer(BreakerLayer::new(breaker.clone()))
///     .service_fn(|_: &str| async { Err::<(), _>(std::io::Error::other("down")) });
///
/// assert!(matches!(service.ready().await?.call("hello").await, Err(CallError::Inner(_))));
/// assert!(matches!(service.ready().await?.call("hello").await, Err(CallError::Rejected(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct BreakerLayer<C = FaultOnErr> {
    breaker: Breaker,
    classifier: C,
}

impl BreakerLayer {
    /// A layer for which `Ok` is a success and `Err` a fault.
    pub fn new(breaker: Breaker) -> Self {
        Self::with_classifier(breaker, FaultOnErr)
    }
}

impl<C> BreakerLayer<C> {
    /// A layer with a classifier of its own.
    pub fn with_classifier(breaker: Breaker, classifier: C) -> Self {
        Self {
            breaker,
            classifier,
        }
    }
}

impl<S, C: Clone> Layer<S> for BreakerLayer<C> {
    type Service = BreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService {
            inner,
            breaker: self.breaker.clone(),
            classifier: self.classifier.clone(),
        }
    }
}

/// A service guarded by a [`Breaker`]; made by [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct BreakerService<S, C = FaultOnErr> {
    inner: S,
    breaker: Breaker,
    classifier: C,
}

impl<S, C> BreakerService<S, C> {
    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The service guarded.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, C, R> Service<R> for BreakerService<S, C>
where
    S: Service<R>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = BreakerFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let Err(error) = ready!(self.inner.poll_ready(cx)) else {
            return Poll::Ready(Ok(()));
        };
        let result = Err(error);
        if let Ok(permit) = self.breaker.try_acquire() {
            permit.record(self.classifier.classify(&result));
        }
        Poll::Ready(result.map(|_: S::Response| ()).map_err(CallError::Inner))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let stage = match self.breaker.try_acquire() {
            Ok(permit) => Stage::Admitted {
                call: self.inner.call(request),
                guard: Some((permit, self.classifier.clone())),
            },
            Err(rejected) => Stage::Rejected { rejected },
        };
        BreakerFuture { stage }
    }
}

pin_project! {
    /// The response future of a [`BreakerService`].
    #[derive(Debug)]
    pub struct BreakerFuture<F, C> {
        #[pin]
        stage: Stage<F, C>,
    }
}

pin_project! {
    #[project = StageProj]
    #[derive(Debug)]
    enum Stage<F, C> {
        Admitted { #[pin] call: F, guard: Option<(Permit, C)> },
        Rejected { rejected: Rejected },
    }
}

impl<F, C, T, E> Future for BreakerFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProj::Admitted { call, guard } => {
                let result = ready!(call.poll(cx));
                if let Some((permit, classifier)) = guard.take() {
                    permit.record(classifier.classify(&result));
                }
                Poll::Ready(result.map_err(CallError::Inner))
            }
            StageProj::Rejected { rejected } => Poll::Ready(Err(CallError::Rejected(*rejected))),
        }
    }
}
