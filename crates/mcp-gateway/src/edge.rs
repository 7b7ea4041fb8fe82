//! What a request passes before it reaches the engine: host and origin, authentication, the rate of its principal.
//!
//! The rules come from the manager's configuration of the gateway and follow its reloads. A configuration that cannot be used
//! leaves the rules as they were.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mcp_http_server::{GuardedBody, HostCheck, Peer};
use mcp_pooled_tools::{
    ConnectionManager, GatewayConfig,
    config::{EffectiveGateway, Pins as PinMode},
};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    allow::AllowLists,
    audit::{Audit, Line},
    auth::{
        Authenticator, Denied,
        metadata::{self, WELL_KNOWN},
    },
    cors,
    error::Error,
    limits::{RateLimit, UnderWay},
    pins::Pins,
    principal::Principal,
};

/// What stands between clients and the engine.
pub(crate) struct Edge {
    manager: ConnectionManager,
    current: RwLock<Current>,
    /// Held while rules are made of a new configuration.
    renewing: Mutex<()>,
    pub(crate) audit: Audit,
    pub(crate) pins: Arc<Pins>,
    under_way: UnderWay,
}

struct Current {
    /// What the rules were made of, or were to be.
    of: Arc<GatewayConfig>,
    rules: Arc<Rules>,
}

/// The rules of one configuration.
pub(crate) struct Rules {
    config: Arc<GatewayConfig>,
    auth: Authenticator,
    hosts: HostCheck,
    rate: Option<Arc<RateLimit>>,
    pub(crate) allow: AllowLists,
    pub(crate) settings: EffectiveGateway,
}

impl Edge {
    /// The edge of this manager's configuration. It reads files: tokens, pins.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn new(manager: ConnectionManager, under_way: UnderWay) -> Result<Arc<Self>, Error> {
        let config = manager.gateway_config();
        config
            .validate()
            .map_err(|error| Error::Setting(error.to_string()))?;
        let pins = Pins::open(config.pins_file.clone()).map_err(|error| {
            let file = config.pins_file.clone().unwrap_or_default();
            let file = file.display();
            Error::Setting(format!(
                "pins_file {file}: {error}; restore it, or remove it to pin what is there now"
            ))
        })?;
        Ok(Arc::new(Self {
            audit: Audit::new(&config),
            pins: Arc::new(pins),
            under_way,
            current: RwLock::new(Current {
                rules: Arc::new(Rules::new(Arc::clone(&config), None)?),
                of: config,
            }),
            renewing: Mutex::new(()),
            manager,
        }))
    }

    /// Puts the edge before the routes of the engine, and adds those of the metadata.
    pub(crate) fn protect(self: &Arc<Self>, engine: Router) -> Router {
        let identified = from_fn_with_state(Arc::clone(self), identify);
        let screened = from_fn_with_state(Arc::clone(self), screen);
        Router::new()
            .route(WELL_KNOWN, get(root_metadata))
            .route(&format!("{WELL_KNOWN}/{{*path}}"), get(path_metadata))
            .with_state(Arc::clone(self))
            .merge(engine.layer(identified))
            .layer(screened)
    }

    /// The rules that hold now.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn rules(&self) -> Arc<Rules> {
        let config = self.manager.gateway_config();
        let current = || {
            let current = self.current.read();
            let is_of = Arc::ptr_eq(&current.of, &config);
            is_of.then(|| Arc::clone(&current.rules))
        };
        if let Some(rules) = current() {
            return rules;
        }
        let _renewing = self.renewing.lock().await;
        if let Some(rules) = current() {
            return rules;
        }
        let of = Arc::clone(&config);
        let before = Arc::clone(&self.current.read().rules);
        let made = tokio::task::spawn_blocking(move || Rules::new(of, Some(&before))).await;
        let error = match made {
            Ok(Ok(rules)) => {
                let rules = Arc::new(rules);
                *self.current.write() = Current {
                    of: config,
                    rules: Arc::clone(&rules),
                };
                return rules;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!("the gateway's rules stay as they were: {error}");
        let mut current = self.current.write();
        current.of = config;
        Arc::clone(&current.rules)
    }

    /// Writes pins that are not in their file yet and reads what an operator has approved there, off the worker.
    pub(crate) async fn sync_pins(&self) {
        if !self.pins.is_due() {
            return;
        }
        let pins = Arc::clone(&self.pins);
        let synced = tokio::task::spawn_blocking(move || pins.sync()).await;
        let error = match synced {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!("pins cannot be saved: {error}; check pins_file and its folder");
    }

    /// Writes what waits to be written.
    pub(crate) async fn close(&self) {
        self.sync_pins().await;
        self.audit.close().await;
    }
}

impl Rules {
    /// Keys and counters of the rules `before` are kept where the settings that they depend on are the same.
    fn new(config: Arc<GatewayConfig>, before: Option<&Self>) -> Result<Self, Error> {
        let mut hosts = HostCheck::new();
        let named = config.public_url.iter().chain(&config.listen);
        for host in named.chain(&config.allowed_hosts) {
            hosts.allow_host(host);
        }
        for origin in &config.allowed_origins {
            hosts.allow_origin(origin);
        }
        let settings = config.effective();
        let kept = before.filter(|before| before.settings.rate_limit == settings.rate_limit);
        Ok(Self {
            auth: Authenticator::new(&config, before.map(|before| &before.auth))?,
            hosts,
            rate: match kept {
                Some(before) => before.rate.clone(),
                None => RateLimit::new(settings.rate_limit).map(Arc::new),
            },
            allow: AllowLists::new(&config.allow),
            settings,
            config,
        })
    }

    /// Whether tools are held against their pins.
    pub(crate) fn pins(&self) -> bool {
        self.settings.pins != PinMode::Allow
    }
}

/// Every request: whether it asks for this service, comes from no foreign page, and what a page may read of the response.
async fn screen(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let rules = edge.rules().await;
    let hint = "see allowed_hosts and allowed_origins";
    if let Err(error) = rules.hosts.check_host(&request) {
        return refusal(StatusCode::FORBIDDEN, &error.to_string(), hint);
    }
    if let Err(error) = rules.hosts.check_origin(&request) {
        return refusal(StatusCode::FORBIDDEN, &error.to_string(), hint);
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if cors::is_preflight(&request) {
        cors::preflight(request.headers())
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        cors::expose(response.headers_mut(), origin);
    }
    response
}

/// Requests to the engine: who they are from, and whether there are too many of them. A principal that the application has
/// authenticated itself stays.
async fn identify(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let rules = edge.rules().await;
    let principal = match request.extensions().get::<Principal>() {
        Some(principal) => principal.clone(),
        None => {
            let extensions = request.extensions();
            let address = extensions.get::<ConnectInfo<SocketAddr>>();
            let peer = extensions.get().copied();
            let peer = peer.or_else(|| address.map(|address| Peer::Tcp(address.0)));
            match rules
                .auth
                .authenticate(request.headers(), peer.as_ref())
                .await
            {
                Ok(principal) => principal,
                Err(denied) => {
                    let path = request.uri().path();
                    return unauthorized(&rules.config, request.headers(), path, &denied);
                }
            }
        }
    };
    if let Some(Err(wait)) = rules.rate.as_ref().map(|rate| rate.check(&principal)) {
        return too_many(wait, "wait as long as Retry-After says; see rate_limit");
    }
    let Some(counted) = edge.under_way.begin(&principal) else {
        let hint = "end streams, or wait for responses";
        return too_many(Duration::from_secs(1), hint);
    };
    request.extensions_mut().insert(principal.clone());
    let has_session = request.headers().contains_key("mcp-session-id");
    let response = next.run(request).await;
    // Until the last byte of it is written or dropped.
    let response = response.map(|body| Body::new(GuardedBody::new(body, counted)));
    if has_session && response.status() == StatusCode::NOT_FOUND {
        edge.audit.record(Line {
            event: "session",
            principal: principal.to_string(),
            outcome: "unknown",
            ..Line::default()
        });
    }
    response
}

async fn root_metadata(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    described(&edge.rules().await.config, &headers, "")
}

async fn path_metadata(
    State(edge): State<Arc<Edge>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let is_ours = path == "mcp" || path.starts_with("mcp/");
    match is_ours {
        true => described(&edge.rules().await.config, &headers, &format!("/{path}")),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

fn described(config: &GatewayConfig, headers: &HeaderMap, path: &str) -> Response {
    match metadata::metadata(config, headers, path) {
        Some(metadata) => Json(metadata).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn unauthorized(
    config: &GatewayConfig,
    headers: &HeaderMap,
    path: &str,
    denied: &Denied,
) -> Response {
    let (status, message) = match denied {
        Denied::Missing => (StatusCode::UNAUTHORIZED, "the request has no bearer token"),
        Denied::Invalid(why) => (StatusCode::UNAUTHORIZED, &**why),
        Denied::Foreign => {
            let message = "this gateway has no authentication and serves its own machine alone";
            let hint = "set tokens or jwt_issuer, or state insecure = true";
            return refusal(StatusCode::FORBIDDEN, message, hint);
        }
        #[cfg(feature = "jwt")]
        Denied::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, &**why),
    };
    let hint = "send the header `Authorization: Bearer <token>`";
    let mut response = refusal(status, message, hint);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = metadata::challenge(config, headers, path, denied);
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    } else {
        wait_for(&mut response, Duration::from_secs(30));
    }
    response
}

fn too_many(wait: Duration, hint: &str) -> Response {
    let message = "too many requests of this principal";
    let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, message, hint);
    wait_for(&mut response, wait);
    response
}

fn wait_for(response: &mut Response, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = HeaderValue::from(seconds.max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
}

/// An error in the form that clients of MCP read.
fn refusal(status: StatusCode, message: &str, hint: &str) -> Response {
    let error = json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {
            "code": -32600,
            "message": message,
            "data": {"source": "mcp-pool", "phase": "authorize", "hint": hint},
        },
    });
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
