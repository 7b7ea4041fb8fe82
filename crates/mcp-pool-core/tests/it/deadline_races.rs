//! A caller in line whose time is over in the very moment in which it is answered: it has its place or has left it, and
//! nothing is lost in between.

use crate::common;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use common::{Scripted, assert_all_places_work, assert_balanced, at_rest, pool_on, quiet_with};
use mcp_pool_core::{
    AcquireError, Connected, Connector, Handshake, OpenError, Phase, PoolOptions, SessionPool,
    SharingMode, connect::BoxFuture,
};
use mcp_testkit::TestServer;
use tokio::{sync::Notify, time::advance};

const LIMIT: Duration = Duration::from_secs(8);

/// What happens to a caller in line, in this order, all in one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The place it waits for is given back, and so is its own.
    Answered,
    /// Its time is over, and its timer says so.
    Due,
    /// It runs.
    Looks,
    /// It is dropped.
    Leaves,
}

use Step::{Answered, Due, Leaves, Looks};

/// Each with whether it has a place in the end.
const ORDERS: [(&[Step], bool); 6] = [
    (&[Answered, Due, Looks], true),
    (&[Due, Answered, Looks], true),
    (&[Due, Looks, Answered], false),
    (&[Answered, Due, Leaves], false),
    (&[Due, Answered, Leaves], false),
    (&[Due, Leaves, Answered], false),
];

fn one_place(sharing: SharingMode) -> PoolOptions {
    quiet_with(|options| {
        options.sharing = sharing;
        options.max_connections = 1;
        options.max_in_flight = 1;
        options.scale_up_at = 1;
        options.connection_timeout = LIMIT;
    })
}

type Acquiring<'a> = Pin<Box<dyn Future<Output = Result<Taken, AcquireError>> + 'a>>;

/// A place of either kind.
type Taken = Box<dyn std::any::Any>;

fn acquiring(pool: &SessionPool, whole: bool) -> Acquiring<'_> {
    if whole {
        Box::pin(async { pool.pin().await.map(|session| Box::new(session) as Taken) })
    } else {
        Box::pin(async { pool.acquire().await.map(|lease| Box::new(lease) as Taken) })
    }
}

/// By hand: nothing but what the test does has the caller run.
fn poll(caller: &mut Acquiring<'_>) -> Poll<Result<Taken, AcquireError>> {
    caller
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_is_over_as_it_is_answered_loses_no_place() {
    for sharing in [SharingMode::Multiplexed, SharingMode::Exclusive] {
        for whole in [false, true] {
            for (order, served) in ORDERS {
                in_this_order(sharing, whole, order, served).await;
            }
        }
    }
}

async fn in_this_order(sharing: SharingMode, whole: bool, order: &[Step], served: bool) {
    let case = format!("{sharing:?}, whole: {whole}, {order:?}");
    let pool = pool_on(&TestServer::new(), one_place(sharing));
    let mut held = Some(pool.acquire().await.unwrap());
    let mut caller = Some(acquiring(&pool, whole));
    assert!(poll(caller.as_mut().unwrap()).is_pending(), "{case}");
    advance(LIMIT / 2).await;
    let mut next = acquiring(&pool, whole);
    assert!(poll(&mut next).is_pending(), "{case}");

    let mut place = None;
    for step in order {
        match step {
            Answered => drop(held.take()),
            Due => advance(LIMIT / 2).await,
            Leaves => drop(caller.take()),
            Looks => match poll(caller.as_mut().unwrap()) {
                Poll::Ready(Ok(taken)) => place = Some(taken),
                Poll::Ready(Err(AcquireError::Timeout { phase, .. })) => {
                    assert_eq!(phase, Phase::Queue, "{case}");
                }
                Poll::Ready(Err(error)) => panic!("{case}: {error}"),
                Poll::Pending => panic!("{case}: it has waited for long enough"),
            },
        }
    }
    assert_eq!(place.is_some(), served, "{case}");
    if served {
        assert!(poll(&mut next).is_pending(), "{case}: the place is taken");
        drop(place);
    }
    let Poll::Ready(Ok(taken)) = poll(&mut next) else {
        panic!("{case}: the place has not come to the next in line");
    };
    assert_eq!(pool.status().in_flight, 1, "{case}");
    drop((taken, next, caller));
    at_rest().await;
    assert_all_places_work(&pool).await;
    assert_eq!(assert_balanced(&pool).opened, 1, "{case}");
}

/// Is ready so long after its handshake.
struct Late(Scripted);

impl Late {
    const BY: Duration = Duration::from_millis(400);
}

impl Connector for Late {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let connected = self.0.connect(handshake).await?;
            tokio::time::sleep(Self::BY).await;
            Ok(connected)
        })
    }
}

/// The thread stands still while the session becomes ready, the pool is closed, and the waiter for the session looks
/// whether it is. What comes first is left to chance: it is tried so often that every order occurs.
#[tokio::test(start_paused = true)]
async fn a_session_that_becomes_ready_as_its_pool_closes_is_closed() {
    for _ in 0..50 {
        let server = TestServer::new();
        let connector = Late(Scripted::new(&server, |_| common::Step::Open));
        let pool = common::pool_of(connector, common::quiet());
        let caller = common::acquire_apart(&pool);
        at_rest().await;
        assert_eq!(server.open_connections(), 1);
        let mut closing = Box::pin(pool.wind_down());
        let polled = closing
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        advance(Late::BY + Duration::from_millis(200)).await;
        common::within(closing).await;
        let _ = caller.await.unwrap();
        at_rest().await;
        assert_eq!(server.open_connections(), 0);
    }
}

/// Is ready in the moment in which it is told to be.
struct Gated(Scripted, Arc<Notify>);

impl Connector for Gated {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let connected = self.0.connect(handshake).await?;
            self.1.notified().await;
            Ok(connected)
        })
    }
}

/// The opening finds that its session is ready and that its pool closes, both at once.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_ready_when_its_opening_sees_the_pool_close_is_closed() {
    for ready_first in [true, false] {
        let server = TestServer::new();
        let ready = Arc::new(Notify::new());
        let scripted = Scripted::new(&server, |_| common::Step::Open);
        let pool = common::pool_of(Gated(scripted, Arc::clone(&ready)), common::quiet());
        let caller = common::acquire_apart(&pool);
        at_rest().await;
        assert_eq!(server.open_connections(), 1);
        if ready_first {
            ready.notify_one();
        }
        let mut closing = Box::pin(pool.wind_down());
        let polled = closing
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        ready.notify_one();
        common::within(closing).await;
        let _ = caller.await.unwrap();
        at_rest().await;
        assert_eq!(server.open_connections(), 0, "ready first: {ready_first}");
    }
}
