//! `call` and `call_with`: what is recorded, what comes back, and what a lost future leaves behind.

use std::{
    error::Error,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::FutureExt as _;
use mcp_breaker::{Breaker, CallError, Class, FaultOnErr, State};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn values_and_errors_come_back_as_they_are() {
    let breaker = Breaker::default();
    assert_eq!(breaker.call(async { Ok::<_, ()>(7) }).await, Ok(7));
    assert_eq!(
        breaker.call(async { Err::<(), _>("no") }).await,
        Err(CallError::Inner("no"))
    );
    assert_eq!(
        breaker
            .call_with(async { Ok::<_, ()>(8) }, FaultOnErr)
            .await,
        Ok(8)
    );
    assert_eq!(
        (breaker.counts().successes, breaker.counts().faults),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_never_begun() {
    let breaker = Breaker::default();
    breaker.force_open();
    let begun = AtomicBool::new(false);
    let answer = breaker
        .call(async {
            begun.store(true, Ordering::Relaxed);
            Ok::<_, ()>(())
        })
        .await;
    let error = answer.unwrap_err();
    assert_eq!(error.rejected().unwrap().state, State::ForcedOpen);
    assert_eq!(error.to_string(), "circuit breaker forced open");
    assert_eq!(error.into_inner(), None);
    assert!(!begun.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn the_classifier_decides() {
    let breaker = Breaker::builder().failure_threshold(1).build().unwrap();
    let classify = |result: &Result<u32, io::Error>| match result {
        Ok(0) => Class::Fault,
        Ok(_) => Class::Success,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Class::Success,
        Err(_) => Class::Ignored,
    };
    let missing = async { Err(io::Error::from(io::ErrorKind::NotFound)) };
    assert!(breaker.call_with(missing, classify).await.is_err());
    let odd = async { Err(io::Error::other("odd")) };
    assert!(breaker.call_with(odd, classify).await.is_err());
    assert_eq!(
        (breaker.counts().successes, breaker.counts().ignored),
        (1, 1)
    );
    assert_eq!(breaker.state(), State::Closed);
    assert!(breaker.call_with(async { Ok(0) }, classify).await.is_ok());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_and_one_that_panics_record_nothing() {
    let breaker = Breaker::builder().failure_threshold(1).build().unwrap();
    let hangs = breaker.call(async {
        sleep(Duration::from_secs(60)).await;
        Err::<(), ()>(())
    });
    assert!(timeout(Duration::from_secs(1), hangs).await.is_err());
    let panics = breaker.call(async { panic!("the caller's own mistake") as Result<(), ()> });
    assert!(
        std::panic::AssertUnwindSafe(panics)
            .catch_unwind()
            .await
            .is_err()
    );
    assert_eq!((breaker.counts().ignored, breaker.counts().faults), (2, 0));
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_inside_counts_as_a_fault() {
    let breaker = Breaker::default();
    for _ in 0..5 {
        let limited = timeout(Duration::from_secs(1), std::future::pending::<()>());
        assert!(matches!(
            breaker.call(limited).await,
            Err(CallError::Inner(_))
        ));
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn errors_say_one_thing_each_and_name_their_source() {
    let breaker = Breaker::builder()
        .failure_threshold(1)
        .half_open_max_calls(1)
        .recovery_jitter(0.0)
        .build()
        .unwrap();
    let failed = breaker
        .call(async { Err::<(), _>(io::Error::other("inner")) })
        .await
        .unwrap_err();
    assert_eq!(failed.to_string(), "the guarded call failed");
    assert_eq!(failed.source().unwrap().to_string(), "inner");
    assert_eq!(
        breaker.try_acquire().unwrap_err().to_string(),
        "circuit breaker open, retry in 60.0 s"
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    let _probe = breaker.try_acquire().unwrap();
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "circuit breaker half-open: all probes are out"
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_call_is_either_its_own_or_a_rejection() {
    let breaker = Breaker::builder().failure_threshold(1).build().unwrap();
    let failed = breaker.call(async { Err::<(), _>(7) }).await.unwrap_err();
    assert_eq!((failed.rejected(), failed.into_inner()), (None, Some(7)));
    let rejected = breaker.call(async { Err::<(), _>(7) }).await.unwrap_err();
    assert_eq!(rejected.rejected().unwrap().state, State::Open);
    assert_eq!(rejected.into_inner(), None);
}
