//! Unsolicited messages without end.

use serde_json::{Value, json};

use crate::{Flood, line_transport::Connection};

/// Writes for as long as the client takes it.
pub(crate) async fn run(flood: Flood, connection: &Connection) {
    for first in (0_u64..).step_by(BATCH) {
        let lines = (first..)
            .take(batch(flood))
            .map(|number| line(flood, number));
        let lines = lines.collect::<Vec<_>>().concat();
        if connection.write_raw(&lines).await.is_err() {
            return;
        }
    }
}

/// Lines that are written at once.
const BATCH: usize = 100;

fn batch(flood: Flood) -> usize {
    match flood {
        Flood::Large | Flood::Heavy => 1,
        _ => BATCH,
    }
}

fn line(flood: Flood, number: u64) -> Vec<u8> {
    let message = match flood {
        Flood::Pings => request(number, "ping"),
        Flood::Roots => request(number, "roots/list"),
        Flood::Logs => log("x".repeat(100)),
        Flood::Large => log("x".repeat(1024 * 1024)),
        Flood::Progress => json!({
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": number % 10_000, "progress": number, "message": "x".repeat(100)},
        }),
        Flood::Heavy => {
            let items = "{\"\":0},".repeat(1024 * 1024);
            let reply = format!(
                r#"{{"jsonrpc":"2.0","id":"flood-{number}","result":{{"tools":[{items}0]}}}}"#
            );
            return [reply.as_bytes(), b"\n"].concat();
        }
        Flood::Noise => return b"y\n".to_vec(),
    };
    [message.to_string().as_bytes(), b"\n"].concat()
}

fn request(number: u64, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": format!("flood-{number}"), "method": method})
}

fn log(data: String) -> Value {
    json!({
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "info", "data": data},
    })
}
