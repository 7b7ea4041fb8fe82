//! The requests of the plain client on one session, each with the trace that it is part of.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]

use mcp_pool_core::Session;
use rmcp::{
    model::{
        CompleteRequestParams, CompleteResult, GetPromptRequestParams, GetPromptResult,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResult,
        SetLevelRequestParams,
    },
    service::ServiceError,
};

use crate::trace::{Carry, Trace};

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
    get_prompt(GetPromptRequestParams) -> GetPromptResult;
    read_resource(ReadResourceRequestParams) -> ReadResourceResult;
    complete(CompleteRequestParams) -> CompleteResult;
    set_level(SetLevelRequestParams) -> ();
}
