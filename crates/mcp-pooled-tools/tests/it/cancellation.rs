//! A call dropped at any await point leaks nothing.

use crate::common;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use common::{in_process, text};
use mcp_pooled_tools::PoolSettings;
use mcp_testkit::TestServer;
use serde_json::json;

/// Gives a future up when it has been polled so often and is still not done.
struct GivenUpAfter<F> {
    polls: usize,
    future: F,
}

impl<F: Future + Unpin> Future for GivenUpAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match Pin::new(&mut self.future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Drops a call at its first, second, ... await, from an empty pool and from a warm one, until it is never dropped.
async fn dropped_at_every_await(tool: &str, arguments: serde_json::Value, ends: bool) {
    const MORE_THAN_THERE_ARE: usize = 40;
    for warm in [false, true] {
        let mut finished = false;
        for polls in 0..MORE_THAN_THERE_ARE {
            let server = TestServer::new();
            let settings = PoolSettings::new()
                .max_connections(1)
                .min_connections(0)
                .max_in_flight(1);
            let manager = in_process(&server, settings).await;
            let tools = manager.tools("test").unwrap();
            if warm {
                common::echo(&tools, "warm").await;
            }
            let call = Box::pin(tools.call(tool, arguments.clone()));
            // What is never answered is also never woken up: it is given up by hand.
            let given_up = GivenUpAfter {
                polls,
                future: call,
            };
            let outcome =
                tokio::time::timeout(std::time::Duration::from_millis(500), given_up).await;
            finished |= matches!(outcome, Ok(Some(_)));

            // One place is all there is: were it lost, this would never end.
            let next = tokio::time::timeout(
                common::LONG,
                tools.call("echo", json!({ "message": "next" })),
            )
            .await;
            assert_eq!(
                text(&next.expect("a place").unwrap()),
                "next",
                "{tool} after {polls} polls"
            );
            let status = manager.pool_status("test").unwrap();
            assert_eq!(
                (status.in_flight, status.waiters),
                (0, 0),
                "{tool} after {polls} polls: {status:?}"
            );
            assert_eq!(
                status.opened, 1,
                "the session stays usable: {tool} after {polls} polls"
            );
            manager.shutdown().await;
            if finished {
                break;
            }
        }
        assert_eq!(finished, ends, "{tool} was dropped at every await there is");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_succeed_may_be_dropped_at_any_await() {
    dropped_at_every_await("echo", json!({ "message": "x" }), true).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_fail_may_be_dropped_at_any_await() {
    dropped_at_every_await("fail", json!({ "code": -32000, "message": "no" }), true).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_may_be_dropped_at_any_await() {
    dropped_at_every_await("sleep", json!({ "ms": 100 }), true).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_may_be_dropped_at_any_await() {
    dropped_at_every_await("sleep", json!({ "ms": 86_400_000 }), false).await;
}
