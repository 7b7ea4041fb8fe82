//! The breaker as tower middleware.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use mcp_breaker::{Breaker, BreakerLayer, CallError, Class, State};
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn a_service_is_guarded_from_the_trip_to_the_recovery() {
    let breaker = Breaker::builder()
        .failure_threshold(2)
        .success_threshold(1)
        .build()
        .unwrap();
    let mut service = ServiceBuilder::new()
        .layer(BreakerLayer::new(breaker.clone()))
        .service_fn(|up: bool| async move { if up { Ok("up") } else { Err("down") } });
    for _ in 0..2 {
        assert_eq!(
            service.ready().await.unwrap().call(false).await,
            Err(CallError::Inner("down"))
        );
    }
    assert_eq!(service.breaker().state(), State::Open);
    let refused = service
        .ready()
        .await
        .expect("ready: callers are answered, not kept waiting")
        .call(true)
        .await;
    let after = refused
        .unwrap_err()
        .rejected()
        .unwrap()
        .retry_after
        .unwrap();
    advance(after).await;
    assert_eq!(service.ready().await.unwrap().call(true).await, Ok("up"));
    assert_eq!(service.breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_is_shared_by_all_services_of_a_layer() {
    let layer = BreakerLayer::new(Breaker::builder().failure_threshold(1).build().unwrap());
    let fails = service_fn(|(): ()| async { Err::<(), _>("down") });
    let works = service_fn(|(): ()| async { Ok::<_, &str>(()) });
    assert!(layer.layer(fails).oneshot(()).await.is_err());
    assert!(matches!(
        layer.clone().layer(works).oneshot(()).await,
        Err(CallError::Rejected(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn answers_can_be_faults() {
    let breaker = Breaker::builder().failure_threshold(1).build().unwrap();
    let classify = |result: &Result<u16, Infallible>| match result {
        Ok(status) if *status >= 500 => Class::Fault,
        _ => Class::Success,
    };
    let mut service = BreakerLayer::with_classifier(breaker.clone(), classify).layer(service_fn(
        |status: u16| async move { Ok::<_, Infallible>(status) },
    ));
    assert_eq!(service.ready().await.unwrap().call(404).await, Ok(404));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(service.ready().await.unwrap().call(503).await, Ok(503));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_response_future_dropped_gives_its_place_back() {
    let breaker = Breaker::builder()
        .failure_threshold(1)
        .half_open_max_calls(1)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().fault();
    advance(breaker.retry_after().unwrap()).await;
    let mut service = BreakerLayer::new(breaker.clone()).layer(service_fn(|(): ()| async {
        std::future::pending::<Result<(), ()>>().await
    }));
    for _ in 0..3 {
        let call = service.ready().await.unwrap().call(());
        assert_eq!(breaker.counts().probes_out, 1);
        assert!(timeout(Duration::from_millis(1), call).await.is_err());
    }
    assert_eq!(
        (breaker.counts().probes_out, breaker.counts().rejected),
        (0, 0)
    );
}

struct NeverReady;

impl Service<()> for NeverReady {
    type Response = ();
    type Error = &'static str;
    type Future = std::future::Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err("cannot connect"))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("not ready")
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_become_ready_is_a_fault() {
    let breaker = Breaker::default();
    let mut service = BreakerLayer::new(breaker.clone()).layer(NeverReady);
    for _ in 0..5 {
        assert_eq!(
            service.ready().await.err(),
            Some(CallError::Inner("cannot connect"))
        );
    }
    assert_eq!(breaker.state(), State::Open);
}
