//! The aggregate as an rmcp server in this process, for what takes an rmcp peer.

#![allow(
    deprecated,
    reason = "log messages are deprecated by the protocol, and clients still read them"
)]

use rmcp::{
    ErrorData, RoleClient, RoleServer, ServiceExt as _,
    model::{
        ClientNotification, ClientRequest, CustomResult, ErrorCode, Implementation,
        InitializeResult, ProgressNotificationParam, ProtocolVersion,
        ResourceUpdatedNotificationParam, ServerResult,
    },
    service::{NotificationContext, Peer, RequestContext, RunningService, Service},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::DuplexStream;

use super::{AggregateNotification, AggregateNotifications, Aggregator};
use crate::{
    client::Client as _,
    error::{Error, ErrorKind},
    request::{Request, json},
    request_options::RequestOptions,
};

impl Aggregator {
    /// An rmcp client of this aggregate, over a pipe in this process: for frameworks that take an rmcp peer.
    ///
    /// The client is a legacy one. It may be cloned by its peer, and ends like any other; the servers stay with the manager.
    ///
    /// # Errors
    /// [`ErrorKind::ShuttingDown`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn serve_in_process(&self) -> Result<RunningService<RoleClient, ()>, Error> {
        self.serve_in_process_with(()).await
    }

    /// The same with a service of the caller's, which receives list changes, updates of resources, progress and log messages.
    ///
    /// # Errors
    /// As [`Aggregator::serve_in_process`].
    ///
    /// # Cancel safety
    /// As [`Aggregator::serve_in_process`].
    pub async fn serve_in_process_with<S: Service<RoleClient>>(
        &self,
        client: S,
    ) -> Result<RunningService<RoleClient, S>, Error> {
        let pipe = self.in_process_pipe().await?;
        client.serve(pipe).await.map_err(|error| {
            let message = format!("in-process client: {error}");
            Error::new(ErrorKind::Connection, message)
        })
    }

    /// The pipe of such a client, for frameworks that have another version of rmcp or a client of their own: JSON-RPC
    /// messages, one on each line, as over stdio. The client ends when it is dropped.
    ///
    /// # Errors
    /// As [`Aggregator::serve_in_process`].
    ///
    /// # Cancel safety
    /// As [`Aggregator::serve_in_process`].
    pub async fn in_process_pipe(&self) -> Result<DuplexStream, Error> {
        self.0.manager.check_open()?;
        self.restore(&self.servers()).await;
        let (ours, theirs) = tokio::io::duplex(PIPE_CAPACITY);
        let notifications = self.notifications();
        self.0
            .manager
            .spawn(serve(self.clone(), theirs, notifications));
        Ok(ours)
    }
}

/// Serves one client until it ends, or the manager does.
async fn serve(
    aggregator: Aggregator,
    stream: DuplexStream,
    mut notifications: AggregateNotifications,
) {
    let stop = aggregator.0.manager.stopping();
    let served = tokio::select! {
        served = rmcp::serve_server(Served(aggregator), stream) => served,
        () = stop.cancelled() => return,
    };
    let Ok(running) = served else {
        return;
    };
    let (peer, end) = (running.peer().clone(), running.cancellation_token());
    let mut ended = std::pin::pin!(running.waiting());
    loop {
        tokio::select! {
            _ = &mut ended => return,
            notification = notifications.next() => {
                let Some(notification) = notification else {
                    end.cancel();
                    let _ = ended.await;
                    return;
                };
                pass_on(&peer, notification).await;
            }
        }
    }
}

/// A client that has gone needs no notification.
async fn pass_on(peer: &Peer<RoleServer>, notification: AggregateNotification) {
    match notification {
        AggregateNotification::ListsChanged(change) => {
            if change.tools {
                let _ = peer.notify_tool_list_changed().await;
            }
            if change.prompts {
                let _ = peer.notify_prompt_list_changed().await;
            }
            if change.resources {
                let _ = peer.notify_resource_list_changed().await;
            }
        }
        AggregateNotification::ResourceUpdated { uri } => {
            let updated = ResourceUpdatedNotificationParam::new(uri);
            let _ = peer.notify_resource_updated(updated).await;
        }
        AggregateNotification::Log { message, .. } => {
            let _ = peer.notify_logging_message(*message).await;
        }
        AggregateNotification::Missed { .. } => {}
    }
}

/// Requests go to the aggregate as they are, and replies come back so: rmcp's models would drop what they do not know.
struct Served(Aggregator);

impl Service<RoleServer> for Served {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        match request {
            ClientRequest::InitializeRequest(request) => {
                let mut info = self.get_info();
                let asked = &request.params.protocol_version;
                if ProtocolVersion::KNOWN_VERSIONS.contains(asked) && asked.has_initialize() {
                    info.protocol_version = asked.clone();
                }
                context.peer.set_peer_info(request.params);
                Ok(ServerResult::InitializeResult(info))
            }
            request => {
                let (request, options) =
                    received(&request, &context).map_err(|error| error.to_protocol())?;
                let reply = self
                    .0
                    .send(request, options)
                    .await
                    .map_err(|error| error.to_protocol())?;
                let value = serde_json::from_str(reply.raw().get()).map_err(|error| {
                    let message = format!("result of the server: {error}");
                    ErrorData::internal_error(message, None)
                })?;
                Ok(ServerResult::CustomResult(CustomResult::new(value)))
            }
        }
    }

    async fn handle_notification(
        &self,
        _: ClientNotification,
        _: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn get_info(&self) -> InitializeResult {
        let info = self.0.info();
        let mut result = InitializeResult::new(info.capabilities);
        result.protocol_version = ProtocolVersion::V_2025_11_25;
        result.server_info = info
            .server_info
            .unwrap_or_else(|| Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION")));
        result.instructions = info.instructions;
        result
    }
}

/// A request of the client, with its progress and its cancellation.
fn received(
    request: &ClientRequest,
    context: &RequestContext<RoleServer>,
) -> Result<(Request, RequestOptions), Error> {
    #[derive(Deserialize)]
    struct Message<'a> {
        method: String,
        #[serde(borrow, default)]
        params: Option<&'a RawValue>,
    }
    let message = json(request);
    let message: Message<'_> = serde_json::from_str(message.get())
        .map_err(|error| Error::refused(ErrorCode::INVALID_REQUEST.0, &error.to_string()))?;
    let mut request = Request::from_raw(message.method, message.params)?;
    let meta = request.meta_mut();
    meta.extend(context.meta.clone());
    // The session of the server has a token of its own.
    meta.remove("progressToken");
    let mut options = RequestOptions::new().cancellation(context.ct.clone());
    if let Some(token) = context.meta.get_progress_token() {
        let (emit, mut reports) = tokio::sync::mpsc::channel::<ProgressNotificationParam>(PROGRESS);
        let peer = context.peer.clone();
        options = options.on_progress(move |progress| drop(emit.try_send(progress)));
        // Ends with the request, whose options hold the sender.
        #[allow(clippy::disallowed_methods, reason = "ends with the request")]
        tokio::spawn(async move {
            while let Some(mut progress) = reports.recv().await {
                progress.progress_token = token.clone();
                let _ = peer.notify_progress(progress).await;
            }
        });
    }
    Ok((request, options))
}

const PIPE_CAPACITY: usize = 64 * 1024;
/// Notifications of progress that may wait to be written; those beyond are dropped.
const PROGRESS: usize = 64;
