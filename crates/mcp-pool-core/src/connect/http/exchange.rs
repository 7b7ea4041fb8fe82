//! One POST and its reply.
//!
//! The reply to a POST with one request is that request's, whatever status it has and whatever id it lost. It is found by
//! its envelope and otherwise left as the server wrote it. A session that the server has forgotten may be told by 404 as the
//! protocol has it, by 400 or by a JSON-RPC error: where that is not certain, a ping on the same session decides.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::{RequestBuilder, Response};
use rmcp::model::{ErrorCode, ErrorData, RequestId};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    client::{Headers, SessionClient},
    failure::{FailureKind, HttpFailure},
    link::{Listening, Routed},
    response::{
        JSON, MediaType, QUOTED_BODY, body, failure_of, media_type, not_mcp, refusal, text_of,
        words_in,
    },
    stream::EventStream,
};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEPTED: &str = "application/json, text/event-stream";

/// How long a server has to say that it took a message that wants no reply.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// What a server replied: the result as it wrote it, or its error.
pub(super) type Outcome = Result<Box<RawValue>, ErrorData>;

/// The session that a message belongs to, as its server knows it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) uri: Arc<str>,
    pub(super) session: Option<Arc<str>>,
    /// Without those that the protocol sets itself.
    pub(super) headers: Headers,
    /// All headers of a POST.
    all: HeaderMap,
}

impl Target {
    pub(super) fn new(uri: &Arc<str>, session: Option<&Arc<str>>, headers: Headers) -> Self {
        let mut all = with_session(session, &headers);
        all.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        all.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        Self {
            uri: Arc::clone(uri),
            session: session.cloned(),
            headers,
            all,
        }
    }
}

/// A request about to be posted.
#[derive(Debug)]
pub(super) struct Posting<'a> {
    pub(super) id: i64,
    pub(super) method: &'a str,
    pub(super) body: Vec<u8>,
    /// Headers of this request beside those of its session.
    pub(super) headers: HeaderMap,
}

impl SessionClient {
    /// Sends a message that wants no reply.
    pub(super) async fn post_notice(
        &self,
        target: &Target,
        body: Vec<u8>,
    ) -> Result<(), HttpFailure> {
        let sent = timeout(TAKEN_WITHIN, self.send(target, body, HeaderMap::new()));
        // There is nothing to wait for: a server that leaves its answer out has read it all the same.
        let Ok(sent) = sent.await else { return Ok(()) };
        let response = sent?;
        match response.status().as_u16() {
            // Whatever else it says: nothing was asked.
            200..=299 => Ok(()),
            404 if target.session.is_some() => Err(HttpFailure::forgotten()),
            _ => Err(refusal(response).await),
        }
    }

    /// Sends a request, and returns its reply with the session that the response names.
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed.
    pub(super) async fn post_request(
        &self,
        target: &Target,
        request: Posting<'_>,
    ) -> Result<(Outcome, Option<String>), HttpFailure> {
        let Posting {
            id,
            method,
            body,
            headers,
        } = request;
        let response = self.send(target, body, headers).await?;
        let given = text_of(response.headers(), &SESSION_ID);
        let answer = self.answer(response, id, target).await;
        let answer = as_of_a_legacy_server(method, answer);
        if target.session.is_some() && hints_at_a_forgotten_session(&answer) {
            let certain = method == "ping" || is_certain(&answer);
            if certain || self.refuses_a_ping(target).await {
                return Err(HttpFailure::forgotten());
            }
        }
        answer.map(|reply| (reply, given))
    }

    async fn send(
        &self,
        target: &Target,
        body: Vec<u8>,
        headers: HeaderMap,
    ) -> Result<Response, HttpFailure> {
        if body.len() > self.max_message_size {
            let message = format!(
                "the message has {} bytes, more than {} (max_message_size)",
                body.len(),
                self.max_message_size
            );
            return Err(HttpFailure::new(FailureKind::TooLarge, message));
        }
        let mut all = target.all.clone();
        all.extend(headers);
        let request = self.http.request(Method::POST, &target.uri);
        self.http.send(request.headers(all).body(body)).await
    }

    /// The reply in a response.
    async fn answer(
        &self,
        response: Response,
        id: i64,
        target: &Target,
    ) -> Result<Outcome, HttpFailure> {
        let status = response.status().as_u16();
        match (status, media_type(response.headers())) {
            (202 | 204, _) => self.on_the_other_stream(target).await,
            (200..=299, MediaType::Events) => {
                let stream = EventStream::new(response, self.max_message_size);
                self.reply_among_events(stream, id, target).await
            }
            (200..=299, MediaType::Json) => {
                let body = body(response, self.max_message_size).await?;
                self.reply_in(body, id).await
            }
            (200..=299, MediaType::Other(found)) => {
                let message =
                    format!("the server does not speak MCP at this URL (content type: {found})");
                Err(HttpFailure::new(FailureKind::NotMcp, message))
            }
            (401 | 403 | 429, _) | (_, MediaType::Events | MediaType::Other(_)) => {
                Err(refusal(response).await)
            }
            (_, MediaType::Json) => {
                let failure = failure_of(&response);
                let body = body(response, self.max_message_size).await?;
                let words = words_in(&body, true);
                match self.reply_in(body, id).await {
                    Ok(Err(error))
                        if target.session.is_none() || !tells_of_the_session(status, &error) =>
                    {
                        Ok(Err(error))
                    }
                    _ => Err(failure(&words)),
                }
            }
        }
    }

    /// The reply in a body. An error is taken for it whatever its id: proxies and SDKs that could not read the id put one of
    /// their own.
    async fn reply_in(&self, body: Vec<u8>, id: i64) -> Result<Outcome, HttpFailure> {
        let quoted = body[..body.len().min(QUOTED_BODY)].to_vec();
        match self.take(body, Some(id)).await {
            Some(Routed::Reply(reply)) => Ok(reply),
            Some(Routed::Stray(other, reply)) => in_place_of_reply(other, reply, id),
            Some(Routed::Passed) => Err(HttpFailure::no_reply(
                "the server sent another message in place of the reply",
            )),
            None => Err(not_mcp(&quoted)),
        }
    }

    /// The server has taken the request, and answers on the stream for everything else: what reads that
    /// stream has the reply.
    async fn on_the_other_stream(&self, target: &Target) -> Result<Outcome, HttpFailure> {
        if target.session.is_some() {
            let mut listening = self.link.listening.subscribe();
            let closed = listening.wait_for(|listening| *listening == Listening::Closed);
            drop(closed.await);
        }
        let message = "the server took the request (HTTP 202) and has no stream to answer it on";
        Err(HttpFailure::no_reply(message))
    }

    /// Whether the server does not even know the session when it is pinged.
    async fn refuses_a_ping(&self, target: &Target) -> bool {
        const WITHIN: Duration = Duration::from_secs(5);
        /// Below those of all requests.
        const ID: i64 = -1;
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":"ping"}}"#);
        let answer = async {
            let sent = self.send(target, ping.into(), HeaderMap::new());
            self.answer(sent.await?, ID, target).await
        };
        match timeout(WITHIN, answer).await {
            Ok(answer) => is_certain(&answer) || hints_at_a_forgotten_session(&answer),
            Err(_) => false,
        }
    }

    pub(super) async fn delete(
        &self,
        uri: &Arc<str>,
        session: &Arc<str>,
        headers: &Headers,
    ) -> Result<(), HttpFailure> {
        let request = self.http.request(Method::DELETE, uri);
        let request = with_headers(request, Some(session), headers);
        let response = self.http.send(request).await?;
        match response.status().as_u16() {
            // It keeps its sessions to itself, or has lost this one already.
            200..=299 | 400 | 404 | 405 | 501 => Ok(()),
            _ => Err(refusal(response).await),
        }
    }
}

/// A legacy server may refuse `server/discover` by any status of a client's fault: for rmcp it is an error of JSON-RPC.
fn as_of_a_legacy_server(
    method: &str,
    answer: Result<Outcome, HttpFailure>,
) -> Result<Outcome, HttpFailure> {
    match answer {
        Err(failure)
            if method == "server/discover"
                && matches!(failure.kind(), FailureKind::Status(400..=499))
                && !matches!(failure.kind(), FailureKind::Status(401 | 403 | 429)) =>
        {
            Ok(Err(ErrorData::invalid_request(failure.to_string(), None)))
        }
        answer => answer,
    }
}

/// A server may say 404 of a method that it does not have, too.
fn tells_of_the_session(status: u16, error: &ErrorData) -> bool {
    status == 404 && error.code != ErrorCode::METHOD_NOT_FOUND
}

/// Whether a refusal speaks of the session.
fn hints_at_a_forgotten_session(answer: &Result<Outcome, HttpFailure>) -> bool {
    let said = match answer {
        Ok(Err(error)) => error.message.to_lowercase(),
        Err(failure) => match failure.kind() {
            FailureKind::Status(404) => return true,
            FailureKind::Status(400 | 409 | 410 | 422) => failure.to_string().to_lowercase(),
            _ => return false,
        },
        Ok(Ok(_)) => return false,
    };
    said.contains("session") || said.contains("initialize")
}

/// The status that the protocol has for it.
fn is_certain(answer: &Result<Outcome, HttpFailure>) -> bool {
    matches!(answer, Err(failure) if failure.kind() == FailureKind::Status(404))
}

/// A reply to nothing that was asked, where the reply to `id` should be. An error is taken for that: proxies and SDKs that
/// could not read the id put one of their own.
pub(super) fn in_place_of_reply(
    other: Option<RequestId>,
    reply: Outcome,
    id: i64,
) -> Result<Outcome, HttpFailure> {
    match (reply, other) {
        (Err(error), _) => Ok(Err(error)),
        (Ok(_), Some(other)) => Err(HttpFailure::no_reply(format!(
            "the server replied with id {other} to the request with id {id}"
        ))),
        (Ok(_), None) => Err(HttpFailure::no_reply(
            "the server sent another message in place of the reply",
        )),
    }
}

/// With the headers of the session and its id.
pub(super) fn with_headers(
    request: RequestBuilder,
    session: Option<&Arc<str>>,
    headers: &Headers,
) -> RequestBuilder {
    request.headers(with_session(session, headers))
}

/// The headers of the session and its id. Headers that the protocol sets are left out: people copy such headers from
/// examples.
fn with_session(session: Option<&Arc<str>>, headers: &Headers) -> HeaderMap {
    const OF_THE_PROTOCOL: [HeaderName; 4] = [ACCEPT, CONTENT_TYPE, SESSION_ID, LAST_EVENT_ID];
    let mut all = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        if !OF_THE_PROTOCOL.contains(name) {
            all.insert(name, value.clone());
        }
    }
    if let Some(Ok(session)) = session.map(|session| HeaderValue::from_str(session)) {
        all.insert(SESSION_ID, session);
    }
    all
}
