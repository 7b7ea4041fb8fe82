//! One request on one session: its progress, its pages, and the rounds of input that a modern server may ask for.

#![allow(
    deprecated,
    reason = "sampling and roots are deprecated by the protocol, and servers still ask for them"
)]

use std::time::Duration;

use mcp_pool_core::{ProgressSink, RawParams, RawRequest, RequestObserver, Session};
use rmcp::{
    ErrorData, RoleClient,
    model::{
        CancelledNotificationParam, ClientResult, ErrorCode, InputResponses, NumberOrString,
        RequestId, ServerRequest,
    },
    service::{DynService, Peer, PeerRequestOptions, RequestContext, ServiceError},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::{
    lists,
    reply::{InputRequired, Reply, ReplyKind},
    request::Request,
    request_options::RequestOptions,
};

/// Questions that a server may ask in one round.
const MAX_QUESTIONS: usize = 100;
/// What a server may ask for.
const ASKED: [&str; 3] = ["sampling/createMessage", "elicitation/create", "roots/list"];

/// Where a request is made, and what answers the server meanwhile.
pub(crate) struct Exchange<'a> {
    pub(crate) peer: &'a Peer<RoleClient>,
    /// The session of the peer, if it is a pooled one.
    pub(crate) session: Option<&'a Session>,
    pub(crate) handler: &'a dyn DynService<RoleClient>,
    pub(crate) progress: Option<&'a ProgressSink>,
    pub(crate) observer: Option<&'a dyn RequestObserver>,
}

impl<'a> Exchange<'a> {
    /// On a pooled session, whose own handler answers.
    pub(crate) fn on(session: &'a Session) -> Self {
        Self {
            peer: session.peer(),
            session: Some(session),
            handler: session.service(),
            progress: None,
            observer: None,
        }
    }

    /// Makes a request with all that belongs to it.
    ///
    /// # Errors
    /// [`ServiceError::InputRequiredRoundsExceeded`] for a server that asks for input without end.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the server is notified.
    pub(crate) async fn run(
        &self,
        request: &Request,
        options: &RequestOptions,
    ) -> Result<Reply, ServiceError> {
        if options.all_pages && lists::is_list(request.method()) {
            let sending = |request: Request| async move { self.once(&request).await };
            let listed = Box::pin(lists::all(request.clone(), sending)).await?;
            return Ok(listed.warned(None, request.method()));
        }
        if options.once {
            return self.once(request).await;
        }
        self.rounds(request, options.rounds()).await
    }

    /// Makes a request and answers what the server asks for on the way.
    async fn rounds(&self, request: &Request, most: usize) -> Result<Reply, ServiceError> {
        // Nearly all requests have one round.
        let mut answered: Option<Request> = None;
        let mut without_questions = 0;
        for _ in 0..most {
            let reply = match self.once(answered.as_ref().unwrap_or(request)).await {
                // An earlier round did reach the server: the request as a whole is not unsent.
                Err(ServiceError::TransportSend(_)) if answered.is_some() => {
                    return Err(ServiceError::TransportClosed);
                }
                reply => reply?,
            };
            if reply.kind() != ReplyKind::InputRequired {
                return Ok(reply);
            }
            let asked = reply.input_required();
            let asked = asked.ok_or(ServiceError::UnexpectedResponse)?;
            let answers = Box::pin(self.answer(asked, &mut without_questions));
            let (responses, state) = match self.session {
                // A handler may take its time, and its answer is of no use to a session that has ended.
                Some(session) => Box::pin(session.while_it_lives(answers)).await?,
                None => answers.await?,
            };
            answered = Some(request.with_input(responses.as_ref(), state.as_deref()));
        }
        Err(ServiceError::InputRequiredRoundsExceeded { max_rounds: most })
    }

    async fn answer(
        &self,
        asked: InputRequired,
        without_questions: &mut u32,
    ) -> Result<Answers, ServiceError> {
        let questions = asked.input_requests.unwrap_or_default();
        if questions.is_empty() {
            // The server only wants to be asked again: not at once, and later each time.
            if asked.request_state.is_none() {
                return Err(ServiceError::UnexpectedResponse);
            }
            let pause = Duration::from_millis(50) * 2u32.pow((*without_questions).min(3));
            *without_questions += 1;
            sleep(pause.min(Duration::from_millis(250))).await;
            return Ok((None, asked.request_state));
        }
        if questions.len() > MAX_QUESTIONS {
            let asked = questions.len();
            tracing::warn!(
                "the server asked {asked} questions in one round, limit {MAX_QUESTIONS}"
            );
            return Err(ServiceError::UnexpectedResponse);
        }
        *without_questions = 0;
        let mut responses = InputResponses::default();
        for (key, question) in questions {
            let response = self.fulfil(&key, &question).await?;
            responses.insert(key, response);
        }
        Ok((Some(responses), asked.request_state))
    }

    async fn fulfil(
        &self,
        key: &str,
        question: &RawValue,
    ) -> Result<serde_json::Value, ServiceError> {
        #[derive(Deserialize)]
        struct Written {
            params: Option<Box<RawValue>>,
        }
        let unexpected = |_| ServiceError::UnexpectedResponse;
        let mut context =
            RequestContext::new(NumberOrString::String(key.into()), self.peer.clone());
        let Written { params } = serde_json::from_str(question.get()).map_err(unexpected)?;
        if let Some(params) = params {
            context.extensions.insert(RawParams(params.into()));
        }
        let question: ServerRequest = serde_json::from_str(question.get()).map_err(unexpected)?;
        let is_known = match &question {
            ServerRequest::CreateMessageRequest(_)
            | ServerRequest::ElicitRequest(_)
            | ServerRequest::ListRootsRequest(_) => true,
            // Of a known kind, with parameters that rmcp has no type for.
            ServerRequest::CustomRequest(custom) => ASKED.contains(&custom.method.as_str()),
            _ => false,
        };
        if !is_known {
            return Err(ServiceError::UnexpectedResponse);
        }
        let answered = self
            .handler
            .handle_request(question, context)
            .await
            .map_err(ServiceError::McpError)?;
        let value = match answered {
            ClientResult::CreateMessageResult(result) => serde_json::to_value(result),
            ClientResult::ElicitResult(result) => serde_json::to_value(result),
            ClientResult::ListRootsResult(result) => serde_json::to_value(result),
            // The answer as the client wrote it, fields that rmcp does not know among them.
            ClientResult::CustomResult(result) => Ok(result.0),
            _ => return Err(ServiceError::UnexpectedResponse),
        };
        value.map_err(|error| {
            ServiceError::McpError(ErrorData::internal_error(error.to_string(), None))
        })
    }

    /// Makes a request once: if the server asks for input, that is the reply.
    ///
    /// A modern HTTP server wants some arguments repeated in headers, and refuses a call without them before it looks at
    /// the tool. A list of the tools says which, so the answer is another list. rmcp's peer does not always look at one, so
    /// there is another after that.
    async fn once(&self, request: &Request) -> Result<Reply, ServiceError> {
        const MOST_LISTS: usize = 3;
        for _ in 0..MOST_LISTS {
            match self.transmit(request).await {
                Err(ServiceError::McpError(error))
                    if error.code == ErrorCode::HEADER_MISMATCH && request.tool().is_some() =>
                {
                    let sending = |page: Request| async move { self.transmit(&page).await };
                    // Boxed: a list is large, and hardly any call needs one.
                    let listing = Box::pin(lists::all(Request::new("tools/list"), sending));
                    if listing.await.is_err() {
                        return Err(ServiceError::McpError(error));
                    }
                }
                outcome => return outcome,
            }
        }
        self.transmit(request).await
    }

    /// Sends a request and waits for its reply. Dropped, the request is cancelled.
    async fn transmit(&self, request: &Request) -> Result<Reply, ServiceError> {
        let Some(session) = self.session else {
            // Boxed: it is large, and only a plain peer needs it.
            return Box::pin(self.transmit_typed(request)).await;
        };
        let mut raw = RawRequest::new(request.method());
        if let Some(params) = request.params() {
            raw = raw.params(params);
        }
        if !request.meta().is_empty() {
            raw = raw.meta(request.meta());
        }
        if let Some(sink) = self.progress {
            raw = raw.progress(sink);
        }
        if let Some(observer) = self.observer {
            raw = raw.observer(observer);
        }
        Ok(Reply::new(session.request(raw).await?))
    }

    /// The same by rmcp's peer, which drops fields that its types do not know.
    async fn transmit_typed(&self, request: &Request) -> Result<Reply, ServiceError> {
        let typed = request.to_typed();
        let typed = typed.map_err(|error| {
            ServiceError::McpError(ErrorData::invalid_params(error.to_string(), None))
        })?;
        let options = PeerRequestOptions::no_options();
        let handle = self.peer.send_cancellable_request(typed, options).await?;
        if let Some(observer) = self.observer {
            observer.sent(handle.id.clone(), handle.progress_token.clone());
        }
        let mut abandoned = Abandoned {
            peer: self.peer,
            id: Some(handle.id.clone()),
            observer: self.observer,
        };
        let reply = handle.await_response().await;
        abandoned.id = None;
        Ok(Reply::typed(&reply?))
    }
}

type Answers = (Option<InputResponses>, Option<String>);

/// Notifies the server of a request whose caller has gone. rmcp does so for its own methods, not for a handle.
struct Abandoned<'a> {
    peer: &'a Peer<RoleClient>,
    /// `None` once the request has ended.
    id: Option<RequestId>,
    observer: Option<&'a dyn RequestObserver>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let peer = self.peer.clone();
        let reason = self.observer.and_then(RequestObserver::cancel_reason);
        let reason = reason.or_else(|| Some("request abandoned by the caller".to_owned()));
        // Ends when the message is out, or the session with its queue is gone.
        runtime.spawn(async move {
            peer.notify_cancelled(CancelledNotificationParam::new(Some(id), reason))
                .await
        });
    }
}
