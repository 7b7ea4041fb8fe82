//! A caller may be dropped at any await: no place is lost, and the next waiter is served.

use crate::common;
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use common::{
    Scripted, Step, acquire_apart, assert_all_places_work, assert_balanced, at_rest, call, echo,
    observed, opened, pool_of, pool_on, quiet_with, within,
};
use mcp_pool_core::{AcquireError, OpenErrorKind, PoolOptions, SessionPool, SharingMode};
use mcp_testkit::TestServer;
use serde_json::json;

/// What the only connection of a pool does while a caller waits for it.
const OPENINGS: [Step; 4] = [
    Step::Gated,
    Step::GatedFail(OpenErrorKind::Unreachable),
    Step::OpenAfter(Duration::from_secs(5)),
    Step::Never,
];

/// When the caller goes away.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Without having been polled.
    Unpolled,
    /// While what it waits for is still going on.
    Waiting,
    /// When what it waits for has happened and it has not yet been polled again.
    Served,
}

#[derive(Clone, Copy, Debug)]
enum Wants {
    Place,
    Whole,
}

fn one_place() -> PoolOptions {
    quiet_with(|options| {
        options.max_connections = 1;
        options.max_in_flight = 1;
        options.scale_up_at = 1;
        options.connection_timeout = Duration::from_secs(8);
    })
}

/// Begins to acquire and goes away; `happens` is what the caller waits for.
async fn leave<F: Future>(acquire: F, leaves: Leaves, happens: impl Future<Output = ()>) {
    let mut acquire = Box::pin(acquire);
    if !matches!(leaves, Leaves::Unpolled) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            acquire.as_mut().poll(&mut context).is_pending(),
            "there was nothing to wait for"
        );
        at_rest().await;
    }
    if matches!(leaves, Leaves::Served) {
        happens.await;
        at_rest().await;
    }
    drop(acquire);
}

async fn leave_as(
    pool: &SessionPool,
    wants: Wants,
    leaves: Leaves,
    happens: impl Future<Output = ()>,
) {
    match wants {
        Wants::Place => leave(pool.acquire(), leaves, happens).await,
        Wants::Whole => leave(pool.pin(), leaves, happens).await,
    }
}

const ALL: [(Wants, Leaves); 6] = [
    (Wants::Place, Leaves::Unpolled),
    (Wants::Place, Leaves::Waiting),
    (Wants::Place, Leaves::Served),
    (Wants::Whole, Leaves::Unpolled),
    (Wants::Whole, Leaves::Waiting),
    (Wants::Whole, Leaves::Served),
];

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_during_an_opening_costs_nothing() {
    for opening in OPENINGS {
        for (wants, leaves) in ALL {
            let connector = Scripted::new(&TestServer::new(), move |number| match number {
                1 => opening,
                _ => Step::Open,
            });
            let pool = pool_of(connector.clone(), one_place());
            leave_as(&pool, wants, leaves, async {
                connector.let_through(1);
                // Past the slow opening, and past the end of the one that never ends.
                tokio::time::sleep(Duration::from_secs(40)).await;
            })
            .await;
            if matches!(leaves, Leaves::Unpolled) {
                assert_eq!(
                    connector.begun(),
                    0,
                    "nothing is opened for a future that never ran"
                );
                continue;
            }

            connector.let_through(1);
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert_eq!(pool.status().waiters, 0, "{opening:?} {wants:?} {leaves:?}");
            assert_all_places_work(&pool).await;
            let status = assert_balanced(&pool);
            assert_eq!(
                status.connections.idle, 1,
                "{opening:?} {wants:?} {leaves:?}"
            );
            assert_eq!(status.opened, 1, "{opening:?} {wants:?} {leaves:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_a_busy_pool_costs_nothing() {
    for holds_whole in [false, true] {
        for (wants, leaves) in ALL {
            let pool = pool_on(&TestServer::new(), one_place());
            let (mut place, mut whole) = (None, None);
            match holds_whole {
                false => place = Some(pool.acquire().await.unwrap()),
                true => whole = Some(pool.pin().await.unwrap()),
            }
            leave_as(&pool, wants, leaves, async {
                (place, whole) = (None, None);
            })
            .await;
            drop((place, whole));

            at_rest().await;
            assert_all_places_work(&pool).await;
            let status = assert_balanced(&pool);
            assert_eq!((status.opened, status.connections.idle), (1, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_a_shared_session_it_wanted_whole_frees_it_again() {
    for leaves in [Leaves::Waiting, Leaves::Served] {
        let pool = pool_on(
            &TestServer::new(),
            quiet_with(|options| options.max_connections = 1),
        );
        let first = pool.acquire().await.unwrap();
        let mut second = Some(pool.acquire().await.unwrap());
        let mut first = Some(first);
        leave(pool.pin(), leaves, async {
            (first, second) = (None, None);
        })
        .await;
        // The reservation is gone: there is room at once.
        let third = within(pool.acquire()).await.unwrap();
        drop((first, second, third));
        assert_all_places_work(&pool).await;
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_a_session_is_suspect_costs_nothing() {
    for (wants, leaves) in ALL {
        let server = TestServer::new();
        let pool = pool_on(&server, one_place());
        let lease = pool.acquire().await.unwrap();
        // A call that ran out of time: the session has to answer a probe before it is leased again.
        drop(lease.begin_call(Some(tokio::time::Instant::now())));
        drop(lease);
        leave_as(&pool, wants, leaves, at_rest()).await;
        at_rest().await;
        assert_all_places_work(&pool).await;
        assert_eq!(assert_balanced(&pool).opened, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_a_suspended_pool_costs_nothing() {
    for (wants, leaves) in ALL {
        let pool = pool_on(&TestServer::new(), one_place());
        pool.suspend();
        leave_as(&pool, wants, leaves, async { pool.resume() }).await;
        pool.resume();
        at_rest().await;
        assert_all_places_work(&pool).await;
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_passes_its_place_on() {
    let pool = pool_on(&TestServer::new(), one_place());
    let held = pool.acquire().await.unwrap();
    let mut first = Box::pin(pool.acquire());
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    let second = acquire_apart(&pool);
    at_rest().await;
    assert_eq!(pool.status().waiters, 2);

    // The place is the first one's already; it has not looked yet, and goes away.
    drop(held);
    assert_eq!(pool.status().waiters, 1);
    drop(first);

    let lease = within(second).await.unwrap().unwrap();
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn an_opening_whose_caller_left_serves_the_next_one() {
    let connector = Scripted::always(Step::Gated);
    let (pool, events) = observed(connector.clone(), one_place());
    let caller = acquire_apart(&pool);
    connector.wait_begun(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    connector.let_through(1);
    events.wait_for(1, opened).await;
    drop(within(pool.acquire()).await.unwrap());
    assert_eq!(connector.begun(), 1);
    assert_eq!(assert_balanced(&pool).pool_hits, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_in_the_middle_of_a_call_leaves_a_session_that_works() {
    let server = TestServer::new();
    let pool = pool_on(&server, one_place());
    let lease = pool.acquire().await.unwrap();
    let id = lease.id();
    let mut sleeping = Box::pin(async move {
        let guard = lease.begin_call(None);
        let answer = call(&lease, "sleep", json!({"ms": 3_600_000})).await;
        guard.answered();
        answer
    });
    let mut context = Context::from_waker(Waker::noop());
    while server.calls_of("sleep") == 0 {
        assert!(sleeping.as_mut().poll(&mut context).is_pending());
        at_rest().await;
    }
    drop(sleeping);
    at_rest().await;

    assert_eq!(server.cancelled(), 1, "the server was notified");
    let lease = within(pool.acquire()).await.unwrap();
    assert_eq!(lease.id(), id, "the session is still good");
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_panics_while_it_holds_a_lease_gives_it_back() {
    let pool = pool_on(&TestServer::new(), one_place());
    let panicking = {
        let pool = pool.clone();
        tokio::spawn(async move {
            let _lease = pool.acquire().await.unwrap();
            panic!("as the test wants it");
        })
    };
    assert!(within(panicking).await.unwrap_err().is_panic());
    assert_all_places_work(&pool).await;
    let pinning = {
        let pool = pool.clone();
        tokio::spawn(async move {
            let _session = pool.pin().await.unwrap();
            panic!("as the test wants it");
        })
    };
    assert!(within(pinning).await.unwrap_err().is_panic());
    assert_all_places_work(&pool).await;
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_that_come_and_go_at_random_leave_the_books_in_order() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let pool = pool_on(
            &TestServer::new(),
            quiet_with(|options| {
                options.max_connections = 3;
                options.max_in_flight = 2;
                options.scale_up_at = 1;
                options.sharing = if seed % 2 == 0 {
                    SharingMode::Multiplexed
                } else {
                    SharingMode::Exclusive
                };
            }),
        );
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let pool = pool.clone();
                let (begins, patience, works) =
                    (random.u64(0..20), random.u64(0..20), random.u64(0..20));
                let whole = random.u8(0..4) == 0;
                let work = Duration::from_millis(works);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(begins)).await;
                    let _ = tokio::time::timeout(Duration::from_millis(patience), async {
                        if whole {
                            let _session = pool.pin().await.unwrap();
                            tokio::time::sleep(work).await;
                        } else {
                            let _lease = pool.acquire().await.unwrap();
                            tokio::time::sleep(work).await;
                        }
                    })
                    .await;
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        at_rest().await;
        assert_balanced(&pool);
        assert_all_places_work(&pool).await;
        assert!(
            assert_balanced(&pool).opened <= 3,
            "nothing broke, nothing was replaced"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_drop_of_the_pool_answers_those_who_wait() {
    let connector = Scripted::always(Step::Never);
    let pool = pool_of(connector.clone(), one_place());
    let waiting = acquire_apart(&pool);
    connector.wait_begun(1).await;
    within(pool.close()).await;
    let answer = within(waiting).await.unwrap();
    assert!(matches!(answer, Err(AcquireError::Closed)), "{answer:?}");
    let mut acquire = pin!(pool.acquire());
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(AcquireError::Closed)) = acquire.as_mut().poll(&mut context) else {
        panic!("a closed pool answers at once");
    };
}
