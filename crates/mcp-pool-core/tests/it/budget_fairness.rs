//! Pools that share a limit: the longest waiter is served first, and no session is closed without need.

use crate::common;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{
    Events, Scripted, Step, acquire_apart, assert_balanced, at_rest, closed, opened, options,
    quiet_with, within,
};
use mcp_pool_core::{Budget, CloseReason, PoolEvent, PoolOptions, SessionPool, SharingMode};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

fn observed_under(
    budget: &Budget,
    connector: &Scripted,
    options: PoolOptions,
) -> (SessionPool, Events) {
    let events = Events::new();
    let pool = SessionPool::builder("server", connector.clone())
        .options(options)
        .budget(budget.clone())
        .observer(events.clone())
        .build()
        .unwrap();
    (pool, events)
}

fn pool_under(budget: &Budget, connector: &Scripted, options: PoolOptions) -> SessionPool {
    observed_under(budget, connector, options).0
}

fn of_mode(sharing: SharingMode) -> PoolOptions {
    quiet_with(|options| {
        options.sharing = sharing;
        options.connection_timeout = Duration::from_secs(8);
        options.max_idle_time = Duration::from_secs(86_400);
        options.max_session_age = Duration::from_secs(86_400 * 7);
        options.health_check_interval = Duration::from_secs(86_400);
    })
}

fn exclusive() -> PoolOptions {
    of_mode(SharingMode::Exclusive)
}

/// Callers that make one call after the other for as long as this is held.
struct Busy {
    _callers: JoinSet<()>,
    calls: Arc<AtomicUsize>,
}

impl Busy {
    fn with(pool: &SessionPool, callers: usize) -> Self {
        let calls = Arc::<AtomicUsize>::default();
        let mut tasks = JoinSet::new();
        for number in 0..callers {
            let (pool, calls) = (pool.clone(), Arc::clone(&calls));
            tasks.spawn(async move {
                loop {
                    let lease = pool.acquire().await.expect("everybody is served");
                    sleep(Duration::from_millis(40 + number as u64)).await;
                    drop(lease);
                    calls.fetch_add(1, SeqCst);
                }
            });
        }
        Self {
            _callers: tasks,
            calls,
        }
    }

    /// All callers have been served again, and more than once.
    async fn goes_on(&self) {
        let before = self.calls.load(SeqCst);
        let enough = async {
            while self.calls.load(SeqCst) < before + 100 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(enough).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_does_not_keep_a_quiet_one_from_its_first_session() {
    for sharing in [SharingMode::Multiplexed, SharingMode::Exclusive] {
        for places in [1, 2, 8] {
            let budget = Budget::new(places, 4);
            let connector = Scripted::always(Step::OpenAfter(Duration::from_millis(20)));
            let busy = pool_under(&budget, &connector, of_mode(sharing));
            let quiet = pool_under(&budget, &connector, of_mode(sharing));
            let load = Busy::with(&busy, 24);
            load.goes_on().await;
            for _ in 0..3 {
                let began = Instant::now();
                let lease = quiet.acquire().await;
                let what = format!("{sharing:?}, {places} places: {:?}", began.elapsed());
                drop(lease.expect(&what));
                assert!(began.elapsed() < Duration::from_secs(3), "{what}");
                load.goes_on().await;
                assert!(budget.in_use() <= places, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_busy_servers_end_up_with_equal_shares() {
    let budget = Budget::new(8, 4);
    let connector = Scripted::always(Step::OpenAfter(Duration::from_millis(20)));
    let pools = [0, 1].map(|_| pool_under(&budget, &connector, exclusive()));
    let first = Busy::with(&pools[0], 24);
    first.goes_on().await;
    assert_eq!(pools[0].status().connections.total, 8);
    let second = Busy::with(&pools[1], 24);
    sleep(Duration::from_secs(5)).await;
    first.goes_on().await;
    second.goes_on().await;
    let shares = pools
        .each_ref()
        .map(|pool| pool.status().connections.active);
    assert_eq!(shares, [4, 4]);
    // And none is taken away from then on.
    let before = connector.begun();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(connector.begun(), before);
}

#[tokio::test(start_paused = true)]
async fn minimums_that_add_up_to_more_than_the_limit_close_no_session() {
    let budget = Budget::new(100, 4);
    let connector = Scripted::always(Step::OpenAfter(Duration::from_millis(10)));
    let with_minimum = options(|options| {
        options.min_connections = 2;
        options.max_idle_time = Duration::from_secs(86_400);
        options.max_session_age = Duration::from_secs(86_400 * 7);
    });
    let pools: Vec<_> = (0..120)
        .map(|_| pool_under(&budget, &connector, with_minimum.clone()))
        .collect();
    for pool in &pools {
        pool.warm_up();
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!((connector.begun(), budget.in_use()), (100, 100));
    let live = || -> u32 {
        let statuses = pools.iter().map(SessionPool::status);
        statuses.map(|status| status.connections.total).sum()
    };
    assert_eq!(live(), 100, "what waits for a place is not there yet");

    let began = Instant::now();
    let mut callers = JoinSet::new();
    for pool in &pools {
        let pool = pool.clone();
        callers.spawn(async move { pool.acquire().await.map(drop).unwrap() });
    }
    callers.join_all().await;
    assert!(began.elapsed() < Duration::from_secs(10));
    sleep(Duration::from_secs(600)).await;
    // Those that had none: each closed one session of another, and opened its own.
    assert!(connector.begun() <= 140, "{} openings", connector.begun());
    assert_eq!((live(), budget.in_use()), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_first_call_comes_before_the_minimums_of_others() {
    let budget = Budget::new(40, 4);
    let connector = Scripted::always(Step::OpenAfter(Duration::from_millis(100)));
    let with_minimum = options(|options| {
        options.min_connections = 2;
        options.max_idle_time = Duration::from_secs(86_400);
        options.max_session_age = Duration::from_secs(86_400 * 7);
    });
    let others: Vec<_> = (0..25)
        .map(|_| observed_under(&budget, &connector, with_minimum.clone()))
        .collect();
    for (pool, _) in &others {
        pool.warm_up();
    }
    sleep(Duration::from_secs(60)).await;
    let newcomer = pool_under(&budget, &connector, exclusive());
    let began = Instant::now();
    drop(within(newcomer.acquire()).await.unwrap());
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    sleep(Duration::from_secs(60)).await;
    assert_eq!(connector.begun(), 41, "the newcomer's, and no other");
    let evicted: usize = others.iter().map(|(_, events)| events.count(closed)).sum();
    assert_eq!(evicted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_place_that_is_needed_closes_one_session() {
    for round in 0..40 {
        let (budget, connector) = (Budget::new(4, 4), Scripted::always(Step::Open));
        let (rich, events) = observed_under(&budget, &connector, exclusive());
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(within(rich.acquire()).await.unwrap());
        }
        drop(held);
        let poor = pool_under(&budget, &connector, exclusive());
        let lease = within(poor.acquire()).await.unwrap();
        assert_eq!(rich.status().connections.idle, 3, "round {round}");
        drop(lease);
        rich.close().await;
        let shrunk = |event: &PoolEvent| {
            let reason = CloseReason::Shrunk;
            matches!(event, PoolEvent::Closed { reason: why, .. } if *why == reason)
        };
        assert_eq!(events.count(shrunk), 1, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pinned_session_is_never_taken_while_its_scope_is_held() {
    let (budget, connector) = (Budget::new(2, 2), Scripted::always(Step::Open));
    let pinned = pool_under(&budget, &connector, of_mode(SharingMode::Pinned));
    let scope = pinned.scope();
    drop(within(pinned.acquire_in(&scope)).await.unwrap());
    let id = pinned.sessions()[0].id();
    sleep(Duration::from_secs(60)).await;
    let stateless = pool_under(&budget, &connector, exclusive());
    drop(within(stateless.acquire()).await.unwrap());
    sleep(Duration::from_secs(1)).await;
    // The stateless one has rested for less time, and goes all the same.
    let newcomer = pool_under(&budget, &connector, exclusive());
    let held = within(newcomer.acquire()).await.unwrap();
    assert_eq!(stateless.status().connections.total, 0);
    assert!(stateless.acquire().await.is_err(), "nothing else may go");
    assert_eq!(within(pinned.acquire_in(&scope)).await.unwrap().id(), id);
    drop((held, scope));
    at_rest().await;
    drop(within(stateless.acquire()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_longest_unused_session_makes_room_in_its_pool_and_over_all_pools() {
    let (budget, connector) = (Budget::new(4, 4), Scripted::always(Step::Open));
    let [one, other] = [0, 1].map(|_| pool_under(&budget, &connector, exclusive()));
    // Unused since 1 s, 2 s, 3 s and 4 s.
    let mut held = Vec::new();
    for pool in [&one, &other, &one, &other] {
        held.push(within(pool.acquire()).await.unwrap());
    }
    let order: Vec<_> = held.iter().map(|lease| lease.id()).collect();
    for lease in held {
        sleep(Duration::from_secs(1)).await;
        drop(lease);
    }
    let poor = pool_under(&budget, &connector, exclusive());
    let mut taken = Vec::new();
    for gone in 1..=4 {
        taken.push(within(poor.acquire()).await.unwrap());
        at_rest().await;
        let left: Vec<_> = [&one, &other]
            .into_iter()
            .flat_map(SessionPool::sessions)
            .map(|session| session.id())
            .collect();
        assert_eq!(left.len(), 4 - gone);
        assert!(order[gone..].iter().all(|id| left.contains(id)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_for_the_minimum_that_waits_is_a_callers_as_soon_as_one_comes() {
    let (budget, connector) = (Budget::new(1, 1), Scripted::always(Step::Open));
    let holder = pool_under(&budget, &connector, exclusive());
    let held = within(holder.acquire()).await.unwrap();
    let with_minimum = |min| {
        let mut options = exclusive();
        options.min_connections = min;
        pool_under(&budget, &connector, options)
    };
    let [first, second] = [with_minimum(1), with_minimum(0)];
    first.warm_up();
    at_rest().await;
    let callers = [acquire_apart(&first), {
        at_rest().await;
        acquire_apart(&second)
    }];
    sleep(Duration::from_secs(1)).await;
    assert!(callers.iter().all(|caller| !caller.is_finished()));
    let [of_first, of_second] = callers;
    drop(held);
    let lease = within(of_first).await.unwrap().unwrap();
    assert!(!of_second.is_finished(), "it came later");
    drop(lease);
    drop(within(of_second).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_opening_whose_callers_have_gone_passes_its_place_on() {
    let (budget, connector) = (Budget::new(1, 1), Scripted::always(Step::Open));
    let holder = pool_under(&budget, &connector, exclusive());
    let held = within(holder.acquire()).await.unwrap();
    let [left, stays] = [0, 1].map(|_| pool_under(&budget, &connector, exclusive()));
    let impatient = acquire_apart(&left);
    at_rest().await;
    let patient = acquire_apart(&stays);
    at_rest().await;
    impatient.abort();
    at_rest().await;
    drop(held);
    drop(within(patient).await.unwrap().unwrap());
    assert_eq!(left.status().opened, 0);
}

#[tokio::test(start_paused = true)]
async fn time_in_line_for_a_turn_is_not_counted_as_the_servers() {
    let budget = Budget::new(100, 1);
    let flaky = Scripted::new(&mcp_testkit::TestServer::new(), |number| match number {
        1 => Step::Fail(mcp_pool_core::OpenErrorKind::Unreachable),
        _ => Step::OpenAfter(Duration::from_millis(500)),
    });
    let (pool, events) = observed_under(
        &budget,
        &flaky,
        quiet_with(|options| {
            options.retry_attempts = 1;
            options.connection_timeout = Duration::from_secs(3);
        }),
    );
    let caller = acquire_apart(&pool);
    flaky.wait_begun(1).await;
    // Each holds the one turn for two seconds, before the second try has its own: after the twelve seconds that an opening
    // may take.
    let hung = Scripted::always(Step::Never);
    let patient = quiet_with(|options| options.connection_timeout = Duration::from_secs(60));
    let hung_pools = [0; 7].map(|_| pool_under(&budget, &hung, patient.clone()));
    let _waiting = hung_pools.each_ref().map(acquire_apart);
    sleep(Duration::from_secs(10)).await;
    events.wait_for(1, opened).await;
    assert!(caller.await.unwrap().is_err(), "its own time was up before");
    drop(within(pool.acquire()).await.unwrap());
    assert_balanced(&pool);
}
