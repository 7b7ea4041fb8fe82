//! Servers in processes of their own.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mcp_pool_core::connect::stdio::Stdio;
use mcp_testkit::{Lateness, process};
use tokio::time::Instant;

/// A test server as a process, with arguments written as on a command line.
pub(crate) fn server(arguments: &str) -> Stdio {
    let binary = mcp_testkit::binary();
    Stdio::new(binary.to_str().expect("a path in UTF-8"))
        .args(arguments.split_whitespace())
        // No hostile server outlives a failed test for long.
        .args(["--max-lifetime", "60"])
}

/// A shell script as a server.
pub(crate) fn shell(script: &str) -> Stdio {
    Stdio::new("sh").args(["-c", script])
}

/// The path of the test server, for scripts.
pub(crate) fn path() -> String {
    mcp_testkit::binary()
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}

/// A text by which the processes of one test are found.
pub(crate) fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("marker-{}-{number}-of-a-test", std::process::id())
}

/// Every process that bears the marker ends within this time, and what the machine is late by.
pub(crate) async fn assert_all_gone(marker: &str, within: Duration) {
    let (machine, began) = (Lateness::watch(), Instant::now());
    let gone = process::wait_until(6 * within, || process::by_marker(marker).is_empty()).await;
    assert!(gone, "still alive: {:?}", process::by_marker(marker));
    machine.assert_within(within, began.elapsed());
}
