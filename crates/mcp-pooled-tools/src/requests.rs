//! The requests of the plain client on one session, each with the trace that it is part of.

#![allow(
    deprecated,
    reason = "log levels and subscriptions are deprecated by the protocol, and still part of the plain client"
)]

use mcp_pool_core::Session;
use rmcp::{
    model::{
        CancelTaskParams, CompleteRequestParams, CompleteResult, DEFAULT_MRTR_MAX_ROUNDS,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, GetTaskParams, GetTaskResult,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, SetLevelRequestParams, SubscribeRequestParams,
        UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::ServiceError,
};

use crate::{
    call::rounds,
    trace::{Carry, Trace},
};

macro_rules! requests {
    ($($name:ident($params:ty) -> $result:ty;)*) => {$(
        pub(crate) async fn $name(
            session: &Session,
            trace: &Trace,
            params: $params,
        ) -> Result<$result, ServiceError> {
            session.$name(params.carrying(trace)).await
        }
    )*};
}

requests! {
    list_tools(Option<PaginatedRequestParams>) -> ListToolsResult;
    list_prompts(Option<PaginatedRequestParams>) -> ListPromptsResult;
    list_resources(Option<PaginatedRequestParams>) -> ListResourcesResult;
    list_resource_templates(Option<PaginatedRequestParams>) -> ListResourceTemplatesResult;
    get_prompt_once(GetPromptRequestParams) -> GetPromptResponse;
    read_resource_once(ReadResourceRequestParams) -> ReadResourceResponse;
    subscribe(SubscribeRequestParams) -> ();
    unsubscribe(UnsubscribeRequestParams) -> ();
    get_task(GetTaskParams) -> GetTaskResult;
    update_task(UpdateTaskParams) -> ();
    cancel_task(CancelTaskParams) -> ();
    complete(CompleteRequestParams) -> CompleteResult;
    set_level(SetLevelRequestParams) -> ();
}

pub(crate) async fn get_prompt(
    session: &Session,
    trace: &Trace,
    params: GetPromptRequestParams,
) -> Result<GetPromptResult, ServiceError> {
    rounds::drive(session, &params, None, trace, DEFAULT_MRTR_MAX_ROUNDS).await
}

pub(crate) async fn read_resource(
    session: &Session,
    trace: &Trace,
    params: ReadResourceRequestParams,
) -> Result<ReadResourceResult, ServiceError> {
    rounds::drive(session, &params, None, trace, DEFAULT_MRTR_MAX_ROUNDS).await
}
