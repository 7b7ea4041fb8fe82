//! Notifications that belong to no call: changed lists, many at a time.

use std::sync::Weak;

use mcp_http_server::Shutdown;
use mcp_pooled_tools::{ListChange, ListChanges};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    message,
    session::Session,
    stream::{Item, Outbox},
};

/// Passes changes on to a legacy client, or keeps them until it has a stream.
pub(crate) async fn session(
    session: Weak<Session>,
    mut changes: ListChanges,
    end: CancellationToken,
    shutdown: Shutdown,
) {
    let mut pending = ListChange::default();
    loop {
        let Some(session) = session.upgrade() else {
            return;
        };
        tokio::select! {
            change = changes.next() => {
                let Some(change) = change else { return };
                pending.tools |= change.tools;
                pending.prompts |= change.prompts;
                pending.resources |= change.resources;
            }
            () = session.attached() => {}
            () = end.cancelled() => return,
            () = shutdown.stopping() => return session.detach(),
        }
        if let Some(stream) = session.stream() {
            for method in methods(pending) {
                stream.push(Item::Message(message::notification(method, &json!({}))));
            }
            pending = ListChange::default();
        }
    }
}

/// What a modern client wants to hear of.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Wanted {
    #[serde(skip_serializing_if = "is_not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "is_not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "is_not")]
    resources_list_changed: bool,
}

/// Passes changes on to a modern client until it closes the stream. The last message is the result.
pub(crate) async fn subscription(
    wanted: Wanted,
    id: Value,
    mut changes: ListChanges,
    outbox: Outbox,
    end: CancellationToken,
    shutdown: Shutdown,
) {
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": id });
    let push = |method: &str, mut params: Value| {
        params["_meta"] = meta.clone();
        outbox.push(Item::Message(message::notification(method, &params)));
    };
    push(
        "notifications/subscriptions/acknowledged",
        json!({ "notifications": wanted }),
    );
    loop {
        tokio::select! {
            change = changes.next() => {
                let Some(mut change) = change else { break };
                change.tools &= wanted.tools_list_changed;
                change.prompts &= wanted.prompts_list_changed;
                change.resources &= wanted.resources_list_changed;
                for method in methods(change) {
                    push(method, json!({}));
                }
            }
            () = outbox.closed() => return,
            () = end.cancelled() => break,
            () = shutdown.stopping() => break,
        }
    }
    let result = json!({ "resultType": "complete", "_meta": meta });
    outbox.push(Item::Last(Ok(message::json(&result))));
}

fn methods(change: ListChange) -> impl Iterator<Item = &'static str> {
    let all = [
        (change.tools, "notifications/tools/list_changed"),
        (change.prompts, "notifications/prompts/list_changed"),
        (change.resources, "notifications/resources/list_changed"),
    ];
    all.into_iter()
        .filter_map(|(changed, method)| changed.then_some(method))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_not(wanted: &bool) -> bool {
    !wanted
}
