//! One pool for each server and identity, and not without bound.

use crate::common;
use std::{collections::BTreeSet, time::Duration};

use common::{in_process, manager, process, text};
use mcp_pooled_tools::{ConnectionManager, Identity, PoolSettings, PooledTools, Sharing};
use mcp_testkit::{TestServer, process as processes};
use serde_json::json;
use tokio::task::JoinSet;

async fn echo(tools: &PooledTools) {
    let answer = tools.call("echo", json!({ "message": "m" })).await;
    assert_eq!(text(&answer.unwrap()), "m");
}

/// Who has a pool; the empty name is that of callers without an identity.
fn pools_of(manager: &ConnectionManager) -> BTreeSet<String> {
    let pools = manager.status().servers.remove(0).pools.into_iter();
    pools
        .map(|pool| pool.identity.unwrap_or_default())
        .collect()
}

/// Open, being opened, and not yet closed.
fn sessions(manager: &ConnectionManager) -> usize {
    manager.status().connections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_18_a_server_is_started_once_however_many_ask_for_it() {
    let marker = format!("asked-for-by-many-{}", std::process::id());
    // One session can carry them all, so that any further process is one too many.
    let settings = PoolSettings::new().max_in_flight(64).scale_up_at(64);
    let manager = manager(process(&["--marker", &marker]), settings).await;
    let alice = || Identity::new("alice").env("TOKEN", "of alice");

    for (who, identity, processes) in [
        ("nobody", None, 1),
        ("alice", Some(alice()), 2),
        ("alice again", Some(alice()), 2),
        ("bob", Some(Identity::new("bob")), 3),
    ] {
        let mut callers = JoinSet::new();
        for number in 0..30 {
            let (manager, identity) = (manager.clone(), identity.clone());
            callers.spawn(async move {
                // Each by a handle of its own, come by in one way or another.
                let name = ["test", "mcp.test"][number % 2];
                let tools = manager.tools(name).unwrap();
                let tools = match identity {
                    Some(identity) => tools.with_identity(identity),
                    None => tools,
                };
                match number % 3 {
                    0 => echo(&tools.scoped(number.to_string())).await,
                    _ => echo(&tools).await,
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        assert_eq!(processes::by_marker(&marker).len(), processes, "{who}");
        assert_eq!(pools_of(&manager).len(), processes, "{who}");
    }
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pain_13_idle_pools_of_identities_are_let_go_the_longest_unused_first() {
    /// Those of 63 identities, and that of callers without one.
    const KEPT: usize = 64;
    let server = TestServer::new();
    let settings = PoolSettings::new().min_connections(0).max_identities(63);
    let manager = in_process(&server, settings).await;
    let nobody = manager.tools("test").unwrap();
    let name = |number: usize| format!("caller {number}");
    let of = |number| nobody.with_identity(Identity::new(name(number)));
    let a_moment = || tokio::time::sleep(Duration::from_millis(1));
    for number in 1..KEPT {
        echo(&of(number)).await;
        a_moment().await;
    }
    assert_eq!(pools_of(&manager).len(), KEPT);
    assert_eq!(sessions(&manager), KEPT - 1);

    // The first is used again and the second is held: the third is evicted.
    echo(&of(1)).await;
    let held = of(2);
    a_moment().await;
    echo(&of(KEPT)).await;
    let pools = pools_of(&manager);
    assert_eq!(pools.len(), KEPT);
    assert!(!pools.contains(&name(3)), "{pools:?}");
    let kept = [String::new(), name(1), name(2), name(4), name(KEPT)];
    assert!(kept.iter().all(|name| pools.contains(name)), "{pools:?}");
    a_moment().await;
    assert_eq!(sessions(&manager), KEPT - 1, "its session is closed");

    for number in 0..100 {
        echo(&of(1_000 + number)).await;
        a_moment().await;
        assert!(sessions(&manager) < KEPT, "after {number}");
    }
    let pools = pools_of(&manager);
    assert_eq!(pools.len(), KEPT);
    assert!(pools.contains(&name(2)) && !pools.contains(&name(1)));
    // Who was let go is served like anybody new, and who was held has its session still.
    echo(&of(3)).await;
    let before = server.discoveries();
    echo(&held).await;
    assert_eq!(server.discoveries(), before);
    manager.shutdown().await;
    assert_eq!(sessions(&manager), 0);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_identities_keep_their_pools_and_the_idle_ones_no_session() {
    const IDENTITIES: usize = 200;
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let nobody = manager.tools("test").unwrap();
    let of = |number: usize| nobody.with_identity(Identity::new(number.to_string()));
    for round in 0..3 {
        for number in 0..IDENTITIES {
            echo(&of(number)).await;
        }
        assert_eq!(pools_of(&manager).len(), IDENTITIES + 1, "round {round}");
        assert!(sessions(&manager) <= 100, "round {round}");
    }
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(sessions(&manager), 0);
    assert_eq!(pools_of(&manager).len(), IDENTITIES + 1);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pain_13_scopes_that_come_and_go_leave_no_session() {
    let server = TestServer::new();
    let settings = PoolSettings::new()
        .sharing(Sharing::Pinned)
        .max_connections(4);
    let manager = in_process(&server, settings).await;
    let tools = manager.tools("test").unwrap();
    for number in 0..200 {
        echo(&tools.scoped(format!("scope {number}"))).await;
        assert!(sessions(&manager) <= 4, "after {number}");
    }
    // One that is held keeps its state, however long it is not used.
    let held = tools.scoped("held");
    echo(&held).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(sessions(&manager), 1);
    echo(&held).await;
    drop(held);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(sessions(&manager), 0);
    manager.shutdown().await;
}
