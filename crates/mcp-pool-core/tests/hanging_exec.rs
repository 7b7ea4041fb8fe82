//! A program that cannot be read, as on a mount whose server is away, hangs the call that starts it.
//!
//! In a program of its own: until `exec` is over, the hanging child holds the pipes of all other servers open.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use common::{
    SOON, echo, pool_of, quiet,
    servers::{path, server},
    within,
};
use mcp_pool_core::connect;
use mcp_testkit::process;

/// Takes a lease on a file: opening it waits until the holder lets go. So does `exec`, as on a mount that is away.
const HOLD: &str = "
import fcntl, signal, sys, time
signal.signal(signal.SIGIO, lambda *_: None)
file = open(sys.argv[1], 'r+b')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
while True: time.sleep(60)
";

#[tokio::test]
async fn a_server_whose_program_cannot_be_read_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let away = folder.path().join("away");
    std::fs::copy(path(), &away).unwrap();
    let mut holder = Command::new("python3")
        .args(["-c", HOLD, away.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut held)
        .unwrap();
    assert_eq!(held, "held\n");
    let hanging = pool_of(connect::stdio::Stdio::new(away.to_str().unwrap()), quiet());
    let caller = {
        let hanging = hanging.clone();
        tokio::spawn(async move { hanging.acquire().await.map(drop) })
    };
    let begun = process::wait_until(SOON, || hanging.status().connections.connecting == 1).await;
    assert!(begun);
    let other = pool_of(server(""), quiet());
    assert_eq!(echo(&within(other.acquire()).await.unwrap()).await, "hello");
    assert!(
        !caller.is_finished(),
        "the other server was not hanging: this test tests nothing"
    );
    holder.kill().unwrap();
    within(caller).await.unwrap().unwrap();
    holder.wait().unwrap();
    within(hanging.close()).await;
    within(other.close()).await;
}
