//! The same over HTTP, where a request waits for the reply to the one before.

use mcp_pool_core::connect::http::Http;
use mcp_testkit::{
    Lateness,
    scripted_http::{Answer, ScriptedHttp},
};

use super::*;

fn connector(server: &ScriptedHttp) -> Http {
    Http::new(server.url()).unwrap()
}

#[tokio::test]
async fn silence_on_discover_costs_a_tenth_of_the_time() {
    let server = ScriptedHttp::start(|asked| {
        (asked.method() == "server/discover").then(|| Answer::new(200, "").silent())
    })
    .await;
    let options = quiet_with(|options| options.connection_timeout = Duration::from_secs(5));
    let (pool, events) = observed(connector(&server), options);
    let (machine, began) = (Lateness::watch(), Instant::now());
    let lease = common::within(pool.acquire()).await.unwrap();
    assert_eq!(lease.session().era(), Era::Legacy);
    machine.assert_within(Duration::from_secs(3), began.elapsed());
    assert_eq!(events.count(attempt_failed), 0);
}

#[tokio::test]
async fn a_reply_under_another_id_in_the_stream_is_passed_over() {
    let server = ScriptedHttp::start(|asked| {
        let stray = json!({"jsonrpc": "2.0", "id": 9999, "result": {}});
        let reply = asked.reply(initialized("2025-11-25"));
        (asked.method() == "initialize").then(|| Answer::events().event(&stray).event(&reply))
    })
    .await;
    let pool = pool_of(connector(&server), quiet());
    let lease = common::within(pool.acquire()).await.unwrap();
    assert_eq!(lease.session().era(), Era::Legacy);
}

/// A modern server that lists one page over and over.
#[tokio::test]
async fn a_list_with_a_cursor_that_never_advances_does_not_hold_up_an_opening() {
    let server = ScriptedHttp::start(|asked| {
        let result = match asked.method() {
            "server/discover" => discovered(&["2026-07-28"]),
            "tools/list" => json!({
                "resultType": "complete", "tools": [], "nextCursor": "8", "ttlMs": 0, "cacheScope": "public",
            }),
            _ => return None,
        };
        Some(Answer::json(200, &asked.reply(result)))
    })
    .await;
    let pool = pool_of(connector(&server), quiet());
    let lease = common::within(pool.acquire()).await.unwrap();
    assert_eq!(lease.session().era(), Era::Modern);
    assert_eq!(server.count("tools/list"), 2);
}
