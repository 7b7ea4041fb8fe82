//! Clients of protocol versions up to 2025-11-25: they initialize, and have a session.

use std::{sync::Arc, time::Duration};

use mcp_pooled_tools::{Aggregator, Client as _, Request, RequestOptions};
use rmcp::{
    ErrorData,
    model::{
        ErrorCode, Implementation, InitializeRequestParams, InitializeResult, ProtocolVersion,
        ServerCapabilities,
    },
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::time::timeout;

use crate::{
    call::{self, Manner},
    forwarded::Forwarded,
    gateway::Inner,
    log_level::LogLevel,
    members::Members,
    message::{self, Incoming, Outcome, own_error},
    path::Path,
    principal::Principal,
    session::{ClientIdentity, Session},
    session_id::{self, Opened},
    sessions::NoSession,
    stream::{self, Answer, Item, Kept},
};

/// What the client says of itself, with the protocol version that is spoken from here on.
///
/// # Errors
/// A JSON-RPC error for parameters that do not fit.
pub(crate) fn introduced(incoming: &Incoming) -> Result<ClientIdentity, ErrorData> {
    let params = incoming.params.as_deref().map_or("{}", RawValue::get);
    let params: InitializeRequestParams = serde_json::from_str(params).map_err(|error| {
        ErrorData::invalid_params(format!("parameters of `initialize`: {error}"), None)
    })?;
    let asked = params.protocol_version;
    let known = ProtocolVersion::KNOWN_VERSIONS.contains(&asked) && asked.has_initialize();
    let version = if known {
        asked
    } else {
        ProtocolVersion::LATEST_WITH_INITIALIZE
    };
    let mut capabilities = params.capabilities;
    // They travel in the session id, which is a header.
    capabilities.experimental = None;
    if message::json(&capabilities).get().len() > MAX_CAPABILITIES {
        capabilities.extensions = None;
    }
    let short = |text: String| text.chars().take(MAX_NAME).collect();
    Ok(ClientIdentity {
        name: short(params.client_info.name),
        version: short(params.client_info.version),
        protocol_version: version.to_string(),
        capabilities,
    })
}

/// The result of `initialize`.
pub(crate) async fn welcome(view: &Aggregator, version: &str) -> Box<RawValue> {
    let (capabilities, instructions) = known(view).await;
    let mut result = InitializeResult::new(capabilities);
    result.server_info = Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION"));
    result.instructions = instructions;
    let mut result = Members::of(&message::json(&result));
    result.set("protocolVersion", message::json(version));
    result.written()
}

/// What the servers can do, and their instructions. Servers that are not known are waited for, but not for long.
pub(crate) async fn known(view: &Aggregator) -> (ServerCapabilities, Option<String>) {
    let listed = timeout(PATIENCE, view.list_all_tools()).await;
    let complete = matches!(listed, Ok(Ok(listing)) if listing.missing.is_empty());
    let info = view.peer_info();
    let mut capabilities = info
        .as_ref()
        .map(|info| info.capabilities.clone())
        .unwrap_or_default();
    if !complete {
        // What is missing may have them.
        capabilities.logging.get_or_insert_default();
        capabilities.resources.get_or_insert_default().subscribe = Some(true);
    }
    (
        capabilities,
        info.and_then(|info| info.instructions.clone()),
    )
}

/// A session id for a client that has introduced itself.
pub(crate) fn issue(
    gateway: &Inner,
    principal: &Principal,
    path: &Path,
    client: &ClientIdentity,
) -> String {
    let capabilities = serde_json::to_value(&client.capabilities).unwrap_or_default();
    let opened = Opened::new(
        principal,
        &path.to_string(),
        (client.name.clone(), client.version.clone()),
        capabilities,
        client.protocol_version.clone(),
        gateway.incarnation,
    );
    opened.seal(&gateway.keys, &gateway.settings.replica)
}

/// The session of an id.
///
/// # Errors
/// [`NoSession::Ended`] for an id that is unknown for whatever reason.
pub(crate) fn session(
    gateway: &Arc<Inner>,
    id: &str,
    principal: &Principal,
    path: &Path,
    forwarded: &Forwarded,
) -> Result<Arc<Session>, NoSession> {
    let max_age = gateway.settings.max_session_age;
    let opened = Opened::open(id, &gateway.keys, principal, &path.to_string(), max_age);
    let opened = opened.ok_or(NoSession::Ended)?;
    let client = ClientIdentity {
        name: opened.client_name,
        version: opened.client_version,
        protocol_version: opened.protocol_version,
        capabilities: serde_json::from_value(opened.capabilities).unwrap_or_default(),
    };
    let view = gateway
        .view(path, principal, forwarded)
        .ok_or(NoSession::Ended)?;
    let (scope, elsewhere) = (
        forwarded.scope(session_id::scope_of(id)),
        opened.incarnation != gateway.incarnation,
    );
    gateway.sessions.get_or_make(&scope, principal, |dropped| {
        let session = gateway.make_session(&scope, true, principal, client, path, &view);
        session.set_rebuilt(elsewhere || dropped);
        session
    })
}

/// Starts a request of the session's client.
///
/// # Errors
/// A JSON-RPC error for one that cannot be started.
pub(crate) fn request(
    gateway: &Arc<Inner>,
    session: &Arc<Session>,
    incoming: Incoming,
) -> Result<Answer, ErrorData> {
    let method = incoming.method.as_str();
    let outcome: Outcome = match method {
        "ping" => Ok(message::json(&json!({}))),
        "initialize" => Err(own_error(
            ErrorCode::INVALID_REQUEST,
            "the session is initialized",
            "receive",
            "initialize without a session id",
        )),
        "logging/setLevel" => set_level(gateway, session, &incoming),
        _ => {
            let manner = Manner {
                key: incoming.id.get().into(),
                modern: false,
                level: None,
            };
            let subscribed = match method {
                "resources/subscribe" => Some(session.subscribed.begin(&incoming)?),
                _ => None,
            };
            if method == "resources/unsubscribe" {
                session.subscribed.end(&incoming);
            }
            let of = Arc::clone(session);
            let started = call::start(gateway, session, &incoming, manner, move |reply| {
                if let Some(uri) = subscribed {
                    of.subscribed.taken(uri);
                }
                reply.into_raw()
            })?;
            return Ok(Answer {
                inbox: started.inbox,
                id: incoming.id,
                progress_token: started.progress_token,
                kept: Kept::default(),
                modern: false,
                parking: None,
            });
        }
    };
    let (outbox, inbox) = stream::channel(gateway.settings.stream);
    outbox.push(Item::Last(outcome));
    Ok(Answer {
        inbox,
        id: incoming.id,
        progress_token: None,
        kept: Kept::default(),
        modern: false,
        parking: None,
    })
}

/// A notification of the session's client.
pub(crate) fn notification(session: &Arc<Session>, method: &str, params: Option<&RawValue>) {
    match method {
        "notifications/cancelled" => {
            let params = params.map(Members::of).unwrap_or_default();
            if let Some(id) = params.get("requestId") {
                session.cancel(id);
            }
        }
        "notifications/roots/list_changed" => {
            let session = Arc::clone(session);
            if !session.roots_changed.put(()) {
                return;
            }
            let end = session.end.clone();
            let sending = async move {
                while session.roots_changed.take().is_some() {
                    let _ = session.view.notify_roots_list_changed().await;
                }
            };
            #[allow(clippy::disallowed_methods, reason = "ends with the session")]
            tokio::spawn(async move { end.run_until_cancelled(sending).await });
        }
        _ => {}
    }
}

/// The stream of a session for messages that belong to no call.
pub(crate) fn listen(gateway: &Inner, session: &Arc<Session>) -> Answer {
    let (outbox, inbox) = stream::channel(gateway.settings.stream);
    session.attach(outbox);
    Answer {
        inbox,
        id: message::json(&()),
        progress_token: None,
        kept: Kept {
            _busy: Some(session.busy()),
            ..Kept::default()
        },
        modern: false,
        parking: None,
    }
}

/// Servers are set to the most verbose level that a client wants, by its view of them; each client gets what it wants.
fn set_level(gateway: &Arc<Inner>, session: &Arc<Session>, incoming: &Incoming) -> Outcome {
    #[derive(Deserialize)]
    struct Params {
        level: LogLevel,
    }
    let params = incoming.params.as_deref().map_or("{}", RawValue::get);
    let params: Params = serde_json::from_str(params)
        .map_err(|error| ErrorData::invalid_params(format!("parameters: {error}"), None))?;
    session.set_level(params.level);
    if session.level_to_send.put(params.level) {
        let session = Arc::clone(session);
        gateway.tasks.spawn(async move {
            while let Some(level) = session.level_to_send.take() {
                let params = message::json(&json!({ "level": level }));
                let Ok(request) = Request::from_raw("logging/setLevel", Some(&*params)) else {
                    continue;
                };
                let options = RequestOptions::new().cancellation(session.end.clone());
                // A server that does not take it changes nothing for the others.
                let _ = session.view.send(request, options).await;
            }
        });
    }
    Ok(message::json(&json!({})))
}

/// Servers whose lists are not known may take so long before `initialize` is answered without them.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bytes of a client's capabilities, beyond which its extensions are left out.
const MAX_CAPABILITIES: usize = 4 * 1024;
/// Characters of a client's name, and of its version.
const MAX_NAME: usize = 100;
