//! JSON-RPC batches: an array in place of a message, as 2025-03-26 has it and some servers still send it.

use super::*;

/// A reply with what a server says beside it, before and behind.
fn batch(reply: &Value) -> Value {
    json!([
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}},
        {"jsonrpc": "2.0", "id": "asked", "method": "ping"},
        reply,
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
    ])
}

fn is_pong(message: &Value) -> bool {
    message["id"] == "asked" && message["result"] == json!({})
}

/// Answers every request of either handshake in a batch.
fn batched(acts: Vec<Act>) -> Vec<Act> {
    acts.into_iter()
        .map(|act| match act {
            Act::Send(reply) => Act::Send(batch(&reply)),
            other => other,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_handshake_is_read_out_of_batches_and_what_stands_beside_it_is_answered() {
    for (behaves, era) in [
        (legacy as fn(&Value) -> Vec<Act>, Era::Legacy),
        (modern, Era::Modern),
    ] {
        let wire = Wire::new(move |_, message| match method(message) {
            "" => Vec::new(),
            _ => batched(behaves(message)),
        });
        let (pool, met) = open(&wire).await;
        assert_eq!(met, era);
        let lease = pool.acquire().await.unwrap();
        let refused = lease.list_tools(None).await.unwrap_err();
        assert!(
            refused.to_string().contains("Method not found"),
            "{refused}"
        );
        common::at_rest().await;
        let heard = wire.heard.lock();
        let pongs = heard.iter().filter(|(_, message)| is_pong(message)).count();
        let requests = heard
            .iter()
            .filter(|(_, m)| !m["method"].is_null() && !m["id"].is_null());
        assert_eq!(pongs, requests.count());
    }
}
