//! The HTTP endpoint: reads a message, finds the session it belongs to, and writes the answer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    body::{Body, to_bytes},
    extract::{Path as Param, Request, State},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use mcp_http_server::Peer;
use rmcp::{
    ErrorData,
    model::{ErrorCode, ProtocolVersion},
};
use serde_json::value::RawValue;

use crate::{
    forwarded::{self, Forwarded},
    gateway::Inner,
    legacy,
    message::{self, Incoming, Message, own_error},
    modern,
    path::Path,
    principal::Principal,
    session::Session,
    sessions::NoSession,
    stream,
};

const SESSION_ID: &str = "mcp-session-id";
/// Names the connection of a client without a session, such as a `mcp-pool connect`: clients of different ones share no state.
const CONNECTION: &str = "mcp-pool-connection";

pub(crate) async fn all(State(gateway): State<Arc<Inner>>, request: Request) -> Response<Body> {
    serve(gateway, Path::All, request).await
}

pub(crate) async fn server(
    State(gateway): State<Arc<Inner>>,
    Param(name): Param<String>,
    request: Request,
) -> Response<Body> {
    serve(gateway, Path::Server(name), request).await
}

pub(crate) async fn profile(
    State(gateway): State<Arc<Inner>>,
    Param(name): Param<String>,
    request: Request,
) -> Response<Body> {
    serve(gateway, Path::Profile(name), request).await
}

/// What all messages of a request share.
struct Context {
    gateway: Arc<Inner>,
    principal: Principal,
    path: Path,
    headers: HeaderMap,
    forwarded: Forwarded,
    /// The scope of the connection that the request came by, if it says so and is of this user.
    connection: Option<String>,
}

async fn serve(gateway: Arc<Inner>, path: Path, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let principal = parts
        .extensions
        .get()
        .cloned()
        .unwrap_or_else(Principal::local);
    let forwarded = Forwarded::of(&gateway.manager.gateway_config(), &parts.headers);
    // The header is accepted over the Unix socket alone.
    let is_local = matches!(parts.extensions.get(), Some(Peer::Unix));
    let connection = parts.headers.get(CONNECTION).filter(|_| is_local);
    let connection = connection.map(|name| modern::scope_of_connection(name.as_bytes()));
    if gateway.view(&path, &principal, &forwarded).is_none() {
        let message = format!("nothing is served at {path}");
        let hint = "see `/mcp`, and the names of servers and profiles";
        return refused(StatusCode::NOT_FOUND, &message, hint);
    }
    let context = Context {
        gateway,
        principal,
        path,
        headers: parts.headers,
        forwarded,
        connection,
    };
    match parts.method {
        Method::POST => match to_bytes(body, context.gateway.settings.max_message_size).await {
            Ok(body) => context.post(&body).await,
            Err(_) => {
                let message = "the message is too long, or was not sent to its end";
                refused(StatusCode::PAYLOAD_TOO_LARGE, message, "send less at once")
            }
        },
        Method::GET => context.get(),
        Method::DELETE => context.delete(),
        _ => not_allowed(),
    }
}

impl Context {
    async fn post(&self, body: &Bytes) -> Response<Body> {
        let message = match Message::parse(body) {
            Ok(message) => message,
            Err(error) => return failed(StatusCode::BAD_REQUEST, None, &error),
        };
        match message {
            Message::Request(incoming) if incoming.method == "initialize" => {
                self.initialize(&incoming).await
            }
            Message::Request(incoming) if modern::is_modern(self.version(), &incoming) => {
                self.modern(incoming).await
            }
            Message::Request(incoming) => {
                let session = match self.session() {
                    Ok(session) => session,
                    Err(response) => return *response,
                };
                let id = incoming.id.clone();
                match legacy::request(&self.gateway, &session, incoming) {
                    Ok(answer) => answer.respond(self.gateway.settings.keep_alive).await,
                    Err(error) => failed(StatusCode::OK, Some(&id), &error),
                }
            }
            // A modern client has nothing to say that a closed stream does not.
            Message::Notification { .. } | Message::Response { .. }
                if self
                    .version()
                    .is_some_and(|version| version >= modern::VERSION) =>
            {
                accepted()
            }
            Message::Notification { method, params } => match self.session() {
                Ok(session) => {
                    legacy::notification(&session, &method, params.as_deref());
                    accepted()
                }
                Err(response) => *response,
            },
            Message::Response { id, outcome } => match self.session() {
                Ok(session) => {
                    session.questions.answer(&id, outcome);
                    accepted()
                }
                Err(response) => *response,
            },
        }
    }

    async fn initialize(&self, incoming: &Incoming) -> Response<Body> {
        let client = match legacy::introduced(incoming) {
            Ok(client) => client,
            Err(error) => return failed(StatusCode::OK, Some(&incoming.id), &error),
        };
        let Some(view) = self
            .gateway
            .view(&self.path, &self.principal, &self.forwarded)
        else {
            return unknown_session();
        };
        let result = legacy::welcome(&view, &client.protocol_version).await;
        let id = legacy::issue(&self.gateway, &self.principal, &self.path, &client);
        let mut response =
            stream::json(StatusCode::OK, message::response(&incoming.id, &Ok(result)));
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(SESSION_ID, id);
        }
        response
    }

    async fn modern(&self, incoming: Incoming) -> Response<Body> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = incoming.id.clone();
        let introduced = match modern::introduced(Some(&self.headers), &incoming) {
            Ok(introduced) => introduced,
            Err(error) => return failed(StatusCode::BAD_REQUEST, Some(&id), &error),
        };
        // A modern client has no session: its principal and its address stand for it, and the connection if there is one.
        let mut scope = introduced.scope(&format!("{} {}", self.principal, self.path));
        if let Some(connection) = &self.connection {
            scope = forwarded::within(connection, &scope);
        }
        let scope = self.forwarded.scope(scope);
        let session = modern::session(
            &self.gateway,
            &introduced,
            &scope,
            &self.principal,
            &self.path,
            &self.forwarded,
        );
        let session = match session {
            Ok(session) => session,
            Err(none) => return self.no_session(none),
        };
        // Clients that share the session may use the same ids.
        let key = format!("#{}", NEXT.fetch_add(1, Ordering::Relaxed)).into();
        match modern::request(&self.gateway, &session, introduced, incoming, key).await {
            Ok(answer) => answer.respond(self.gateway.settings.keep_alive).await,
            Err(error) => failed(stream::status_of(&error), Some(&id), &error),
        }
    }

    fn get(&self) -> Response<Body> {
        if self
            .version()
            .is_some_and(|version| version >= modern::VERSION)
        {
            return not_allowed();
        }
        let accepts = self
            .headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok());
        if !accepts
            .is_none_or(|accepts| accepts.contains("text/event-stream") || accepts.contains("*/*"))
        {
            let message = "this address answers GET with `text/event-stream` alone";
            return refused(StatusCode::NOT_ACCEPTABLE, message, "accept it");
        }
        match self.session() {
            Ok(session) => {
                let first = Bytes::from_static(stream::COMMENT);
                legacy::listen(&self.gateway, &session)
                    .stream(first, self.gateway.settings.keep_alive)
            }
            Err(response) => *response,
        }
    }

    fn delete(&self) -> Response<Body> {
        if let Some(connection) = &self.connection
            && !self.headers.contains_key(SESSION_ID)
        {
            self.gateway.sessions.end_connection(connection);
            return no_content();
        }
        match self.session() {
            Ok(session) => {
                self.gateway.sessions.end(&session.scope);
                no_content()
            }
            Err(response) => *response,
        }
    }

    fn version(&self) -> Option<&str> {
        self.headers.get("mcp-protocol-version")?.to_str().ok()
    }

    /// The session that the request names.
    fn session(&self) -> Result<Arc<Session>, Box<Response<Body>>> {
        let known = |version: &str| {
            let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
            known.any(|known| known.as_str() == version)
        };
        if let Some(version) = self.version()
            && !known(version)
        {
            let message = format!(
                "protocol version `{}` is not supported",
                version.escape_debug()
            );
            let hint = "send that of the session";
            return Err(Box::new(refused(StatusCode::BAD_REQUEST, &message, hint)));
        }
        let Some(id) = self.headers.get(SESSION_ID) else {
            let message = "header Mcp-Session-Id is missing";
            let hint = "initialize first";
            return Err(Box::new(refused(StatusCode::BAD_REQUEST, message, hint)));
        };
        let id = id.to_str().unwrap_or_default();
        legacy::session(
            &self.gateway,
            id,
            &self.principal,
            &self.path,
            &self.forwarded,
        )
        .map_err(|none| Box::new(self.no_session(none)))
    }

    fn no_session(&self, none: NoSession) -> Response<Body> {
        let (status, who) = match none {
            NoSession::Ended => return unknown_session(),
            NoSession::PrincipalFull => (StatusCode::TOO_MANY_REQUESTS, "this principal"),
            NoSession::Full => (StatusCode::SERVICE_UNAVAILABLE, "the gateway"),
        };
        let message = format!("too many sessions of {who} are in use");
        let mut response = refused(status, &message, "end sessions, or try again later");
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        response
    }
}

/// The same for an id that is forged, too old, ended, or of another principal.
fn unknown_session() -> Response<Body> {
    refused(
        StatusCode::NOT_FOUND,
        "the session is unknown",
        "initialize again",
    )
}

fn refused(status: StatusCode, message: &str, hint: &str) -> Response<Body> {
    let error = own_error(
        ErrorCode::INVALID_REQUEST,
        message.to_owned(),
        "receive",
        hint,
    );
    failed(status, None, &error)
}

fn failed(status: StatusCode, id: Option<&RawValue>, error: &ErrorData) -> Response<Body> {
    let null = message::json(&());
    let message = message::response(id.unwrap_or(&null), &Err(error.clone()));
    stream::json(status, message)
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn not_allowed() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let allowed = HeaderValue::from_static("GET, POST, DELETE");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
