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
        PaginatedRequestParams, Prompt, ReadResourceRequestParams, ReadResourceResult, Resource,
        ResourceTemplate, SetLevelRequestParams, Tool,
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

/// Not through the client's methods of these names: they say nothing of a trace.
macro_rules! all_pages {
    ($($name:ident: $page:ident.$items:ident -> $item:ty;)*) => {$(
        pub(crate) async fn $name(
            session: &Session,
            trace: &Trace,
        ) -> Result<Vec<$item>, ServiceError> {
            let mut all = Vec::new();
            let mut cursor = None;
            loop {
                let params = PaginatedRequestParams::default().with_cursor(cursor);
                let page = session.$page(Some(params.carrying(trace))).await?;
                all.extend(page.$items);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    return Ok(all);
                }
            }
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

all_pages! {
    list_all_tools: list_tools.tools -> Tool;
    list_all_prompts: list_prompts.prompts -> Prompt;
    list_all_resources: list_resources.resources -> Resource;
    list_all_resource_templates: list_resource_templates.resource_templates -> ResourceTemplate;
}
