//! Clients of protocol version 2026-07-28: every request stands alone.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderMap;
use mcp_pooled_tools::ReplyKind;
use rmcp::{
    ErrorData,
    model::{ClientCapabilities, DiscoverResult, ErrorCode, Implementation, ProtocolVersion},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    call::{self, Manner},
    follow,
    forwarded::Forwarded,
    gateway::Inner,
    keys::{hash, short},
    legacy,
    log_level::LogLevel,
    members::Members,
    message::{self, Incoming, Outcome, own_error},
    parked::{self, State},
    path::Path,
    principal::Principal,
    session::{CallEntry, ClientIdentity, Session},
    sessions::NoSession,
    stream::{self, Answer, Item, Kept, StreamLimits},
};

/// The protocol version of modern clients.
pub(crate) const VERSION: &str = "2026-07-28";

/// What a request says of its client.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<String>,
    #[serde(rename = "io.modelcontextprotocol/clientInfo")]
    client: Option<Implementation>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<ClientCapabilities>,
    #[serde(rename = "io.modelcontextprotocol/logLevel")]
    level: Option<LogLevel>,
}

/// A client, and what its request says beside.
#[derive(Debug)]
pub(crate) struct Introduced {
    client: ClientIdentity,
    level: Option<LogLevel>,
}

/// Whether this is a request of a modern client.
pub(crate) fn is_modern(header: Option<&str>, incoming: &Incoming) -> bool {
    let of_meta = || {
        let meta = incoming.params.as_deref().map(Members::of)?;
        Members::of(meta.get("_meta")?).text("io.modelcontextprotocol/protocolVersion")
    };
    incoming.method == "server/discover"
        || header.is_some_and(|version| version >= VERSION)
        || of_meta().is_some()
}

/// Reads what the request says of its client, and holds its headers against it. Without headers it came over lines.
///
/// # Errors
/// A JSON-RPC error for what is missing or does not agree.
pub(crate) fn introduced(
    headers: Option<&HeaderMap>,
    incoming: &Incoming,
) -> Result<Introduced, ErrorData> {
    let params = incoming
        .params
        .as_deref()
        .map(Members::of)
        .unwrap_or_default();
    let meta = params.get("_meta").map_or("{}", RawValue::get);
    let missing =
        |what: &str| ErrorData::invalid_params(format!("`_meta` of the request: {what}"), None);
    let meta: Meta = serde_json::from_str(meta).map_err(|error| missing(&error.to_string()))?;
    let version = meta
        .version
        .ok_or_else(|| missing("protocolVersion is missing"))?;
    if let Some(headers) = headers {
        expect_header(headers, "mcp-protocol-version", &version)?;
    }
    if version != VERSION {
        let requested = serde_json::from_value(json!(version)).unwrap_or_default();
        return Err(ErrorData::unsupported_protocol_version(
            requested,
            &[ProtocolVersion::V_2026_07_28],
        ));
    }
    let capabilities = meta
        .capabilities
        .ok_or_else(|| missing("clientCapabilities is missing"))?;
    if let Some(headers) = headers {
        check_headers(headers, incoming, &params)?;
    }
    let client = meta.client;
    Ok(Introduced {
        client: ClientIdentity {
            name: client
                .as_ref()
                .map(|client| client.name.clone())
                .unwrap_or_default(),
            version: client.map(|client| client.version).unwrap_or_default(),
            protocol_version: version,
            capabilities,
        },
        level: meta.level,
    })
}

/// Intermediaries route by headers, so these must say what the body says.
fn check_headers(
    headers: &HeaderMap,
    incoming: &Incoming,
    params: &Members,
) -> Result<(), ErrorData> {
    expect_header(headers, "mcp-method", &incoming.method)?;
    let name = match incoming.method.as_str() {
        "tools/call" | "prompts/get" => params.text("name"),
        "resources/read" => params.text("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.text("taskId"),
        _ => None,
    };
    match name {
        Some(name) => expect_header(headers, "mcp-name", &name),
        None => Ok(()),
    }
}

fn expect_header(headers: &HeaderMap, name: &str, expected: &str) -> Result<(), ErrorData> {
    let mismatch = |message: String| Err(ErrorData::header_mismatch(message, None));
    let mut values = headers.get_all(name).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let only = value.filter(|_| values.next().is_none());
    match only.and_then(decoded) {
        None => mismatch(format!("header {name} is missing, repeated, or not text")),
        Some(value) if value != expected => mismatch(format!(
            "header {name} is `{value}` and the body has `{expected}`"
        )),
        Some(_) => Ok(()),
    }
}

/// A header's value, which is in base64 if it is no plain ASCII.
fn decoded(value: &str) -> Option<String> {
    let inner = value
        .strip_prefix("=?base64?")
        .and_then(|value| value.strip_suffix("?="));
    match inner {
        Some(inner) => String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

impl Introduced {
    /// The scope of its requests, among those of the same name: clients that can do the same share one.
    pub(crate) fn scope(&self, name: &str) -> String {
        let capabilities = message::json(&self.client.capabilities);
        let parts = ["modern", name, capabilities.get()];
        short(&hash(&parts.map(str::as_bytes)))
    }
}

/// The scope within which are those of all clients of a connection.
pub(crate) fn scope_of_connection(name: &[u8]) -> String {
    short(&hash(&[b"connection".as_slice(), name]))
}

/// The session of a scope, which its requests share.
///
/// # Errors
/// [`NoSession`], if there are too many.
pub(crate) fn session(
    gateway: &Arc<Inner>,
    introduced: &Introduced,
    scope: &str,
    principal: &Principal,
    path: &Path,
    forwarded: &Forwarded,
) -> Result<Arc<Session>, NoSession> {
    let view = gateway
        .view(path, principal, forwarded)
        .ok_or(NoSession::Ended)?;
    let client = introduced.client.clone();
    gateway.sessions.get_or_make(scope, principal, |dropped| {
        let session = gateway.make_session(scope, false, principal, client, path, &view);
        session.set_rebuilt(dropped);
        session
    })
}

/// Starts a request. `key` is what it is known by in its session.
///
/// # Errors
/// A JSON-RPC error for one that cannot be started.
pub(crate) async fn request(
    gateway: &Arc<Inner>,
    session: &Arc<Session>,
    introduced: Introduced,
    mut incoming: Incoming,
    key: Arc<str>,
) -> Result<Answer, ErrorData> {
    match incoming.method.as_str() {
        "server/discover" => return Ok(answered(incoming.id, Ok(discover(session).await))),
        "subscriptions/listen" => return listen(gateway, session, incoming, &key),
        "initialize"
        | "ping"
        | "logging/setLevel"
        | "resources/subscribe"
        | "resources/unsubscribe" => {
            let message = format!("method `{}`: not part of {VERSION}", incoming.method);
            let hint = "see the protocol's list of methods";
            return Err(own_error(
                ErrorCode::METHOD_NOT_FOUND,
                message,
                "receive",
                hint,
            ));
        }
        _ => {}
    }
    let mut params = incoming
        .params
        .as_deref()
        .map(Members::of)
        .unwrap_or_default();
    let binding = parked::binding(session, &incoming);
    let parking = Some(parked::parking(gateway, session, binding.clone()));
    match parked::state(&gateway.keys, &params, &binding)? {
        None => {}
        Some(State::Server(state)) => {
            params.set("requestState", message::json(&state));
            incoming.params = Some(params.written());
        }
        Some(State::Parked(name)) => {
            let followed = follow(gateway, session, &key)?;
            let waiting = gateway.parked.resume(session, &name, &params)?;
            let meta = params.get("_meta").map(Members::of).unwrap_or_default();
            return Ok(Answer {
                inbox: waiting.inbox,
                id: incoming.id,
                progress_token: meta.get("progressToken").map(ToOwned::to_owned),
                kept: Kept {
                    followed: Some(followed),
                    ..waiting.kept
                },
                modern: true,
                parking,
            });
        }
    }
    let manner = Manner {
        key,
        modern: true,
        level: introduced.level,
    };
    let keys = gateway.keys.clone();
    let reads = incoming.method == "resources/read";
    let started = call::start(
        gateway,
        session,
        &incoming,
        manner,
        move |reply| match reply.kind() {
            ReplyKind::InputRequired => parked::wrapped(&keys, reply.raw(), binding),
            _ => complete(reply.into_raw(), reads),
        },
    )?;
    Ok(Answer {
        inbox: started.inbox,
        id: incoming.id,
        progress_token: started.progress_token,
        kept: Kept {
            _cancel: Some(started.cancel.drop_guard()),
            ..Kept::default()
        },
        modern: true,
        parking,
    })
}

/// A result with what this version requires and earlier ones do not have: what it is, and of a resource how long it may be
/// kept.
fn complete(result: Box<RawValue>, reads: bool) -> Box<RawValue> {
    const TYPE: (&str, &str) = ("resultType", "\"complete\"");
    const READ: [(&str, &str); 2] = [("ttlMs", "0"), ("cacheScope", "\"private\"")];
    let required = [TYPE].into_iter().chain(READ.into_iter().filter(|_| reads));
    let text = result.get();
    let has = |name: &str| {
        // A search is cheaper than a parse.
        text.contains(&format!("\"{name}\"")) && Members::of(&result).get(name).is_some()
    };
    let missing: Vec<_> = required
        .filter(|(name, _)| !has(name))
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let Some(members) = text.trim_start().strip_prefix('{') else {
        return result;
    };
    if missing.is_empty() {
        return result;
    }
    let comma = if members.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    let completed = RawValue::from_string(format!("{{{}{comma}{members}", missing.join(",")));
    completed.unwrap_or(result)
}

/// An answer that is there.
fn answered(id: Box<RawValue>, outcome: Outcome) -> Answer {
    let (outbox, inbox) = stream::channel(StreamLimits::default());
    outbox.push(Item::Last(outcome));
    Answer {
        inbox,
        id,
        progress_token: None,
        kept: Kept::default(),
        modern: true,
        parking: None,
    }
}

/// What the servers can do, as far as it is known.
async fn discover(session: &Session) -> Box<RawValue> {
    let (capabilities, instructions) = legacy::known(&session.view).await;
    let mut versions = ProtocolVersion::KNOWN_VERSIONS.to_vec();
    versions.reverse();
    let mut result = DiscoverResult::new(versions, capabilities)
        .with_server_info(Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION")));
    result.instructions = instructions;
    message::json(&result)
}

/// What the client may cancel by the id of its request.
fn follow(gateway: &Inner, session: &Arc<Session>, key: &str) -> Result<CallEntry, ErrorData> {
    let most = gateway.settings.max_calls;
    let followed = session.follow(key, most);
    followed.map_err(|why| call::not_begun(why, key, most))
}

fn listen(
    gateway: &Arc<Inner>,
    session: &Arc<Session>,
    incoming: Incoming,
    key: &str,
) -> Result<Answer, ErrorData> {
    #[derive(Deserialize)]
    struct Params {
        notifications: follow::Wanted,
    }
    let params = incoming.params.as_deref().map_or("{}", RawValue::get);
    let params: Params = serde_json::from_str(params)
        .map_err(|error| ErrorData::invalid_params(format!("parameters: {error}"), None))?;
    let id: Value = serde_json::from_str(incoming.id.get()).unwrap_or_default();
    let followed = follow(gateway, session, key)?;
    let (outbox, inbox) = stream::channel(gateway.settings.stream);
    let following = follow::subscription(
        Arc::clone(session),
        params.notifications,
        id,
        outbox,
        gateway.shutdown.clone(),
    );
    gateway.tasks.spawn(following);
    Ok(Answer {
        inbox,
        id: incoming.id,
        progress_token: None,
        kept: Kept {
            followed: Some(followed),
            ..Kept::default()
        },
        modern: true,
        parking: None,
    })
}
