//! Questions of servers to the client whose call caused them: sampling, elicitation, roots.
//!
//! A question travels on the stream of its call. A legacy client answers it by a message of its own, a modern one by sending
//! its request again.

#![allow(
    deprecated,
    reason = "sampling and roots are deprecated by the protocol, and servers still ask for them"
)]

use std::{
    collections::HashMap,
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use mcp_pooled_tools::{Attribution, FromServer, RawParams};
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleClient,
    model::{
        ClientConfig, ClientResult, CreateMessageResult, CustomResult, ElicitResult, EmptyResult,
        ErrorCode, Implementation, ListRootsResult, LoggingMessageNotificationParam,
        ServerNotification, ServerRequest,
    },
    service::{NotificationContext, RequestContext, Service},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};
use tokio::sync::oneshot;

use crate::{
    keys,
    log_level::LogLevel,
    members::Members,
    message::{self, Outcome, own_error},
    session::Session,
    stream::{Item, Outbox},
};

/// Questions of one session that wait for an answer.
#[derive(Debug)]
pub(crate) struct Questions {
    /// Differs from that of the session in another process, whose answers may come late.
    prefix: String,
    next: AtomicU64,
    open: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
}

impl Questions {
    pub(crate) fn new() -> Self {
        Self {
            prefix: format!("mcp-pool-{:08x}", u32::from_be_bytes(keys::random())),
            next: AtomicU64::new(1),
            open: Mutex::default(),
        }
    }

    fn open(&self) -> (String, oneshot::Receiver<Outcome>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.prefix);
        let (sender, receiver) = oneshot::channel();
        self.open.lock().insert(id.clone(), sender);
        (id, receiver)
    }

    fn close(&self, id: &str) {
        self.open.lock().remove(id);
    }

    /// Passes an answer on. One that no question waits for is dropped.
    pub(crate) fn answer(&self, id: &str, outcome: Outcome) {
        if let Some(question) = self.open.lock().remove(id) {
            let _ = question.send(outcome);
        }
    }
}

/// A question that waits for its answer. Dropped before, it is withdrawn.
struct Open<'a> {
    questions: &'a Questions,
    id: &'a str,
    /// Where its withdrawal is sent.
    withdraw: Option<&'a Outbox>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.questions.close(self.id);
        if let Some(outbox) = self.withdraw {
            let params = json!({ "requestId": self.id });
            let withdrawn = message::notification("notifications/cancelled", &params);
            outbox.push(Item::Message(withdrawn));
        }
    }
}

/// Passes what a server asks on to the client.
pub(crate) struct Handler {
    pub(crate) session: Weak<Session>,
    pub(crate) ask: Ask,
    /// The least log level that is passed on, where the request has one.
    pub(crate) level: Option<LogLevel>,
}

/// The way of a question to the client.
pub(crate) enum Ask {
    /// A request on the stream of the call.
    OnStream(Outbox),
    /// The result of the call's request, which the client sends again with the answer.
    InResult(Outbox),
    /// A request on the stream of the session: it belongs to no call.
    OnSession,
}

impl Service<RoleClient> for Handler {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        let gone = || {
            own_error(
                ErrorCode::INTERNAL_ERROR,
                "the client has gone",
                "question",
                "call again",
            )
        };
        if matches!(request, ServerRequest::PingRequest(_)) {
            return Ok(ClientResult::EmptyResult(EmptyResult {}));
        }
        let session = self.session.upgrade().ok_or_else(gone)?;
        let question = Question::of(&request, &context)?;
        check(&session, &question.method)?;
        self.attributed(&session, &context)?;
        let outbox = match &self.ask {
            Ask::OnStream(outbox) | Ask::InResult(outbox) => outbox.clone(),
            Ask::OnSession => session.stream().ok_or_else(gone)?,
        };
        let (id, answer) = session.questions.open();
        let is_request = !matches!(self.ask, Ask::InResult(_));
        let mut open = Open {
            questions: &session.questions,
            id: &id,
            withdraw: is_request.then_some(&outbox),
        };
        let question = match &self.ask {
            Ask::InResult(_) => Item::Question((id.clone(), message::json(&question))),
            _ => Item::Message(message::request(
                &id,
                &question.method,
                question.params.as_deref(),
            )),
        };
        let outcome = match outbox.push(question) {
            false => Err(gone()),
            true => tokio::select! {
                answer = answer => {
                    open.withdraw = None;
                    answer.unwrap_or_else(|_| Err(gone()))
                }
                () = context.ct.cancelled() => Err(gone()),
                () = outbox.closed() => Err(gone()),
                () = session.end.cancelled() => Err(gone()),
            },
        };
        typed(&request, &outcome?)
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        let Some(session) = self.session.upgrade() else {
            return Ok(());
        };
        if let ServerNotification::CustomNotification(custom) = &notification
            && custom.method == COMPLETED
        {
            let params = custom.params.clone().unwrap_or_else(|| json!({}));
            self.pass_on(&session, message::notification(COMPLETED, &params));
        }
        if let ServerNotification::LoggingMessageNotification(log) = notification
            && is_wanted(&log.params, self.level.or(session.level()))
            // A modern client gets messages only if its request says so.
            && (self.level.is_some() || !matches!(self.ask, Ask::InResult(_)))
        {
            let log = message::notification("notifications/message", &log.params);
            self.pass_on(&session, log);
        }
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let capabilities = self
            .session
            .upgrade()
            .map(|session| session.client.capabilities.clone());
        declared(capabilities.unwrap_or_default())
    }
}

impl Handler {
    /// Whether the question belongs to the call of this handler. Modern clients that can do the same share a session: a
    /// question must not reach another one than that whose call caused it.
    fn attributed(
        &self,
        session: &Session,
        context: &RequestContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        let attribution = context.extensions.get::<Attribution>();
        let (Ask::InResult(_), Some(attribution)) = (&self.ask, attribution) else {
            return Ok(());
        };
        if *attribution == Attribution::Stream {
            return Ok(());
        }
        if let Some(FromServer(server)) = context.extensions.get() {
            session.turns.asks(server);
        }
        if *attribution == Attribution::OnlyCall {
            return Ok(());
        }
        let message =
            "several calls are under way, and the server does not say which one it asks for";
        let hint = "call again: this server has one call at a time from now on";
        Err(own_error(
            ErrorCode::INTERNAL_ERROR,
            message,
            "question",
            hint,
        ))
    }

    fn pass_on(&self, session: &Session, notification: Bytes) {
        let message = Item::Message(notification);
        match &self.ask {
            Ask::OnStream(outbox) | Ask::InResult(outbox) => outbox.push(message),
            Ask::OnSession => session.push(message),
        };
    }
}

/// What is declared to servers about a client: what it can do. Its name is left out, so that clients which can do the same share
/// sessions.
pub(crate) fn declared(mut capabilities: rmcp::model::ClientCapabilities) -> ClientConfig {
    capabilities.experimental = None;
    ClientConfig::new(
        capabilities,
        Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION")),
    )
}

/// What a manager declares for all clients of its gateway, as its
/// [`client_info`](mcp_pooled_tools::ConnectionManagerBuilder::client_info): some servers list tools only for clients that can
/// answer their questions. A question still goes to a client that can answer it, and to no other.
pub fn listing_client() -> ClientConfig {
    let capabilities = serde_json::json!({
        "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {},
    });
    declared(serde_json::from_value(capabilities).expect("these are capabilities"))
}

/// Whether a log message is wanted where `least` is the least severity.
pub(crate) fn is_wanted(log: &LoggingMessageNotificationParam, least: Option<LogLevel>) -> bool {
    let level = serde_json::from_str(message::json(&log.level).get());
    least.is_none_or(|least| level.map_or(true, |level: LogLevel| level >= least))
}

/// What a server asks, as it wrote it where that is known.
#[derive(Debug, Deserialize, Serialize)]
struct Question {
    method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    params: Option<Box<RawValue>>,
}

impl Question {
    /// # Errors
    /// A JSON-RPC error for a request that cannot be written.
    fn of(
        request: &ServerRequest,
        context: &RequestContext<RoleClient>,
    ) -> Result<Self, ErrorData> {
        let unwritable = |error: serde_json::Error| {
            let message = format!("request of the server: {error}");
            ErrorData::internal_error(message, None)
        };
        let written = serde_json::to_string(request).map_err(unwritable)?;
        let mut question: Self = serde_json::from_str(&written).map_err(unwritable)?;
        if let Some(RawParams(params)) = context.extensions.get() {
            question.params = Some(without_progress(params));
        }
        Ok(question)
    }
}

/// The parameters without the token for progress: what a client says to it would name no request of the server.
fn without_progress(params: &RawValue) -> Box<RawValue> {
    const TOKEN: &str = "progressToken";
    let mut members = Members::of(params);
    let Some(mut meta) = members.get("_meta").map(Members::of) else {
        return params.to_owned();
    };
    if !meta.remove(TOKEN) {
        return params.to_owned();
    }
    members.set("_meta", meta.written());
    members.written()
}

/// # Errors
/// If the client cannot answer such a question.
fn check(session: &Session, method: &str) -> Result<(), ErrorData> {
    let can = &session.client.capabilities;
    let (able, what) = match method {
        "sampling/createMessage" => (can.sampling.is_some(), "sampling"),
        "elicitation/create" => (can.elicitation.is_some(), "elicitation"),
        "roots/list" => (can.roots.is_some(), "roots"),
        _ => (session.client.can_be_asked(), "custom requests"),
    };
    if able {
        return Ok(());
    }
    let message = format!("the client does not support {what}");
    let hint = "use a client that does, or a tool that asks for nothing";
    Err(own_error(
        ErrorCode::METHOD_NOT_FOUND,
        message,
        "question",
        hint,
    ))
}

/// The answer as the client wrote it, if it is one to the question.
fn typed(request: &ServerRequest, answer: &RawValue) -> Result<ClientResult, ErrorData> {
    fn parse<T: DeserializeOwned>(answer: &RawValue) -> Result<T, ErrorData> {
        serde_json::from_str(answer.get()).map_err(|error| {
            let message = format!("answer of the client: {error}");
            own_error(
                ErrorCode::INVALID_PARAMS,
                message,
                "question",
                "mend the client",
            )
        })
    }
    match request {
        ServerRequest::CreateMessageRequest(_) => drop(parse::<CreateMessageResult>(answer)?),
        ServerRequest::ElicitRequest(_) => drop(parse::<ElicitResult>(answer)?),
        ServerRequest::ListRootsRequest(_) => drop(parse::<ListRootsResult>(answer)?),
        _ => {}
    }
    // Typed, it would lose the fields that rmcp does not know.
    parse(answer).map(|answer| ClientResult::CustomResult(CustomResult::new(answer)))
}

/// Tells that what a server asked for at a URL is done.
const COMPLETED: &str = "notifications/elicitation/complete";
