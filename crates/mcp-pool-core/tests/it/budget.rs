//! Several pools under one limit.

use crate::common;
use std::time::Duration;

use common::{
    Scripted, Step, acquire_apart, assert_balanced, at_rest, echo, opened, options, quiet_with,
    within,
};
use mcp_pool_core::{Budget, CloseReason, OpenErrorKind, PoolOptions, SessionPool, SharingMode};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

fn exclusive(min: u32) -> PoolOptions {
    quiet_with(|options| {
        options.min_connections = min;
        options.sharing = SharingMode::Exclusive;
        options.connection_timeout = Duration::from_secs(60);
        options.max_idle_time = Duration::from_secs(86_400);
        options.max_session_age = Duration::from_secs(86_400 * 7);
    })
}

fn pool_under(budget: &Budget, connector: &Scripted, options: PoolOptions) -> SessionPool {
    SessionPool::builder("server", connector.clone())
        .options(options)
        .budget(budget.clone())
        .build()
        .unwrap()
}

async fn open(pool: &SessionPool, sessions: usize) {
    let mut held = Vec::new();
    for _ in 0..sessions {
        held.push(within(pool.acquire()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_of_one_pool_makes_room_for_a_caller_of_another() {
    let (budget, connector) = (Budget::new(3, 3), Scripted::always(Step::Open));
    let (rich, poor) = (
        pool_under(&budget, &connector, exclusive(0)),
        pool_under(&budget, &connector, exclusive(0)),
    );
    open(&rich, 3).await;
    assert_eq!(budget.in_use(), 3);
    let began = Instant::now();
    assert_eq!(echo(&within(poor.acquire()).await.unwrap()).await, "hello");
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
    at_rest().await;
    assert_eq!(budget.in_use(), 3);
    let status = assert_balanced(&rich);
    assert_eq!(status.connections.idle, 2, "one, and no more, was let go");
    assert_eq!(status.closed.get(&CloseReason::Shrunk), Some(&1));
    assert_balanced(&poor);
}

#[tokio::test(start_paused = true)]
async fn of_two_pools_the_one_whose_session_has_been_unused_for_longer_makes_room() {
    for older in [0, 1] {
        let (budget, connector) = (Budget::new(2, 2), Scripted::always(Step::Open));
        let pools = [0; 3].map(|min| pool_under(&budget, &connector, exclusive(min)));
        open(&pools[older], 1).await;
        sleep(Duration::from_secs(60)).await;
        open(&pools[1 - older], 1).await;
        sleep(Duration::from_secs(60)).await;
        drop(within(pools[2].acquire()).await.unwrap());
        at_rest().await;
        let shrunk = |pool: usize| {
            let closed = assert_balanced(&pools[pool]).closed;
            closed.get(&CloseReason::Shrunk).copied()
        };
        assert_eq!(shrunk(older), Some(1));
        assert_eq!(shrunk(1 - older), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_in_use_is_not_taken_away() {
    let (budget, connector) = (Budget::new(2, 2), Scripted::always(Step::Open));
    let (rich, poor) = (
        pool_under(&budget, &connector, exclusive(0)),
        pool_under(&budget, &connector, exclusive(0)),
    );
    let held = [rich.acquire().await.unwrap(), rich.acquire().await.unwrap()];
    let waiting = acquire_apart(&poor);
    sleep(Duration::from_secs(10)).await;
    assert!(!waiting.is_finished());
    let [first, second] = held;
    drop(first);
    drop(within(waiting).await.unwrap().unwrap());
    assert_eq!(echo(&second).await, "hello");
    drop(second);
    assert_balanced(&rich);
    assert_balanced(&poor);
}

#[tokio::test(start_paused = true)]
async fn pools_that_want_more_than_there_is_do_not_rob_each_other_in_turn() {
    let (budget, connector) = (Budget::new(3, 3), Scripted::always(Step::Open));
    let pools = [2, 2].map(|min| pool_under(&budget, &connector, exclusive(min)));
    for pool in &pools {
        pool.warm_up();
        drop(within(pool.acquire()).await.unwrap());
    }
    sleep(Duration::from_secs(10)).await;
    let before = connector.begun();
    sleep(Duration::from_secs(1_800)).await;
    assert_eq!(connector.begun(), before, "openings without an end");
    assert_eq!(budget.in_use(), 3);
    for pool in &pools {
        drop(within(pool.acquire()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn pain_13_two_pools_under_load_share_the_total_and_all_callers_are_served() {
    let budget = Budget::new(3, 1);
    let connector = Scripted::always(Step::OpenAfter(Duration::from_millis(5)));
    let pools = [0, 1].map(|min| pool_under(&budget, &connector, exclusive(min)));
    let mut callers = JoinSet::new();
    for number in 0..200u64 {
        let pool = pools[(number % 2) as usize].clone();
        callers.spawn(async move {
            sleep(Duration::from_millis(number * 3)).await;
            let lease = pool.acquire().await.expect("everybody is served");
            sleep(Duration::from_millis(20)).await;
            assert_eq!(echo(&lease).await, "hello");
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert_eq!(
        connector.most_at_once(),
        1,
        "one opening at a time, over both"
    );
    sleep(Duration::from_secs(5)).await;
    assert!(budget.in_use() <= 3);
    for pool in &pools {
        assert_balanced(pool);
        within(pool.close()).await;
    }
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_waits_for_room_can_be_closed() {
    let (budget, connector) = (Budget::new(1, 1), Scripted::always(Step::Open));
    let (rich, poor) = (
        pool_under(&budget, &connector, exclusive(0)),
        pool_under(&budget, &connector, exclusive(0)),
    );
    let held = rich.acquire().await.unwrap();
    let waiting = acquire_apart(&poor);
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    within(poor.close()).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(within(waiting).await.unwrap().is_err());
    drop(held);
    within(rich.close()).await;
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_opening_gives_its_place_back() {
    use mcp_pool_core::OpenErrorKind::Unreachable;
    let budget = Budget::new(2, 1);
    for step in [Step::Fail(Unreachable), Step::Panic, Step::Never] {
        let (pool, _) = {
            let connector = Scripted::always(step);
            let pool = pool_under(
                &budget,
                &connector,
                options(|options| {
                    options.retry_attempts = 0;
                    options.connection_timeout = Duration::from_secs(2);
                }),
            );
            (pool, connector)
        };
        assert!(within(pool.acquire()).await.is_err());
        pool.close().await;
        assert_eq!(budget.in_use(), 0, "{step:?}");
    }
    let events = common::Events::new();
    let pool = SessionPool::builder("server", Scripted::always(Step::Open))
        .budget(budget.clone())
        .observer(events.clone())
        .build()
        .unwrap();
    pool.warm_up();
    drop(within(pool.acquire()).await.unwrap());
    events.wait_for(2, opened).await;
    assert_eq!(budget.in_use(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_holds_up_no_other_pool_for_long() {
    let budget = Budget::new(100, 1);
    let hung = Scripted::always(Step::Never);
    let hung_pool = pool_under(&budget, &hung, exclusive(0));
    let _waiting = acquire_apart(&hung_pool);
    hung.wait_begun(1).await;
    let pool = pool_under(&budget, &Scripted::always(Step::Open), exclusive(0));
    let began = Instant::now();
    within(pool.acquire()).await.unwrap();
    assert!(
        began.elapsed() <= Duration::from_millis(2_100),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_tried_again_holds_up_no_other_pool_in_between() {
    let budget = Budget::new(100, 1);
    let down = Scripted::always(Step::Fail(OpenErrorKind::Unreachable));
    let down_pool = pool_under(
        &budget,
        &down,
        quiet_with(|options| options.retry_attempts = 3),
    );
    let _waiting = acquire_apart(&down_pool);
    down.wait_begun(1).await;
    at_rest().await;
    let pool = pool_under(&budget, &Scripted::always(Step::Open), exclusive(0));
    let began = Instant::now();
    within(pool.acquire()).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_they_are_taken() {
    let (budget, connector) = (Budget::new(3, 3), Scripted::always(Step::Open));
    let pool = pool_under(&budget, &connector, exclusive(0));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(within(pool.acquire()).await.unwrap());
    }
    budget.configure(1, 1);
    assert_eq!(
        (budget.in_use(), budget.max_total()),
        (3, 1),
        "no session is closed for it"
    );
    for lease in &held {
        assert_eq!(echo(lease).await, "hello");
    }
    for lease in held.drain(..) {
        pool.evict(lease.id());
    }
    at_rest().await;
    let first = within(pool.acquire()).await.unwrap();
    let waiting = acquire_apart(&pool);
    sleep(Duration::from_secs(10)).await;
    assert!(!waiting.is_finished(), "one is all there may be");
    assert_eq!(budget.in_use(), 1);
    budget.configure(2, 1);
    let second = within(waiting).await.unwrap().unwrap();
    assert_eq!((budget.in_use(), budget.max_total()), (2, 2));
    drop((first, second));
    within(pool.close()).await;
    assert_eq!(budget.in_use(), 0);
}
