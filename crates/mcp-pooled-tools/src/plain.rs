//! The plain client's API: its methods in one list, and the part that tools are about as a trait.

use std::{future::Future, pin::Pin, sync::Arc};

use rmcp::{
    RoleClient,
    model::{
        ArgumentInfo, CallToolRequestParams, CallToolResult, CompleteRequestParams,
        CompletionContext, JsonObject, Reference, Tool,
    },
    service::{RunningService, Service},
};
use serde::Serialize;

use crate::{
    direct::DirectTools,
    error::{Error, ErrorKind},
    tools::PooledTools,
};

/// Calls `$generate!` for each request of the plain client that is made the same way on every kind of session.
macro_rules! plain_requests {
    ($generate:ident) => {
        $generate! { list_tools, "tools/list", (params: Option<PaginatedRequestParams>) -> ListToolsResult,
            "One page of the server's tools." }
        $generate! { list_prompts, "prompts/list", (params: Option<PaginatedRequestParams>) -> ListPromptsResult,
            "One page of the server's prompts." }
        $generate! { get_prompt, "prompts/get", (params: GetPromptRequestParams) -> GetPromptResult,
            "A prompt, filled in." }
        $generate! { list_resources, "resources/list", (params: Option<PaginatedRequestParams>) -> ListResourcesResult,
            "One page of the server's resources." }
        $generate! { list_resource_templates, "resources/templates/list",
            (params: Option<PaginatedRequestParams>) -> ListResourceTemplatesResult,
            "One page of the server's resource templates." }
        $generate! { read_resource, "resources/read", (params: ReadResourceRequestParams) -> ReadResourceResult,
            "The content of a resource." }
        $generate! { complete, "completion/complete", (params: CompleteRequestParams) -> CompleteResult,
            "Completions for an argument." }
        $generate! { get_prompt_once, "prompts/get", (params: GetPromptRequestParams) -> GetPromptResponse,
            "A prompt, requested once: if the server asks for input, that is the response." }
        $generate! { read_resource_once, "resources/read", (params: ReadResourceRequestParams) -> ReadResourceResponse,
            "The content of a resource, requested once: if the server asks for input, that is the response." }
        $generate! { subscribe, "resources/subscribe", (params: SubscribeRequestParams) -> (),
            "Subscribes one legacy session to a resource. A session that is held, with a handler, hears of its updates." }
        $generate! { unsubscribe, "resources/unsubscribe", (params: UnsubscribeRequestParams) -> (),
            "Ends a subscription of a legacy session. Only sensible on a session that is held." }
        $generate! { get_task, "tasks/get", (params: GetTaskParams) -> GetTaskResult,
            "The state of a task, and its result when it is done." }
        $generate! { update_task, "tasks/update", (params: UpdateTaskParams) -> (),
            "Gives a task the input that it waits for." }
        $generate! { cancel_task, "tasks/cancel", (params: CancelTaskParams) -> (),
            "Asks the server to cancel a task." }
    };
}
pub(crate) use plain_requests;

/// Calls `$generate!` for each list of the plain client that no handle keeps.
macro_rules! plain_lists {
    ($generate:ident) => {
        $generate! { list_all_prompts, ListPromptsResult, Prompt, "All prompts of the server." }
        $generate! { list_all_resources, ListResourcesResult, Resource, "All resources of the server." }
        $generate! { list_all_resource_templates, ListResourceTemplatesResult, ResourceTemplate,
            "All resource templates of the server." }
    };
}
pub(crate) use plain_lists;

/// A method that lists all pages through `self.run(..)`.
macro_rules! list_method {
    ($name:ident, $page:ty, $item:ty, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Requests page after page from one session. A list without an end is cut, with a warning: at a cursor that
        /// the server gave before, at 1,000 pages, 10,000 items, or 64 MiB in memory.
        ///
        /// # Errors
        /// Any [`Error`].
        ///
        /// # Cancel safety
        /// May be dropped at any point: the server is told, the session stays usable, no place is lost.
        pub async fn $name(&self) -> Result<Vec<$item>, Error> {
            let method = <$page as lists::Page>::METHOD;
            let listed = self.run(
                Operation::Request(method),
                None,
                |session, trace| async move { lists::all::<$page>(&session, &trace).await },
            );
            Ok(listed.await?.warned(self.server_name(), method).items)
        }
    };
}
pub(crate) use list_method;

/// A method that makes its request through `self.run(..)`.
macro_rules! request_method {
    ($name:ident, $method:literal, ($($param:ident: $type:ty)?) -> $result:ty, $doc:literal) => {
        #[doc = $doc]
        ///
        /// The same as the plain client's method of this name.
        ///
        /// # Errors
        /// Any [`Error`].
        ///
        /// # Cancel safety
        /// May be dropped at any point: the server is told, the session stays usable, no place is lost.
        pub async fn $name(&self $(, $param: $type)?) -> Result<$result, Error> {
            $(let $param = &$param;)?
            // May be asked for twice, where that does no harm.
            self.run(Operation::Request($method), None, |session, trace| async move {
                requests::$name(&session, &trace $(, $param.clone())?).await
            })
            .await
        }
    };
}
pub(crate) use request_method;

/// The calls that are written by means of `self.check_arguments(..)`, `self.run(..)` and `self.call_tool(..)`.
macro_rules! plain_calls {
    () => {
        /// Calls a tool once: if the server asks for input, that is the response.
        ///
        /// The same as the plain client's method of this name.
        ///
        /// # Errors
        /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
        ///
        /// # Cancel safety
        /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
        pub async fn call_tool_once(
            &self,
            params: CallToolRequestParams,
        ) -> Result<CallToolResponse, Error> {
            let clock = self.check_arguments(&params).await?;
            let operation = Operation::Tool(params.name.clone());
            let params = &params;
            self.run(operation, Some(clock), |session, trace| async move {
                rounds::call_tool_once(&session, params, None, &trace).await
            })
            .await
        }

        /// Completions for an argument of a prompt.
        ///
        /// The same as the plain client's method of this name.
        ///
        /// # Errors
        /// Any [`Error`].
        ///
        /// # Cancel safety
        /// As [`complete`](Self::complete).
        pub async fn complete_prompt_argument(
            &self,
            prompt_name: impl Into<String>,
            argument_name: impl Into<String>,
            current_value: impl Into<String>,
            context: Option<CompletionContext>,
        ) -> Result<CompletionInfo, Error> {
            let reference = Reference::for_prompt(prompt_name);
            let params = crate::plain::completion(reference, argument_name, current_value, context);
            Ok(self.complete(params).await?.completion)
        }

        /// Completions for an argument of a resource's URI.
        ///
        /// The same as the plain client's method of this name.
        ///
        /// # Errors
        /// Any [`Error`].
        ///
        /// # Cancel safety
        /// As [`complete`](Self::complete).
        pub async fn complete_resource_argument(
            &self,
            uri_template: impl Into<String>,
            argument_name: impl Into<String>,
            current_value: impl Into<String>,
            context: Option<CompletionContext>,
        ) -> Result<CompletionInfo, Error> {
            let reference = Reference::for_resource(uri_template);
            let params = crate::plain::completion(reference, argument_name, current_value, context);
            Ok(self.complete(params).await?.completion)
        }

        /// The values that complete an argument of a prompt.
        ///
        /// The same as the plain client's method of this name.
        ///
        /// # Errors
        /// Any [`Error`].
        ///
        /// # Cancel safety
        /// As [`complete`](Self::complete).
        pub async fn complete_prompt_simple(
            &self,
            prompt_name: impl Into<String>,
            argument_name: impl Into<String>,
            current_value: impl Into<String>,
        ) -> Result<Vec<String>, Error> {
            let completing =
                self.complete_prompt_argument(prompt_name, argument_name, current_value, None);
            Ok(completing.await?.values)
        }

        /// The values that complete an argument of a resource's URI.
        ///
        /// The same as the plain client's method of this name.
        ///
        /// # Errors
        /// Any [`Error`].
        ///
        /// # Cancel safety
        /// As [`complete`](Self::complete).
        pub async fn complete_resource_simple(
            &self,
            uri_template: impl Into<String>,
            argument_name: impl Into<String>,
            current_value: impl Into<String>,
        ) -> Result<Vec<String>, Error> {
            let completing =
                self.complete_resource_argument(uri_template, argument_name, current_value, None);
            Ok(completing.await?.values)
        }

        /// Calls a tool with anything that serialises to an object, or to nothing.
        ///
        /// # Errors
        /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) for arguments that do not; else as
        /// [`PooledTools::call_tool`](crate::PooledTools::call_tool).
        ///
        /// # Cancel safety
        /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
        pub async fn call(
            &self,
            name: &str,
            arguments: impl Serialize,
        ) -> Result<CallToolResult, Error> {
            let params = params(name, arguments).map_err(|error| error.of(self.server_name()))?;
            self.call_tool(params).await
        }
    };
}
pub(crate) use plain_calls;

/// The parameters of a completion.
pub(crate) fn completion(
    reference: Reference,
    argument: impl Into<String>,
    value: impl Into<String>,
    context: Option<CompletionContext>,
) -> CompleteRequestParams {
    let mut params = CompleteRequestParams::new(reference, ArgumentInfo::new(argument, value));
    params.context = context;
    params
}

/// The parameters of a call with anything that serialises to an object, or to nothing.
pub(crate) fn params(
    name: &str,
    arguments: impl Serialize,
) -> Result<CallToolRequestParams, Error> {
    let invalid = |why: String| {
        Error::new(
            ErrorKind::Validation,
            format!("arguments of tool `{name}`: {why}"),
        )
    };
    let params = CallToolRequestParams::new(name.to_owned());
    match serde_json::to_value(arguments).map_err(|error| invalid(error.to_string()))? {
        serde_json::Value::Object(arguments) => Ok(params.with_arguments(arguments)),
        serde_json::Value::Null => Ok(params),
        other => Err(invalid(format!(
            "expected an object, got {}",
            kind_of(&other)
        ))),
    }
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// A future as a trait object returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What code that uses tools needs of a client, whichever it is: `Arc<dyn Tools>`.
///
/// Implemented by the plain client of rmcp, by [`PooledTools`] and by [`DirectTools`].
pub trait Tools: Send + Sync {
    /// All tools, over all pages.
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>>;

    /// Calls a tool.
    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>>;

    /// The schema of a tool's arguments.
    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        Box::pin(async move { schema_in(&self.list_all_tools().await?, name) })
    }
}

/// The schema of the named tool in a list.
pub(crate) fn schema_in(tools: &[Tool], name: &str) -> Result<Arc<JsonObject>, Error> {
    let found = tools
        .iter()
        .find(|tool| tool.name == name)
        .map(|tool| Arc::clone(&tool.input_schema));
    found.ok_or_else(|| {
        let known = tools
            .iter()
            .map(|tool| tool.name.as_ref())
            .collect::<Vec<_>>()
            .join(", ");
        Error::new(
            ErrorKind::Validation,
            format!("there is no tool `{name}`; there are: {known}"),
        )
    })
}

impl<S: Service<RoleClient>> Tools for RunningService<RoleClient, S> {
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>> {
        Box::pin(async move { Ok(self.peer().list_all_tools().await?) })
    }

    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        Box::pin(async move { Ok(RunningService::call_tool(self, params).await?) })
    }
}

impl Tools for PooledTools {
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>> {
        Box::pin(PooledTools::list_all_tools(self))
    }

    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        Box::pin(PooledTools::call_tool(self, params))
    }

    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        Box::pin(PooledTools::tool_schema(self, name))
    }
}

impl Tools for DirectTools {
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>> {
        Box::pin(DirectTools::list_all_tools(self))
    }

    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        Box::pin(DirectTools::call_tool(self, params))
    }

    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        Box::pin(DirectTools::tool_schema(self, name))
    }
}
