//! Raw requests of a session, each posted by its caller.
//!
//! rmcp's worker opens the session, and makes another when the server has forgotten it. In between, requests need no more
//! of it than the session's id and headers, which are those of its own last message.

use std::{any::TypeId, fmt, sync::OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use rmcp::{
    RoleClient,
    model::{ClientRequest, PingRequest},
    service::{Peer, ServiceError},
    transport::DynamicTransportError,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{runtime::Handle, sync::Mutex, task::spawn_blocking};

use super::{
    client::SessionClient,
    exchange::{Outcome, Posting, Target},
    failure::HttpFailure,
    header_value,
    link::HttpTransport,
    params::ParamHeaders,
};
use crate::{
    decode::LONG,
    exchange::{Post, QueuedMessage, Reply},
    future::BoxFuture,
    raw_request::RawRequest,
};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

pub(super) struct RawPosts {
    client: SessionClient,
    /// A session that the server has forgotten is opened again.
    reopen: bool,
    reopening: Mutex<()>,
    peer: OnceLock<Peer<RoleClient>>,
    params: ParamHeaders,
    runtime: Handle,
}

impl RawPosts {
    /// Has to be made within a runtime.
    pub(super) fn new(client: SessionClient, reopen: bool, params: ParamHeaders) -> Self {
        Self {
            client,
            reopen,
            reopening: Mutex::new(()),
            peer: OnceLock::new(),
            params,
            runtime: Handle::current(),
        }
    }

    /// The handshake is over.
    pub(super) fn opened(&self, peer: Peer<RoleClient>) {
        let _ = self.peer.set(peer);
    }

    async fn request(&self, id: i64, request: RawRequest<'_>, body: Vec<u8>) -> Reply {
        let target = self.client.current().ok_or(ServiceError::TransportClosed)?;
        // Kept for a second time, which hardly ever comes.
        let again = (self.reopen && target.session.is_some()).then(|| body.clone());
        let mut posted = self.post_to(&target, id, request, body).await;
        if let (Err(failure), Some(body)) = (&posted, again)
            && failure.is_forgotten()
        {
            self.another_session(&target).await?;
            let target = self.client.current();
            let target = target.ok_or(ServiceError::TransportClosed)?;
            posted = self.post_to(&target, id, request, body).await;
        }
        let outcome = posted.map_err(|failure| failed(self.client.note(failure)))?;
        match outcome {
            Ok(list) if request.method == "tools/list" && self.client.is_modern() => {
                Ok(self.take_list(list).await)
            }
            outcome => outcome.map_err(ServiceError::McpError),
        }
    }

    /// Notes which arguments the tools of a list want in headers. A long list is read off the runtime's workers.
    async fn take_list(&self, list: Box<RawValue>) -> Box<RawValue> {
        if !self.params.concern(&list) {
            return list;
        }
        let (list, notes) = if list.get().len() <= LONG {
            self.params.read_list(list)
        } else {
            let (params, whole) = (self.params.clone(), list.clone());
            let reading = spawn_blocking(move || params.read_list(whole));
            // An error means that the runtime is shutting down.
            reading.await.unwrap_or_else(|_| (list, Vec::new()))
        };
        self.client.report.left_out(notes);
        list
    }

    async fn post_to(
        &self,
        target: &Target,
        id: i64,
        request: RawRequest<'_>,
        body: Vec<u8>,
    ) -> Result<Outcome, HttpFailure> {
        let headers = match self.client.is_modern() {
            true => headers_of(request, &self.params),
            false => HeaderMap::new(),
        };
        let posting = Posting {
            id,
            method: request.method,
            body,
            headers,
        };
        let posted = self.client.post_request(target, posting).await;
        posted.map(|(outcome, _)| outcome)
    }

    /// Has rmcp's worker find out that the server has forgotten the session, and make another.
    async fn another_session(&self, forgotten: &Target) -> Result<(), ServiceError> {
        let _one_at_a_time = self.reopening.lock().await;
        let current = self.client.current();
        if current.is_some_and(|current| current.session != forgotten.session) {
            return Ok(());
        }
        let peer = self.peer.get().ok_or(ServiceError::TransportClosed)?;
        let ping = ClientRequest::PingRequest(PingRequest::default());
        match peer.send_request(ping).await {
            Ok(_) | Err(ServiceError::McpError(_) | ServiceError::UnexpectedResponse) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Post for RawPosts {
    fn post<'a>(&'a self, id: i64, request: RawRequest<'a>, body: Vec<u8>) -> BoxFuture<'a, Reply> {
        Box::pin(self.request(id, request, body))
    }

    fn cancel(&self, line: Vec<u8>, held: QueuedMessage) {
        // To a modern server, the end of the connection is the cancellation.
        let Some(target) = self.client.current().filter(|_| !self.client.is_modern()) else {
            return;
        };
        let client = self.client.clone();
        let cancelling = async move {
            let newest = client.with_newest(target.headers.clone());
            let target = Target::new(&target.uri, target.session.as_ref(), newest);
            // A server that misses it finishes a request that has no caller.
            let _ = client.post_notice(&target, line).await;
            drop(held);
        };
        self.client.tasks.spawn_on(cancelling, &self.runtime);
    }
}

impl fmt::Debug for RawPosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPosts").finish_non_exhaustive()
    }
}

fn failed(failure: HttpFailure) -> ServiceError {
    let id = TypeId::of::<HttpTransport>();
    ServiceError::TransportSend(DynamicTransportError::from_parts(
        "HTTP",
        id,
        Box::new(failure),
    ))
}

/// What a request of 2026-07-28 repeats in headers.
fn headers_of(request: RawRequest<'_>, tools: &ParamHeaders) -> HeaderMap {
    #[derive(Default, Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        name: Option<&'a RawValue>,
        #[serde(borrow)]
        uri: Option<&'a RawValue>,
        #[serde(borrow, rename = "taskId")]
        task_id: Option<&'a RawValue>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let mut headers = HeaderMap::new();
    if let Ok(method) = HeaderValue::from_str(request.method) {
        headers.insert(METHOD, method);
    }
    let params: Params<'_> = request
        .params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .unwrap_or_default();
    let name = match request.method {
        "tools/call" | "prompts/get" => params.name,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id,
        _ => None,
    };
    let name = name.and_then(|name| serde_json::from_str::<String>(name.get()).ok());
    if let Some(name) = name.as_ref().filter(|_| request.method == "tools/call") {
        headers.extend(tools.of_call(name, params.arguments));
    }
    if let Some(Ok(name)) = name.map(|name| HeaderValue::try_from(header_value::encoded(name))) {
        headers.insert(NAME, name);
    }
    headers
}
