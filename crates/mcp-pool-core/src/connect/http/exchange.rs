//! One POST and what comes back.
//!
//! The reply to a POST with one request is that request's, whatever status it has and whatever id it lost. A session that
//! the server has forgotten may be told by 404 as the protocol has it, by 400 or by a JSON-RPC error: where that is not
//! certain, a ping on the same session decides.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::{RequestBuilder, Response};
use rmcp::{
    model::{
        ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, PingRequest,
        RequestId, ServerJsonRpcMessage,
    },
    transport::streamable_http_client::StreamableHttpPostResponse,
};
use tokio::time::timeout;

use super::{
    client::{Headers, SessionClient},
    failure::{FailureKind, HttpFailure},
    link::{Link, Listening, Routed},
    response::{
        JSON, MediaType, body, failure_of, media_type, not_mcp, refusal, text_of, words_in,
    },
    stream::{EventStream, Resumption},
};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEPTED: &str = "application/json, text/event-stream";

/// How long a server has to say that it took a message that wants no reply.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

impl SessionClient {
    /// Sends a message. To a request, the response is its reply.
    pub(super) async fn post(
        &self,
        uri: &Arc<str>,
        message: &ClientJsonRpcMessage,
        session: Option<&Arc<str>>,
        headers: &Headers,
    ) -> Result<StreamableHttpPostResponse, HttpFailure> {
        let JsonRpcMessage::Request(request) = message else {
            let sent = timeout(TAKEN_WITHIN, self.send(uri, message, session, headers));
            // There is nothing to wait for: a server that leaves its answer out has read it all the same.
            let Ok(sent) = sent.await else {
                return Ok(StreamableHttpPostResponse::Accepted);
            };
            let response = sent?;
            return match response.status().as_u16() {
                // Whatever else it says: nothing was asked.
                200..=299 => Ok(StreamableHttpPostResponse::Accepted),
                404 if session.is_some() => Err(HttpFailure::forgotten()),
                _ => Err(refusal(response).await),
            };
        };
        let mut expected = self.link.expect(&request.id);
        let reply = async {
            let response = self.send(uri, message, session, headers).await?;
            let given = text_of(response.headers(), &SESSION_ID);
            let answer = self.answer(response, &request.id, (uri, session, headers));
            Ok((answer.await, given))
        };
        let (answer, given) = tokio::select! {
            biased;
            reply = expected.elsewhere() => return Ok(StreamableHttpPostResponse::Json(reply, None)),
            reply = reply => reply?,
        };
        let answer = as_of_a_legacy_server(&request.request, &request.id, answer);
        let is_ping = matches!(request.request, ClientRequest::PingRequest(_));
        if session.is_some() && hints_at_a_forgotten_session(&answer) {
            let certain = is_ping || is_certain(&answer);
            if certain || self.refuses_a_ping(uri, session, headers).await {
                return Err(HttpFailure::forgotten());
            }
        }
        answer.map(|reply| StreamableHttpPostResponse::Json(reply, given))
    }

    async fn send(
        &self,
        uri: &Arc<str>,
        message: &ClientJsonRpcMessage,
        session: Option<&Arc<str>>,
        headers: &Headers,
    ) -> Result<Response, HttpFailure> {
        let body = serde_json::to_vec(message).map_err(|error| {
            let message = format!("the message cannot be written as JSON: {error}");
            HttpFailure::new(FailureKind::TooLarge, message)
        })?;
        if body.len() > self.max_message_size {
            let message = format!(
                "the message has {} bytes, more than {} (max_message_size)",
                body.len(),
                self.max_message_size
            );
            return Err(HttpFailure::new(FailureKind::TooLarge, message));
        }
        let request = self
            .http
            .request(Method::POST, uri)
            .header(ACCEPT, ACCEPTED)
            .header(CONTENT_TYPE, JSON)
            .body(body);
        let request = with_headers(request, session, headers);
        self.http.send(request).await
    }

    /// The reply in a response, with the id of its request.
    async fn answer(
        &self,
        response: Response,
        id: &RequestId,
        (uri, session, headers): (&Arc<str>, Option<&Arc<str>>, &Headers),
    ) -> Result<ServerJsonRpcMessage, HttpFailure> {
        let status = response.status().as_u16();
        match (status, media_type(response.headers())) {
            (202 | 204, _) => self.on_the_other_stream(session).await,
            (200..=299, MediaType::Events) => {
                let resumption = Resumption {
                    client: self,
                    uri,
                    session,
                    headers,
                };
                let stream = EventStream::new(response, self.max_message_size);
                self.reply_among_events(stream, id, resumption).await
            }
            (200..=299, MediaType::Json) => {
                let body = body(response, self.max_message_size).await?;
                match self.decode(&body).await {
                    Some(message) => expect_reply(&self.link, message, id).await,
                    None => Err(not_mcp(&body)),
                }
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
                match self.decode(&body).await {
                    Some(error @ JsonRpcMessage::Error(_))
                        if session.is_none() || !tells_of_the_session(status, &error) =>
                    {
                        expect_reply(&self.link, error, id).await
                    }
                    _ => Err(failure(&words_in(&body, true))),
                }
            }
        }
    }

    /// The server has taken the request, and answers on the stream that it says everything else on.
    async fn on_the_other_stream(
        &self,
        session: Option<&Arc<str>>,
    ) -> Result<ServerJsonRpcMessage, HttpFailure> {
        if session.is_some() {
            let mut listening = self.link.listening.subscribe();
            let closed = listening.wait_for(|listening| *listening == Listening::Closed);
            drop(closed.await);
        }
        let message = "the server took the request (HTTP 202) and has no stream to answer it on";
        Err(HttpFailure::no_reply(message))
    }

    /// Whether the server does not even know the session when it is pinged.
    async fn refuses_a_ping(
        &self,
        uri: &Arc<str>,
        session: Option<&Arc<str>>,
        headers: &Headers,
    ) -> bool {
        const WITHIN: Duration = Duration::from_secs(5);
        let id = RequestId::String("mcp-pool-session-check".into());
        let ping = ClientRequest::PingRequest(PingRequest::default());
        let ping = JsonRpcMessage::request(ping, id.clone());
        let answer = async {
            let response = self.send(uri, &ping, session, headers).await?;
            self.answer(response, &id, (uri, session, headers)).await
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
    request: &ClientRequest,
    id: &RequestId,
    answer: Result<ServerJsonRpcMessage, HttpFailure>,
) -> Result<ServerJsonRpcMessage, HttpFailure> {
    match answer {
        Err(failure)
            if matches!(request, ClientRequest::DiscoverRequest(_))
                && matches!(failure.kind(), FailureKind::Status(400..=499))
                && !matches!(failure.kind(), FailureKind::Status(401 | 403 | 429)) =>
        {
            let error = ErrorData::invalid_request(failure.to_string(), None);
            Ok(JsonRpcMessage::error(error, Some(id.clone())))
        }
        answer => answer,
    }
}

/// A server may say 404 of a method that it does not have, too.
fn tells_of_the_session(status: u16, error: &ServerJsonRpcMessage) -> bool {
    status == 404
        && !matches!(error, JsonRpcMessage::Error(error) if error.error.code == ErrorCode::METHOD_NOT_FOUND)
}

/// Whether a refusal speaks of the session.
fn hints_at_a_forgotten_session(answer: &Result<ServerJsonRpcMessage, HttpFailure>) -> bool {
    let said = match answer {
        Ok(JsonRpcMessage::Error(error)) => error.error.message.to_lowercase(),
        Err(failure) => match failure.kind() {
            FailureKind::Status(404) => return true,
            FailureKind::Status(400 | 409 | 410 | 422) => failure.to_string().to_lowercase(),
            _ => return false,
        },
        Ok(_) => return false,
    };
    said.contains("session") || said.contains("initialize")
}

/// The status that the protocol has for it.
fn is_certain(answer: &Result<ServerJsonRpcMessage, HttpFailure>) -> bool {
    matches!(answer, Err(failure) if failure.kind() == FailureKind::Status(404))
}

/// The reply, where a response holds one message only.
async fn expect_reply(
    link: &Link,
    mut message: ServerJsonRpcMessage,
    id: &RequestId,
) -> Result<ServerJsonRpcMessage, HttpFailure> {
    if let JsonRpcMessage::Error(error) = &mut message {
        error.id = Some(id.clone());
    }
    match link.route(message, Some(id)).await {
        Routed::Reply(reply) => Ok(reply),
        Routed::Stray(other) => in_place_of_reply(other, id),
        Routed::Passed => Err(HttpFailure::no_reply(
            "the server sent another message in place of the reply",
        )),
    }
}

/// A reply to nothing that was asked, where the reply to `id` should be. An error is taken for that: proxies and SDKs that
/// could not read the id put one of their own.
pub(super) fn in_place_of_reply(
    message: ServerJsonRpcMessage,
    id: &RequestId,
) -> Result<ServerJsonRpcMessage, HttpFailure> {
    match message {
        JsonRpcMessage::Error(error) => Ok(JsonRpcMessage::error(error.error, Some(id.clone()))),
        JsonRpcMessage::Response(response) => Err(HttpFailure::no_reply(format!(
            "the server replied with id {} to the request with id {id}",
            response.id
        ))),
        _ => Err(HttpFailure::no_reply(
            "the server sent another message in place of the reply",
        )),
    }
}

/// With the headers of the session and its id. What the protocol sets itself is not theirs to set: people copy such
/// headers from examples.
pub(super) fn with_headers(
    request: RequestBuilder,
    session: Option<&Arc<str>>,
    headers: &Headers,
) -> RequestBuilder {
    const OF_THE_PROTOCOL: [HeaderName; 4] = [ACCEPT, CONTENT_TYPE, SESSION_ID, LAST_EVENT_ID];
    let mut all = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        if !OF_THE_PROTOCOL.contains(name) {
            all.insert(name, value.clone());
        }
    }
    if let Some(Ok(session)) = session.map(|session| HeaderValue::from_str(session)) {
        all.insert(SESSION_ID, session);
    }
    request.headers(all)
}
