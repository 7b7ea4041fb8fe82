//! One request of a client on its way to a server and back.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use mcp_pooled_tools::{
    AggregateNotification, AggregateNotifications, ErrorKind, Reply, Request, RequestOptions,
};
use parking_lot::Mutex;
use rmcp::{ErrorData, model::ErrorCode};
use serde_json::{json, value::RawValue};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    gateway::Inner,
    guard::{Caller, Failure},
    log_level::LogLevel,
    members::Members,
    message::{self, Incoming, Outcome, own_error},
    questions::{Ask, Handler, is_wanted},
    session::{CallEntry, NotBegun, Session},
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
    let most = gateway.settings.max_calls;
    let entry = session.begin(&manner.key, most);
    let entry = entry.map_err(|why| not_begun(why, &manner.key, most))?;
    let (outbox, inbox) = stream::channel(gateway.settings.stream);
    let cancel = entry.cancel.clone();
    let mut options = RequestOptions::new()
        .cancellation(cancel.clone())
        .reset_on_progress();
    if manner.modern {
        options = options.once();
    }
    if ASKING.contains(&request.method()) {
        let outbox = outbox.clone();
        // What parks the call of a modern client gives it up a moment earlier.
        let limit = gateway.settings.park_limit.saturating_add(CANCELLING);
        options = options.handler_limit(limit).handler(Handler {
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
    let call = Call {
        gateway: Arc::clone(gateway),
        session: Arc::clone(session),
        outbox,
        entry,
        level: manner.level,
        logs: Mutex::default(),
        routed: Notify::new(),
        lost: OnceLock::new(),
    };
    gateway.tasks.spawn(call.run(request, options, adjust));
    Ok(Started {
        inbox,
        cancel,
        progress_token: progress_token.map(|token| message::json(&token)),
    })
}

/// Why a request of this id, or so many of them, cannot be begun.
pub(crate) fn not_begun(why: NotBegun, key: &str, most: usize) -> ErrorData {
    let (message, hint) = match why {
        NotBegun::SameId => (
            format!("a request with id {key} is under way"),
            "use each id once",
        ),
        NotBegun::TooMany => (
            format!("{most} requests of this session are under way"),
            "wait for responses, or cancel requests",
        ),
        NotBegun::Ended => (
            "the session ended when the request came".to_owned(),
            "send the request again",
        ),
    };
    own_error(ErrorCode::INVALID_REQUEST, message, "receive", hint)
}

/// A call that is under way.
struct Call {
    gateway: Arc<Inner>,
    session: Arc<Session>,
    outbox: Outbox,
    entry: CallEntry,
    /// The least level of messages of shared sessions, if a modern client wants them.
    level: Option<LogLevel>,
    /// What carries them, from when the call is routed on: its server's sessions are known then.
    logs: Mutex<Option<AggregateNotifications>>,
    routed: Notify,
    /// The report to the client of state that a server has lost.
    lost: OnceLock<String>,
}

impl Call {
    async fn run(
        self,
        request: Request,
        options: RequestOptions,
        adjust: impl FnOnce(Reply) -> Box<RawValue> + Send,
    ) {
        let replied = self.replied(request, options).await;
        let Some(outcome) = self.outcome(replied, adjust) else {
            return;
        };
        // Its id may be used again as soon as the response is there.
        drop(self.entry);
        self.outbox.push(Item::Last(outcome));
    }

    async fn replied(&self, request: Request, options: RequestOptions) -> Result<Reply, Failure> {
        let session = &self.session;
        let routed = |server: &str| self.routed(server);
        // Legacy clients do not share their sessions.
        let shared = !session.is_legacy && session.client.can_be_asked();
        let caller = Caller {
            principal: &session.principal,
            client: &session.client.name,
            turns: shared.then_some(&session.turns),
            routed: &routed,
        };
        let sending = self
            .gateway
            .edge
            .send(caller, &session.view, request, options);
        let mut sending = std::pin::pin!(sending);
        tokio::select! {
            // What was logged before the reply is passed on before it.
            biased;
            () = self.pass_on() => unreachable!("it does not end"),
            replied = &mut sending => replied,
            () = self.outbox.overrun() => {
                self.entry.cancel.cancel();
                sending.await
            }
            // It may wait for its turn.
            () = self.entry.cancel.cancelled() => {
                match timeout(CANCELLING, sending).await {
                    Ok(replied) => replied,
                    Err(_) => Err(Failure::Cancelled),
                }
            }
        }
    }

    /// Passes log messages on. Which client caused one of a shared session is not known: those get it that asked for some.
    async fn pass_on(&self) {
        self.routed.notified().await;
        let logs = self.logs.lock().take();
        if let Some(mut notifications) = logs {
            while let Some(notification) = notifications.next().await {
                if let AggregateNotification::Log { message, .. } = notification
                    && is_wanted(&message, self.level)
                {
                    let log = message::notification("notifications/message", &message);
                    self.outbox.push(Item::Message(log));
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether the call may go to this server, of which the client's state may be lost.
    fn routed(&self, server: &str) -> Result<(), ErrorData> {
        let (gateway, session) = (&self.gateway, &self.session);
        if self.level.is_some() {
            *self.logs.lock() = Some(session.view.notifications());
            self.routed.notify_one();
        }
        if session.has_used(server) {
            return Ok(());
        }
        let pinned = gateway.is_pinned(server);
        if pinned && gateway.shutdown.is_draining() {
            let message = format!("the gateway ends, and begins no session with server `{server}`");
            let hint = "call again when the gateway is back";
            return Err(own_error(
                ErrorCode::INTERNAL_ERROR,
                message,
                "shutdown",
                hint,
            ));
        }
        if session.uses(server) && pinned && session.is_rebuilt() {
            let lost = format!(
                "server `{server}`: the gateway began another session with it; what an earlier one held is lost"
            );
            if session.is_legacy {
                let params = json!({ "level": "warning", "logger": "mcp-pool", "data": lost });
                let notice = message::notification("notifications/message", &params);
                self.outbox.push(Item::Message(notice));
            } else {
                // A modern client has messages of the level alone that its request names; each result has `_meta`.
                let _ = self.lost.set(lost);
            }
        }
        Ok(())
    }

    /// `None` if the client expects no response.
    fn outcome(
        &self,
        replied: Result<Reply, Failure>,
        adjust: impl FnOnce(Reply) -> Box<RawValue>,
    ) -> Option<Outcome> {
        let cancelled = self.entry.cancel.is_cancelled();
        Some(match replied {
            Ok(reply) => Ok(with_notice(adjust(reply), self.lost.get())),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Failed(error)) if error.kind() != ErrorKind::Cancelled || !cancelled => {
                Err(error.to_protocol())
            }
            Err(Failure::Failed(_) | Failure::Cancelled) => {
                if !self.gateway.shutdown.is_draining() {
                    return None;
                }
                let hint =
                    "the request may have been carried out; call again when the gateway is back";
                let (code, message) = (ErrorCode::INTERNAL_ERROR, "the gateway ends");
                Err(own_error(code, message, "shutdown", hint))
            }
        })
    }
}

/// The result with a notice of lost state among its `_meta`.
fn with_notice(result: Box<RawValue>, lost: Option<&String>) -> Box<RawValue> {
    let Some(lost) = lost else { return result };
    let mut members = Members::of(&result);
    let mut meta = members.get("_meta").map(Members::of).unwrap_or_default();
    meta.set(LOST, message::json(lost));
    members.set("_meta", meta.written());
    members.written()
}

/// Requests during which a server may ask the client.
const ASKING: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];
/// What a modern client says to the gateway, which speaks for itself to servers.
const OF_ONE_HOP: [&str; 3] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];
/// Tells a modern client, once, that a pinned server's state is lost.
const LOST: &str = "mcp-pool/state-lost";
/// How long a cancelled call may take to say so.
const CANCELLING: Duration = Duration::from_secs(1);
