//! A file of its own: descriptors are counted for the whole process.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "it/common/mod.rs"]
mod common;

use common::{assert_balanced, echo, pool_of, quiet, servers::server, within};
use mcp_testkit::process;

#[tokio::test]
async fn fifty_openings_and_closings_leak_no_descriptor() {
    let cycle = async |flags: &str| {
        let pool = pool_of(server(flags), quiet());
        match within(pool.acquire()).await {
            Ok(lease) => assert_eq!(echo(&lease).await, "hello"),
            Err(error) => assert!(flags.contains("--exit"), "{error:?}"),
        }
        within(pool.close()).await;
        assert_eq!(assert_balanced(&pool).connections.total, 0);
    };
    // What is opened once for the life of the process.
    cycle("").await;
    cycle("--exit 1").await;
    let before = process::open_fds();
    for number in 0..50 {
        cycle(if number % 10 == 0 { "--exit 1" } else { "" }).await;
    }
    // The last pipes are closed by tasks that end a moment after the pool.
    let settled = process::wait_until(std::time::Duration::from_secs(2), || {
        process::open_fds() <= before
    });
    assert!(
        settled.await,
        "{before} before, {} after",
        process::open_fds()
    );
}
