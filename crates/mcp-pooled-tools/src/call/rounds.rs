//! One tool call on one session: its progress, and the rounds of input that a modern server may ask for.
//!
//! rmcp's client drives such rounds too, but does not tell the progress token of what it sends.

#![allow(
    deprecated,
    reason = "sampling and roots are deprecated by the protocol, and servers still ask for them"
)]

use std::time::Duration;

use mcp_pool_core::{ProgressSink, Session};
use rmcp::{
    ErrorData, RoleClient, Service,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult,
        CancelledNotificationParam, ClientRequest, ClientResult, DEFAULT_MRTR_MAX_ROUNDS,
        ErrorCode, InputRequest, InputRequiredResult, InputResponses, ListToolsResult,
        NumberOrString, RequestId, ServerRequest, ServerResult,
    },
    service::{Peer, PeerRequestOptions, RequestContext, ServiceError},
};
use tokio::time::sleep;

use crate::{
    lists,
    trace::{Carry, Trace},
};

/// Calls a tool and answers what the server asks for on the way, by the session's handler.
pub(crate) async fn call_tool(
    session: &Session,
    params: &CallToolRequestParams,
    progress: Option<&ProgressSink>,
    trace: &Trace,
) -> Result<CallToolResult, ServiceError> {
    // Nearly all calls have one round, which takes the one copy that is needed.
    let mut answered: Option<CallToolRequestParams> = None;
    let mut without_requests = 0;
    for _ in 0..DEFAULT_MRTR_MAX_ROUNDS {
        let round = answered.as_ref().unwrap_or(params);
        let response = match call_tool_once(session, round, progress, trace).await {
            // An earlier round did reach the tool: the call as a whole is not unsent.
            Err(ServiceError::TransportSend(_)) if answered.is_some() => {
                return Err(ServiceError::TransportClosed);
            }
            response => response?,
        };
        match response {
            CallToolResponse::Complete(result) => return Ok(result),
            CallToolResponse::InputRequired(asked) => {
                let next = answered.get_or_insert_with(|| params.clone());
                (next.input_responses, next.request_state) =
                    answer(session, asked, &mut without_requests).await?;
            }
            _ => return Err(ServiceError::UnexpectedResponse),
        }
    }
    Err(ServiceError::InputRequiredRoundsExceeded {
        max_rounds: DEFAULT_MRTR_MAX_ROUNDS,
    })
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
    let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    let _route = session.on_progress(&mut request, progress.clone());
    let handle = session
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await?;
    let mut abandoned = Abandoned {
        peer: session.peer().clone(),
        id: Some(handle.id.clone()),
    };
    let reply = handle.await_response().await;
    abandoned.id = None;
    match reply? {
        ServerResult::CallToolResult(result) => Ok(CallToolResponse::Complete(result)),
        ServerResult::InputRequiredResult(asked) => Ok(CallToolResponse::InputRequired(asked)),
        ServerResult::CreateTaskResult(task) => Ok(CallToolResponse::Task(task)),
        _ => Err(ServiceError::UnexpectedResponse),
    }
}

/// Tells the server of a request whose caller has gone. rmcp does so for its own methods, not for a handle.
struct Abandoned {
    peer: Peer<RoleClient>,
    id: Option<RequestId>,
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
