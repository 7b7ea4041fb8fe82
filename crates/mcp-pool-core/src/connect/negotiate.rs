//! The exchange of messages that opens a session, in either era.
//!
//! rmcp has one of its own. It waits a fixed 10 s for the reply to `server/discover` and takes a later one for that of
//! `initialize`; it offers 2026-07-28 in `initialize`; and it says little about a reply that it cannot read. Here each
//! request has an id that no other request of the session will have, `initialize` goes out beside a probe that is not
//! answered soon, and the server takes the time that it needs: the caller of [`negotiate`] sets the limit.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use rmcp::{
    RoleClient,
    model::{
        ClientConfig, ClientJsonRpcMessage, ClientNotification, ClientRequest, DiscoverRequest,
        DiscoverRequestParams, DiscoverResult, ErrorCode, ErrorData, InitializeRequest,
        InitializeResult, InitializedNotification, NumberOrString, ProtocolVersion, RequestId,
        RequestMetaObject, ServerJsonRpcMessage, ServerPeerInfo, ServerResult,
    },
    transport::{DynamicTransportError, Transport},
};
use tokio::time::{Instant, sleep_until};

use super::reply;
use crate::{
    deadline,
    error::{OpenError, OpenErrorKind, Phase},
    lifecycle::Era,
};

/// The id of the first request of a handshake. rmcp counts those of a session from 0, so that they never meet.
const FIRST_ID: i64 = 1 << 30;

/// What a server is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Initialize(ProtocolVersion),
    Discover(ProtocolVersion),
    /// `server/discover`, then `initialize` if the server does not know that or does not answer it within `wait`.
    Either {
        discover: ProtocolVersion,
        initialize: ProtocolVersion,
        wait: Duration,
    },
}

/// Whether a transport carries a request while another waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipelining {
    Possible,
    /// Over HTTP rmcp holds requests back until `server/discover` is answered.
    #[cfg(feature = "http")]
    Impossible,
}

/// What client and server agreed on.
#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) era: Era,
    pub(super) server: ServerPeerInfo,
    /// What was left out of the server's replies.
    pub(super) notes: Vec<String>,
}

/// Why they did not.
#[derive(Debug)]
pub(super) struct Disagreement {
    pub(super) error: OpenError,
    /// A fresh connection that begins with `initialize` may succeed.
    pub(super) start_over: bool,
    /// The server ended the connection.
    pub(super) disconnected: bool,
}

type Sending<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// Shakes hands over `transport`.
///
/// # Cancel safety
/// Not cancel safe: a handshake that is given up leaves the connection in no known state.
pub(super) async fn negotiate<T: Transport<RoleClient> + 'static>(
    transport: &mut T,
    offer: Offer,
    client: ClientConfig,
    pipelining: Pipelining,
) -> Result<Agreement, Disagreement> {
    let mut negotiation = Negotiation {
        transport,
        client,
        pipelining,
        fallback: None,
        queue: VecDeque::new(),
        sending: None,
        next_id: FIRST_ID,
        discover: None,
        initialize: None,
        deadline: None,
        discovered: None,
        repeated: false,
        notes: Vec::new(),
    };
    match offer {
        Offer::Initialize(version) => negotiation.ask_initialize(version),
        Offer::Discover(version) => negotiation.ask_discover(version),
        Offer::Either {
            discover,
            initialize,
            wait,
        } => {
            negotiation.ask_discover(discover);
            negotiation.fallback = Some(initialize);
            negotiation.deadline = Some(deadline::after(wait));
        }
    }
    let agreed = negotiation.run().await;
    agreed.map_err(|failure| negotiation.explain(failure))
}

/// A handshake under way.
struct Negotiation<'a, T: Transport<RoleClient>> {
    transport: &'a mut T,
    client: ClientConfig,
    pipelining: Pipelining,
    /// What to offer in `initialize` if `server/discover` leads to nothing.
    fallback: Option<ProtocolVersion>,
    queue: VecDeque<ClientJsonRpcMessage>,
    sending: Option<Sending<T::Error>>,
    next_id: i64,
    /// The id of `server/discover` and the version that it offered, until its reply has come.
    discover: Option<(RequestId, ProtocolVersion)>,
    /// The id of `initialize` and the version that it offered, once it was sent.
    initialize: Option<(RequestId, ProtocolVersion)>,
    /// When to go on without the reply that is awaited.
    deadline: Option<Instant>,
    /// What a late reply to `server/discover` said, while `initialize` is not answered yet.
    discovered: Option<ServerPeerInfo>,
    /// `server/discover` was sent a second time, as the server asked.
    repeated: bool,
    notes: Vec<String>,
}

enum Failure {
    /// The server refuses, and would refuse a fresh connection as well.
    Final(OpenError),
    /// The server sent what is no reply, or none.
    Unusable(OpenError),
    Disconnected(Option<DynamicTransportError>),
}

impl<T: Transport<RoleClient> + 'static> Negotiation<'_, T> {
    async fn run(&mut self) -> Result<Agreement, Failure> {
        loop {
            if self.sending.is_none() {
                let next = self.queue.pop_front();
                self.sending = next.map(|message| Box::pin(self.transport.send(message)) as _);
            }
            let deadline = self.deadline;
            let message = tokio::select! {
                biased;
                message = self.transport.receive() => {
                    message.ok_or(Failure::Disconnected(None))?
                }
                sent = sent(&mut self.sending), if self.sending.is_some() => {
                    self.sending = None;
                    let error = |error| DynamicTransportError::new::<T, _>(error);
                    sent.map_err(|broken| Failure::Disconnected(Some(error(broken))))?;
                    continue;
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.deadline = None;
                    if let Some(server) = self.discovered.take() {
                        return Ok(self.agree(Era::Modern, server));
                    }
                    self.give_up_waiting()?;
                    continue;
                }
            };
            let (id, reply) = match message {
                ServerJsonRpcMessage::Response(response) => {
                    (Some(response.id), Ok(response.result))
                }
                ServerJsonRpcMessage::Error(error) => (error.id, Err(error.error)),
                // The transport answers the requests, `ping` among them, and its listener has the notifications.
                ServerJsonRpcMessage::Request(_) | ServerJsonRpcMessage::Notification(_) => {
                    continue;
                }
            };
            let agreed = match self.asked(id.as_ref())? {
                Asked::Discover(offered) => self.discover_answered(reply, offered)?,
                Asked::Initialize(offered) => self.initialize_answered(reply, offered)?,
                Asked::Before => None,
            };
            if let Some(agreement) = agreed {
                self.flush().await?;
                return Ok(agreement);
            }
        }
    }

    fn ask_discover(&mut self, version: ProtocolVersion) {
        let meta = RequestMetaObject::with_client_context(
            version.clone(),
            self.client.client_info.clone(),
            self.client.capabilities.clone(),
        );
        let mut request = DiscoverRequest::new(DiscoverRequestParams {});
        request.extensions.insert(meta);
        let id = self.ask(ClientRequest::DiscoverRequest(request));
        self.discover = Some((id, version));
    }

    fn ask_initialize(&mut self, version: ProtocolVersion) {
        let mut params = self.client.clone();
        params.protocol_version = version.clone();
        let request = InitializeRequest::new(params);
        let id = self.ask(ClientRequest::InitializeRequest(request));
        self.initialize = Some((id, version));
    }

    fn ask(&mut self, request: ClientRequest) -> RequestId {
        let id = NumberOrString::Number(self.next_id);
        self.next_id += 1;
        self.queue
            .push_back(ClientJsonRpcMessage::request(request, id.clone()));
        id
    }

    /// What a reply with this id replies to. One without any, which only an error can be, replies to the first request
    /// that waits for a reply.
    fn asked(&self, id: Option<&RequestId>) -> Result<Asked, Failure> {
        let is = |own: &RequestId| id.is_none_or(|id| same(own, id));
        match (&self.discover, &self.initialize) {
            (Some((own, offered)), _) if is(own) => Ok(Asked::Discover(offered.clone())),
            (_, Some((own, offered))) if is(own) => Ok(Asked::Initialize(offered.clone())),
            (Some((own, _)), _) => self.not_asked("server/discover", own, id),
            (None, Some((own, _))) => self.not_asked("initialize", own, id),
            (None, None) => Ok(Asked::Before),
        }
    }

    fn not_asked(
        &self,
        method: &str,
        own: &RequestId,
        id: Option<&RequestId>,
    ) -> Result<Asked, Failure> {
        let id = id.expect("a reply without an id is taken for that to the first request");
        let mut asked = (FIRST_ID..self.next_id).map(NumberOrString::Number);
        if asked.any(|own| same(&own, id)) {
            return Ok(Asked::Before);
        }
        let message =
            format!("the server's reply to `{method}` has the id {id}, the request has {own}");
        Err(Failure::Unusable(incompatible(message)))
    }

    fn discover_answered(
        &mut self,
        reply: Result<ServerResult, ErrorData>,
        offered: ProtocolVersion,
    ) -> Result<Option<Agreement>, Failure> {
        self.discover = None;
        let reply = reply.map(|result| match reply::discovered(&result) {
            Some((discovered, notes)) => {
                self.notes.extend(notes);
                ServerResult::DiscoverResult(discovered)
            }
            None => result,
        });
        let supported = match reply {
            Ok(ServerResult::DiscoverResult(result)) => {
                if result.supported_versions.contains(&offered) {
                    return Ok(self.discovered(offered, result));
                }
                result.supported_versions
            }
            Ok(other) => {
                let why = reply::why_no::<DiscoverResult>(&other);
                let message = format!("the server's reply to `server/discover` is invalid: {why}");
                return Err(Failure::Unusable(incompatible(message)));
            }
            Err(error) if error.code == ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => {
                let supported = reply::supported_versions(&error);
                if supported.contains(&offered) && !self.repeated {
                    self.repeated = true;
                    self.ask_discover(offered);
                    return Ok(None);
                }
                supported
            }
            Err(error) => {
                // These two codes are of the modern era.
                let modern = [
                    ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
                    ErrorCode::HEADER_MISMATCH,
                ];
                if modern.contains(&error.code) || !self.go_on_with_initialize() {
                    return Err(Failure::Final(reply::refused("server/discover", &error)));
                }
                return Ok(None);
            }
        };
        // A server that names no version at all may well have the other handshake.
        let legacy = supported.is_empty() || supported.iter().any(ProtocolVersion::has_initialize);
        if legacy && self.go_on_with_initialize() {
            return Ok(None);
        }
        Err(Failure::Final(reply::no_common_version(
            &offered, &supported,
        )))
    }

    /// A server that was sent `initialize` as well decides between the two by its reply to that.
    fn discovered(
        &mut self,
        version: ProtocolVersion,
        result: DiscoverResult,
    ) -> Option<Agreement> {
        let server = ServerPeerInfo::from_discover_result(version, result);
        if self.initialize.is_none() {
            return Some(self.agree(Era::Modern, server));
        }
        self.discovered = Some(server);
        self.deadline = Some(deadline::after(LATE_INITIALIZE));
        None
    }

    /// Returns whether there is such a handshake to go on with.
    fn go_on_with_initialize(&mut self) -> bool {
        self.deadline = None;
        if let (None, Some(version)) = (&self.initialize, &self.fallback) {
            self.ask_initialize(version.clone());
        }
        self.initialize.is_some()
    }

    /// The probe has not been answered: the server starts slowly, or ignores what it does not know.
    fn give_up_waiting(&mut self) -> Result<(), Failure> {
        if self.pipelining == Pipelining::Possible {
            self.go_on_with_initialize();
            return Ok(());
        }
        let message = "the server did not answer `server/discover`";
        let error = OpenError::new(OpenErrorKind::Handshake, Phase::Handshake, message);
        Err(Failure::Unusable(error))
    }

    fn initialize_answered(
        &mut self,
        reply: Result<ServerResult, ErrorData>,
        offered: ProtocolVersion,
    ) -> Result<Option<Agreement>, Failure> {
        let reply = reply.map(|result| match reply::initialized(&result) {
            Some((initialized, notes)) => {
                self.notes.extend(notes);
                ServerResult::InitializeResult(initialized)
            }
            None => result,
        });
        match reply {
            Ok(ServerResult::InitializeResult(result)) => {
                let initialized =
                    ClientNotification::InitializedNotification(InitializedNotification::default());
                self.queue
                    .push_back(ClientJsonRpcMessage::notification(initialized));
                Ok(Some(self.agree(Era::Legacy, legacy_info(result, offered))))
            }
            Ok(other) => {
                let why = reply::why_no::<InitializeResult>(&other);
                let message = format!("the server's reply to `initialize` is invalid: {why}");
                Err(Failure::Final(incompatible(message)))
            }
            Err(error) => {
                if let Some(server) = self.discovered.take() {
                    return Ok(Some(self.agree(Era::Modern, server)));
                }
                if self.discover.is_some() {
                    // The reply to the probe is still to come.
                    return Ok(None);
                }
                Err(Failure::Final(reply::refused("initialize", &error)))
            }
        }
    }

    fn agree(&mut self, era: Era, server: ServerPeerInfo) -> Agreement {
        let notes = std::mem::take(&mut self.notes);
        Agreement { era, server, notes }
    }

    /// Sends what is left to be sent.
    async fn flush(&mut self) -> Result<(), Failure> {
        let broken = |error| Failure::Disconnected(Some(DynamicTransportError::new::<T, _>(error)));
        if let Some(sending) = self.sending.take() {
            sending.await.map_err(broken)?;
        }
        while let Some(message) = self.queue.pop_front() {
            self.transport.send(message).await.map_err(broken)?;
        }
        Ok(())
    }

    fn explain(&self, failure: Failure) -> Disagreement {
        let broken = |message| OpenError::new(OpenErrorKind::Handshake, Phase::Handshake, message);
        let (error, is_final, disconnected) = match failure {
            Failure::Final(error) => (error, true, false),
            Failure::Unusable(error) => (error, false, false),
            Failure::Disconnected(None) => {
                let message = "the server ended the connection during the handshake";
                (broken(message), false, true)
            }
            #[cfg(feature = "http")]
            Failure::Disconnected(Some(cause)) => (super::http::describe(cause), false, true),
            #[cfg(not(feature = "http"))]
            Failure::Disconnected(Some(cause)) => {
                let message = "the connection broke during the handshake";
                (broken(message).with_source(cause), false, true)
            }
        };
        Disagreement {
            error,
            start_over: !is_final && self.fallback.is_some(),
            disconnected,
        }
    }
}

/// What a reply replies to.
enum Asked {
    Discover(ProtocolVersion),
    Initialize(ProtocolVersion),
    /// A request that has been answered before, or given up.
    Before,
}

async fn sent<E>(sending: &mut Option<Sending<E>>) -> Result<(), E> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

/// Some servers return an id as text that was sent as a number.
fn same(own: &RequestId, id: &RequestId) -> bool {
    own == id || matches!(id, NumberOrString::String(text) if **text == own.to_string())
}

/// What was opened by `initialize` is legacy. A server that answers with a version without that handshake has only
/// repeated what it does not know.
fn legacy_info(mut result: InitializeResult, offered: ProtocolVersion) -> ServerPeerInfo {
    if !result.protocol_version.has_initialize() {
        result.protocol_version = offered;
    }
    result.into()
}

fn incompatible(message: String) -> OpenError {
    OpenError::new(OpenErrorKind::Incompatible, Phase::Handshake, message)
}

/// How long a server that has answered `server/discover` late has to answer the `initialize` behind it.
const LATE_INITIALIZE: Duration = Duration::from_secs(1);
