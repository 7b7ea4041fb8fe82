//! One request on one session: its progress, and the rounds of input that a modern server may ask for.
//!
//! rmcp's client drives such rounds too, but does not tell the progress token of what it sends.

#![allow(
    deprecated,
    reason = "sampling and roots are deprecated by the protocol, and servers still ask for them"
)]

use std::{any::Any, sync::Arc, time::Duration};

use mcp_pool_core::{ProgressSink, Session};
use rmcp::{
    ErrorData, RoleClient, Service,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult,
        CancelledNotificationParam, ClientRequest, ClientResult, CompleteRequest,
        CompleteRequestParams, CompleteResult, ErrorCode, GetPromptRequest, GetPromptRequestParams,
        GetPromptResult, InputRequest, InputRequiredResult, InputResponses, ListToolsResult,
        NumberOrString, ReadResourceRequest, ReadResourceRequestParams, ReadResourceResult,
        RequestId, RequestParamsMeta, ServerRequest, ServerResult,
    },
    service::{Peer, PeerRequestOptions, RequestContext, RequestHandle, ServiceError},
};
use tokio::time::sleep;

use crate::{
    error::Error,
    lists,
    trace::{Carry, Trace},
};

/// A request that a modern server may answer by asking for input.
pub(crate) trait Rounds: RequestParamsMeta + Clone + Send + Sync {
    /// The answer that ends the rounds.
    type Done: Any + Send;

    /// Makes the request once.
    fn once(
        &self,
        session: &Session,
        progress: Option<&ProgressSink>,
        trace: &Trace,
    ) -> impl Future<Output = Result<Round<Self::Done>, ServiceError>> + Send;

    /// Takes the input that the server asked for along.
    fn answer(&mut self, responses: Option<InputResponses>, state: Option<String>);
}

/// What a server answers.
pub(crate) enum Round<T> {
    Done(T),
    Input(InputRequiredResult),
}

/// Makes a request and answers what the server asks for on the way, by the session's handler.
///
/// # Errors
/// [`ServiceError::InputRequiredRoundsExceeded`] for a server that asks more often than `most`.
pub(crate) async fn drive<P: Rounds>(
    session: &Session,
    params: &P,
    progress: Option<&ProgressSink>,
    trace: &Trace,
    most: usize,
) -> Result<P::Done, ServiceError> {
    // Nearly all requests have one round, which takes the one copy that is needed.
    let mut answered: Option<P> = None;
    let mut without_requests = 0;
    for _ in 0..most {
        let round = answered.as_ref().unwrap_or(params);
        let response = match round.once(session, progress, trace).await {
            // An earlier round did reach the server: the request as a whole is not unsent.
            Err(ServiceError::TransportSend(_)) if answered.is_some() => {
                return Err(ServiceError::TransportClosed);
            }
            response => response?,
        };
        match response {
            Round::Done(done) => return Ok(done),
            Round::Input(asked) => {
                let next = answered.get_or_insert_with(|| params.clone());
                let (responses, state) = answer(session, asked, &mut without_requests).await?;
                next.answer(responses, state);
            }
        }
    }
    Err(ServiceError::InputRequiredRoundsExceeded { max_rounds: most })
}

/// The result of a tool call, unless it is a task: the caller gets that within the error.
pub(crate) fn result(
    server: &Arc<str>,
    tool: &str,
    response: CallToolResponse,
) -> Result<CallToolResult, Error> {
    match response {
        CallToolResponse::Complete(result) => Ok(result),
        CallToolResponse::Task(task) => Err(Error::task_started(server, tool, task)),
        // The rounds end with another answer.
        _ => Err(ServiceError::UnexpectedResponse.into()),
    }
}

/// A task is an answer, too: its result is the caller's to ask for.
impl Rounds for CallToolRequestParams {
    type Done = CallToolResponse;

    async fn once(
        &self,
        session: &Session,
        progress: Option<&ProgressSink>,
        trace: &Trace,
    ) -> Result<Round<CallToolResponse>, ServiceError> {
        Ok(
            match call_tool_once(session, self, progress, trace).await? {
                CallToolResponse::InputRequired(asked) => Round::Input(asked),
                done => Round::Done(done),
            },
        )
    }

    fn answer(&mut self, responses: Option<InputResponses>, state: Option<String>) {
        (self.input_responses, self.request_state) = (responses, state);
    }
}

impl Rounds for GetPromptRequestParams {
    type Done = GetPromptResult;

    async fn once(
        &self,
        session: &Session,
        progress: Option<&ProgressSink>,
        trace: &Trace,
    ) -> Result<Round<GetPromptResult>, ServiceError> {
        let request = GetPromptRequest::new(self.clone().carrying(trace));
        match exchange(session, request.into(), progress).await? {
            ServerResult::GetPromptResult(result) => Ok(Round::Done(result)),
            ServerResult::InputRequiredResult(asked) => Ok(Round::Input(asked)),
            _ => Err(ServiceError::UnexpectedResponse),
        }
    }

    fn answer(&mut self, responses: Option<InputResponses>, state: Option<String>) {
        (self.input_responses, self.request_state) = (responses, state);
    }
}

impl Rounds for ReadResourceRequestParams {
    type Done = ReadResourceResult;

    async fn once(
        &self,
        session: &Session,
        progress: Option<&ProgressSink>,
        trace: &Trace,
    ) -> Result<Round<ReadResourceResult>, ServiceError> {
        let request = ReadResourceRequest::new(self.clone().carrying(trace));
        match exchange(session, request.into(), progress).await? {
            ServerResult::ReadResourceResult(result) => Ok(Round::Done(result)),
            ServerResult::InputRequiredResult(asked) => Ok(Round::Input(asked)),
            _ => Err(ServiceError::UnexpectedResponse),
        }
    }

    fn answer(&mut self, responses: Option<InputResponses>, state: Option<String>) {
        (self.input_responses, self.request_state) = (responses, state);
    }
}

/// A completion has one round: the protocol has no input for it. A legacy server may ask for input meanwhile.
impl Rounds for CompleteRequestParams {
    type Done = CompleteResult;

    async fn once(
        &self,
        session: &Session,
        progress: Option<&ProgressSink>,
        trace: &Trace,
    ) -> Result<Round<CompleteResult>, ServiceError> {
        let request = CompleteRequest::new(self.clone().carrying(trace));
        match exchange(session, request.into(), progress).await? {
            ServerResult::CompleteResult(result) => Ok(Round::Done(result)),
            _ => Err(ServiceError::UnexpectedResponse),
        }
    }

    fn answer(&mut self, _: Option<InputResponses>, _: Option<String>) {}
}

/// Calls a tool once: if the server asks for input, that is the response.
///
/// A modern HTTP server wants some arguments repeated in headers, and refuses a call without them before it looks at
/// the tool. rmcp knows which from the last list on the same transport, so the answer is another list; now and then it
/// does not look at one, so there is another after that.
pub(crate) async fn call_tool_once(
    session: &Session,
    params: &CallToolRequestParams,
    progress: Option<&ProgressSink>,
    trace: &Trace,
) -> Result<CallToolResponse, ServiceError> {
    const MOST_LISTS: usize = 3;
    for _ in 0..MOST_LISTS {
        match send(session, params.clone().carrying(trace), progress).await {
            Err(ServiceError::McpError(error)) if error.code == ErrorCode::HEADER_MISMATCH => {
                if lists::all::<ListToolsResult>(session, trace).await.is_err() {
                    return Err(ServiceError::McpError(error));
                }
            }
            outcome => return outcome,
        }
    }
    send(session, params.clone().carrying(trace), progress).await
}

async fn send(
    session: &Session,
    params: CallToolRequestParams,
    progress: Option<&ProgressSink>,
) -> Result<CallToolResponse, ServiceError> {
    let Some(progress) = progress else {
        return session.call_tool_once(params).await;
    };
    let request = CallToolRequest::new(params).into();
    match exchange(session, request, Some(progress)).await? {
        ServerResult::CallToolResult(result) => Ok(CallToolResponse::Complete(result)),
        ServerResult::InputRequiredResult(asked) => Ok(CallToolResponse::InputRequired(asked)),
        ServerResult::CreateTaskResult(task) => Ok(CallToolResponse::Task(task)),
        _ => Err(ServiceError::UnexpectedResponse),
    }
}

/// Makes a request, whose progress is reported if that is wanted. Dropped, it is cancelled.
async fn exchange(
    session: &Session,
    mut request: ClientRequest,
    progress: Option<&ProgressSink>,
) -> Result<ServerResult, ServiceError> {
    let _route = progress.map(|sink| session.on_progress(&mut request, sink.clone()));
    let handle = session
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await?;
    let mut abandoned = Abandoned::new(session, &handle);
    let reply = handle.await_response().await;
    abandoned.ended();
    reply
}

/// Tells the server of a request whose caller has gone. rmcp does so for its own methods, not for a handle.
#[derive(Debug)]
pub(crate) struct Abandoned {
    peer: Peer<RoleClient>,
    id: Option<RequestId>,
}

impl Abandoned {
    pub(crate) fn new(session: &Session, handle: &RequestHandle<RoleClient>) -> Self {
        Self {
            peer: session.peer().clone(),
            id: Some(handle.id.clone()),
        }
    }

    /// The request has ended.
    pub(crate) fn ended(&mut self) {
        self.id = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let peer = self.peer.clone();
        let reason = Some("request abandoned by the caller".to_owned());
        // Ends when the message is out, or the session with its queue is gone.
        runtime.spawn(async move {
            peer.notify_cancelled(CancelledNotificationParam::new(Some(id), reason))
                .await
        });
    }
}

type Answers = (Option<InputResponses>, Option<String>);

async fn answer(
    session: &Session,
    asked: InputRequiredResult,
    without_requests: &mut u32,
) -> Result<Answers, ServiceError> {
    let requests = asked.input_requests.unwrap_or_default();
    if requests.is_empty() {
        // The server only wants to be asked again: not at once, and later each time.
        if asked.request_state.is_none() {
            return Err(ServiceError::UnexpectedResponse);
        }
        let pause = Duration::from_millis(50) * 2u32.pow((*without_requests).min(3));
        *without_requests += 1;
        sleep(pause.min(Duration::from_millis(250))).await;
        return Ok((None, asked.request_state));
    }
    *without_requests = 0;
    let mut responses = InputResponses::default();
    for (key, request) in requests {
        let response = fulfil(session, &key, request).await?;
        responses.insert(key, response);
    }
    Ok((Some(responses), asked.request_state))
}

async fn fulfil(
    session: &Session,
    key: &str,
    request: InputRequest,
) -> Result<serde_json::Value, ServiceError> {
    let request = match request {
        InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
        InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
        InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
        _ => return Err(ServiceError::UnexpectedResponse),
    };
    let context = RequestContext::new(NumberOrString::String(key.into()), session.peer().clone());
    let answered = session
        .service()
        .handle_request(request, context)
        .await
        .map_err(ServiceError::McpError)?;
    let value = match answered {
        ClientResult::CreateMessageResult(result) => serde_json::to_value(result),
        ClientResult::ElicitResult(result) => serde_json::to_value(result),
        ClientResult::ListRootsResult(result) => serde_json::to_value(result),
        _ => return Err(ServiceError::UnexpectedResponse),
    };
    value
        .map_err(|error| ServiceError::McpError(ErrorData::internal_error(error.to_string(), None)))
}
