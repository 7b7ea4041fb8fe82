//! One request of a client on its way to a server and back.

use std::sync::Arc;

use bytes::Bytes;
use mcp_pooled_tools::{ErrorKind, Reply, Request, RequestOptions};
use rmcp::{ErrorData, model::ErrorCode};
use serde_json::{json, value::RawValue};
use tokio_util::sync::CancellationToken;

use crate::{
    gateway::Inner,
    guard::{Caller, Failure},
    log_level::LogLevel,
    message::{self, Incoming, Outcome, own_error},
    questions::{Ask, Handler},
    session::{CallEntry, Session},
    stream::{self, Inbox, Item, Outbox},
};

/// How a call is made.
pub(crate) struct Manner {
    /// What the call is known by within its session.
    pub(crate) key: Arc<str>,
    /// A question is the result of the call.
    pub(crate) modern: bool,
    /// The least log level, where the request has one.
    pub(crate) level: Option<LogLevel>,
}

/// A call that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) inbox: Inbox,
    pub(crate) cancel: CancellationToken,
    pub(crate) progress_token: Option<Box<RawValue>>,
}

/// Starts a call in a task of its own, which ends when the server has answered or the call is cancelled. `adjust` is given
/// the reply before it is passed on.
///
/// # Errors
/// A JSON-RPC error for a request that is none, or whose id is in use.
pub(crate) fn start(
    gateway: &Arc<Inner>,
    session: &Arc<Session>,
    incoming: &Incoming,
    manner: Manner,
    adjust: impl FnOnce(Reply) -> Box<RawValue> + Send + 'static,
) -> Result<Started, ErrorData> {
    let request = Request::from_raw(incoming.method.clone(), incoming.params.as_deref());
    let mut request = request.map_err(|error| error.to_protocol())?;
    let progress_token = request.meta_mut().remove("progressToken");
    for key in OF_ONE_HOP {
        request.meta_mut().remove(key);
    }
    let entry = session.begin(&manner.key).ok_or_else(|| {
        let message = format!("a request with id {} is under way", manner.key);
        own_error(
            ErrorCode::INVALID_REQUEST,
            message,
            "receive",
            "use each id once",
        )
    })?;
    let (outbox, inbox) = stream::channel(gateway.settings.stream);
    let cancel = entry.cancel.clone();
    if session.is_rebuilt()
        && let Some(tool) = request.tool()
        && let Some(server) = gateway.pinned_server(&session.path, tool)
        && session.has_lost_state(&server)
    {
        outbox.push(Item::Message(lost_state(&server)));
    }
    let mut options = RequestOptions::new().cancellation(cancel.clone());
    if manner.modern {
        options = options.once();
    }
    if ASKING.contains(&request.method()) {
        let outbox = outbox.clone();
        options = options.handler(Handler {
            session: Arc::downgrade(session),
            ask: if manner.modern {
                Ask::InResult(outbox)
            } else {
                Ask::OnStream(outbox)
            },
            level: manner.level,
        });
    }
    if progress_token.is_some() {
        let outbox = outbox.clone();
        options = options.on_progress(move |progress| {
            outbox.push(Item::Progress(Box::new(progress)));
        });
    }
    let run = run(
        Arc::clone(gateway),
        Arc::clone(session),
        request,
        options,
        outbox,
        entry,
        adjust,
    );
    gateway.tasks.spawn(run);
    Ok(Started {
        inbox,
        cancel,
        progress_token: progress_token.map(|token| message::json(&token)),
    })
}

/// The session was made in another process, or dropped to make room: what the server kept for it has gone.
fn lost_state(server: &str) -> Bytes {
    let data = format!(
        "server `{server}`: the gateway began another session with it; what an earlier one held is lost"
    );
    let params = json!({ "level": "warning", "logger": "mcp-pool", "data": data });
    message::notification("notifications/message", &params)
}

async fn run(
    gateway: Arc<Inner>,
    session: Arc<Session>,
    request: Request,
    options: RequestOptions,
    outbox: Outbox,
    entry: CallEntry,
    adjust: impl FnOnce(Reply) -> Box<RawValue> + Send,
) {
    let caller = Caller {
        principal: &session.principal,
        client: &session.client.name,
    };
    let sending = gateway.edge.send(caller, &session.view, request, options);
    let mut sending = std::pin::pin!(sending);
    let replied = tokio::select! {
        replied = &mut sending => replied,
        () = outbox.overrun() => {
            entry.cancel.cancel();
            sending.await
        }
    };
    let outcome: Outcome = match replied {
        Ok(reply) => Ok(adjust(reply)),
        Err(Failure::Refused(error)) => Err(error),
        Err(Failure::Failed(error))
            if error.kind() == ErrorKind::Cancelled && entry.cancel.is_cancelled() =>
        {
            if !gateway.shutdown.is_draining() {
                // The client expects no response.
                return;
            }
            let hint = "the request may have been carried out; call again when the gateway is back";
            Err(own_error(
                ErrorCode::INTERNAL_ERROR,
                "the gateway ends",
                "shutdown",
                hint,
            ))
        }
        Err(Failure::Failed(error)) => Err(error.to_protocol()),
    };
    // Its id may be used again as soon as the response is there.
    drop(entry);
    outbox.push(Item::Last(outcome));
}

/// Requests during which a server may ask the client.
const ASKING: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
/// What a modern client says to the gateway, which speaks for itself to servers.
const OF_ONE_HOP: [&str; 3] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];
