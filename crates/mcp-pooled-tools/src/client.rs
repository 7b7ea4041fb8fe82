//! The trait of all clients: one required method, over which the whole API of the plain client is written once.
//!
//! The methods build a [`Request`], send it, and take the [`Reply`] apart. [`PooledTools`](crate::PooledTools),
//! [`DirectTools`](crate::DirectTools) and [`PinnedSession`](crate::PinnedSession) deref to `dyn Client`, so that the
//! methods are there without the trait in scope.

#![allow(
    deprecated,
    reason = "log levels and subscriptions are deprecated by the protocol, and still part of the plain client"
)]

mod plain;
mod tools;

use std::{future::Future, pin::Pin, sync::Arc};

use rmcp::model::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
pub use tools::Tools;

use crate::{
    error::{Error, ErrorKind},
    lists,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
};

/// A future as a trait object returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A client of a server, or of several as one: `Arc<dyn Client>`.
///
/// The methods have the names, parameters and results of those of rmcp's `Peer<RoleClient>`. Implemented by
/// [`PooledTools`](crate::PooledTools), [`DirectTools`](crate::DirectTools), [`PinnedSession`](crate::PinnedSession), and
/// by rmcp's own `Peer<RoleClient>` and `RunningService<RoleClient, _>`.
///
/// # Errors
/// All methods: any [`Error`].
///
/// # Cancel safety
/// The futures may be dropped at any point: the server is notified, the session stays usable, no place is lost. A tool
/// may have run.
pub trait Client: Send + Sync {
    /// Sends a request and returns the reply.
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>>;

    /// Calls a tool. Rounds of input that the server asks for are answered as by the plain client `()`.
    ///
    /// An error of kind [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) or [`Timeout`](crate::ErrorKind::Timeout)
    /// means that the tool may have run.
    fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        self.call_tool_with(params, RequestOptions::new())
    }

    /// Calls a tool with options. With a [handler](RequestOptions::handler), that answers the server.
    fn call_tool_with(
        &self,
        params: CallToolRequestParams,
        options: RequestOptions,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        tool_result(self.send(params.into(), options))
    }

    /// Calls a tool once: if the server asks for input, that is the response.
    fn call_tool_once(
        &self,
        params: CallToolRequestParams,
    ) -> BoxFuture<'_, Result<CallToolResponse, Error>> {
        let reply = self.send(params.into(), RequestOptions::new().once());
        Box::pin(async move { reply.await?.parse_tool_response().await })
    }

    /// Calls a tool, and answers at most so many rounds of input.
    fn call_tool_with_mrtr_max_rounds(
        &self,
        params: CallToolRequestParams,
        max_rounds: usize,
    ) -> BoxFuture<'_, Result<CallToolResult, Error>> {
        self.call_tool_with(params, RequestOptions::new().max_rounds(max_rounds))
    }

    /// One page of the server's tools.
    fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
    ) -> BoxFuture<'_, Result<ListToolsResult, Error>> {
        ask(self, Request::of_optional("tools/list", params))
    }

    /// All tools of the server, over all pages.
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>> {
        let pages = all_pages(self, "tools/list");
        Box::pin(async move { Ok(pages.await?.parse::<ListToolsResult>().await?.tools) })
    }

    /// The schema of a tool's arguments.
    ///
    /// [`ErrorKind::Validation`] if there is no such tool.
    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        let tools = self.list_all_tools();
        Box::pin(async move { schema_in(&tools.await?, name) })
    }

    /// One page of the server's prompts.
    fn list_prompts(
        &self,
        params: Option<PaginatedRequestParams>,
    ) -> BoxFuture<'_, Result<ListPromptsResult, Error>> {
        ask(self, Request::of_optional("prompts/list", params))
    }

    /// All prompts of the server, over all pages.
    fn list_all_prompts(&self) -> BoxFuture<'_, Result<Vec<Prompt>, Error>> {
        let pages = all_pages(self, "prompts/list");
        Box::pin(async move { Ok(pages.await?.parse::<ListPromptsResult>().await?.prompts) })
    }

    /// A prompt, filled in.
    fn get_prompt(
        &self,
        params: GetPromptRequestParams,
    ) -> BoxFuture<'_, Result<GetPromptResult, Error>> {
        self.get_prompt_with(params, RequestOptions::new())
    }

    /// A prompt, filled in, with options. With a [handler](RequestOptions::handler), that answers the server.
    fn get_prompt_with(
        &self,
        params: GetPromptRequestParams,
        options: RequestOptions,
    ) -> BoxFuture<'_, Result<GetPromptResult, Error>> {
        parsed(self.send(Request::of("prompts/get", params), options))
    }

    /// A prompt, requested once: if the server asks for input, that is the response.
    fn get_prompt_once(
        &self,
        params: GetPromptRequestParams,
    ) -> BoxFuture<'_, Result<GetPromptResponse, Error>> {
        let request = Request::of("prompts/get", params);
        let reply = self.send(request, RequestOptions::new().once());
        Box::pin(async move { reply.await?.parse_prompt().await })
    }

    /// A prompt, filled in. At most so many rounds of input are answered.
    fn get_prompt_with_mrtr_max_rounds(
        &self,
        params: GetPromptRequestParams,
        max_rounds: usize,
    ) -> BoxFuture<'_, Result<GetPromptResult, Error>> {
        self.get_prompt_with(params, RequestOptions::new().max_rounds(max_rounds))
    }

    /// One page of the server's resources.
    fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
    ) -> BoxFuture<'_, Result<ListResourcesResult, Error>> {
        ask(self, Request::of_optional("resources/list", params))
    }

    /// All resources of the server, over all pages.
    fn list_all_resources(&self) -> BoxFuture<'_, Result<Vec<Resource>, Error>> {
        let pages = all_pages(self, "resources/list");
        Box::pin(async move { Ok(pages.await?.parse::<ListResourcesResult>().await?.resources) })
    }

    /// One page of the server's resource templates.
    fn list_resource_templates(
        &self,
        params: Option<PaginatedRequestParams>,
    ) -> BoxFuture<'_, Result<ListResourceTemplatesResult, Error>> {
        ask(
            self,
            Request::of_optional("resources/templates/list", params),
        )
    }

    /// All resource templates of the server, over all pages.
    fn list_all_resource_templates(&self) -> BoxFuture<'_, Result<Vec<ResourceTemplate>, Error>> {
        let pages = all_pages(self, "resources/templates/list");
        Box::pin(async move {
            let list: ListResourceTemplatesResult = pages.await?.parse().await?;
            Ok(list.resource_templates)
        })
    }

    /// The content of a resource.
    fn read_resource(
        &self,
        params: ReadResourceRequestParams,
    ) -> BoxFuture<'_, Result<ReadResourceResult, Error>> {
        self.read_resource_with(params, RequestOptions::new())
    }

    /// The content of a resource, with options. With a [handler](RequestOptions::handler), that answers the server.
    fn read_resource_with(
        &self,
        params: ReadResourceRequestParams,
        options: RequestOptions,
    ) -> BoxFuture<'_, Result<ReadResourceResult, Error>> {
        parsed(self.send(Request::of("resources/read", params), options))
    }

    /// The content of a resource, requested once: if the server asks for input, that is the response.
    fn read_resource_once(
        &self,
        params: ReadResourceRequestParams,
    ) -> BoxFuture<'_, Result<ReadResourceResponse, Error>> {
        let request = Request::of("resources/read", params);
        let reply = self.send(request, RequestOptions::new().once());
        Box::pin(async move { reply.await?.parse_resource().await })
    }

    /// The content of a resource. At most so many rounds of input are answered.
    fn read_resource_with_mrtr_max_rounds(
        &self,
        params: ReadResourceRequestParams,
        max_rounds: usize,
    ) -> BoxFuture<'_, Result<ReadResourceResult, Error>> {
        self.read_resource_with(params, RequestOptions::new().max_rounds(max_rounds))
    }

    /// Subscribes to a resource.
    fn subscribe(&self, params: SubscribeRequestParams) -> BoxFuture<'_, Result<(), Error>> {
        done(self, Request::of("resources/subscribe", params))
    }

    /// Ends a subscription.
    fn unsubscribe(&self, params: UnsubscribeRequestParams) -> BoxFuture<'_, Result<(), Error>> {
        done(self, Request::of("resources/unsubscribe", params))
    }

    /// Completions for an argument.
    fn complete(
        &self,
        params: CompleteRequestParams,
    ) -> BoxFuture<'_, Result<CompleteResult, Error>> {
        self.complete_with(params, RequestOptions::new())
    }

    /// Completions for an argument, with options. With a [handler](RequestOptions::handler), that answers the server.
    fn complete_with(
        &self,
        params: CompleteRequestParams,
        options: RequestOptions,
    ) -> BoxFuture<'_, Result<CompleteResult, Error>> {
        parsed(self.send(Request::of("completion/complete", params), options))
    }

    /// Sets the level of the server's log messages.
    fn set_level(&self, params: SetLevelRequestParams) -> BoxFuture<'_, Result<(), Error>> {
        done(self, Request::of("logging/setLevel", params))
    }

    /// The state of a task, and its result when it is done.
    fn get_task(&self, params: GetTaskParams) -> BoxFuture<'_, Result<GetTaskResult, Error>> {
        ask(self, Request::of("tasks/get", params))
    }

    /// Gives a task the input that it waits for.
    fn update_task(&self, params: UpdateTaskParams) -> BoxFuture<'_, Result<(), Error>> {
        done(self, Request::of("tasks/update", params))
    }

    /// Asks the server to cancel a task.
    fn cancel_task(&self, params: CancelTaskParams) -> BoxFuture<'_, Result<(), Error>> {
        done(self, Request::of("tasks/cancel", params))
    }

    /// One page of the skills that the server serves.
    fn list_skills(
        &self,
        params: Option<PaginatedRequestParams>,
    ) -> BoxFuture<'_, Result<ListSkillsResult, Error>> {
        ask(self, Request::of_optional("skills/list", params))
    }

    /// All skills that the server serves, over all pages.
    fn list_all_skills(&self) -> BoxFuture<'_, Result<Vec<Skill>, Error>> {
        let pages = all_pages(self, "skills/list");
        Box::pin(async move { Ok(pages.await?.parse::<ListSkillsResult>().await?.skills) })
    }

    /// The entry of one skill.
    fn get_skill(
        &self,
        params: GetSkillRequestParams,
    ) -> BoxFuture<'_, Result<GetSkillResult, Error>> {
        ask(self, Request::of("skills/get", params))
    }

    /// The children of a directory resource.
    fn read_resource_directory(
        &self,
        params: ReadResourceDirectoryRequestParams,
    ) -> BoxFuture<'_, Result<ReadResourceDirectoryResult, Error>> {
        ask(self, Request::of("resources/directory/read", params))
    }

    /// Sends any request.
    fn send_request(&self, request: ClientRequest) -> BoxFuture<'_, Result<ServerResult, Error>> {
        parsed(self.send(request.into(), RequestOptions::new().once()))
    }
}

/// Methods whose parameters are generic.
impl dyn Client + '_ {
    /// Calls a tool with anything that serialises to an object, or to nothing.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let tools = manager.tools("time")?;
    /// let result = tools.call("get_current_time", serde_json::json!({ "timezone": "UTC" })).await?;
    /// println!("{:?}", result.content);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Validation`] for arguments that do not; else any [`Error`].
    ///
    /// # Cancel safety
    /// As [`Client::call_tool`].
    pub async fn call(
        &self,
        name: &str,
        arguments: impl Serialize,
    ) -> Result<CallToolResult, Error> {
        self.call_tool(params(name, arguments)?).await
    }

    /// Makes a request of any method, and returns its result as the server wrote it.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, RequestOptions};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let tools = manager.tools("time")?;
    /// let result = tools.request("tools/list", None, RequestOptions::new().all_pages()).await?;
    /// println!("{}", result.get());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Request::from_raw`]; else any [`Error`].
    ///
    /// # Cancel safety
    /// As [`Client::send`].
    pub async fn request(
        &self,
        method: &str,
        params: Option<&RawValue>,
        options: RequestOptions,
    ) -> Result<Box<RawValue>, Error> {
        let request = Request::from_raw(method.to_owned(), params)?;
        Ok(self.send(request, options).await?.into_raw())
    }

    /// Completions for an argument of a prompt.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`Client::complete`].
    pub async fn complete_prompt_argument(
        &self,
        prompt_name: impl Into<String>,
        argument_name: impl Into<String>,
        current_value: impl Into<String>,
        context: Option<CompletionContext>,
    ) -> Result<CompletionInfo, Error> {
        let reference = Reference::for_prompt(prompt_name);
        let params = completion(reference, argument_name, current_value, context);
        Ok(self.complete(params).await?.completion)
    }

    /// Completions for an argument of a resource's URI.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`Client::complete`].
    pub async fn complete_resource_argument(
        &self,
        uri_template: impl Into<String>,
        argument_name: impl Into<String>,
        current_value: impl Into<String>,
        context: Option<CompletionContext>,
    ) -> Result<CompletionInfo, Error> {
        let reference = Reference::for_resource(uri_template);
        let params = completion(reference, argument_name, current_value, context);
        Ok(self.complete(params).await?.completion)
    }

    /// The values that complete an argument of a prompt.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`Client::complete`].
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
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`Client::complete`].
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
}

type Sending<'a> = BoxFuture<'a, Result<Reply, Error>>;
type Sender<'a> = Box<dyn Fn(Request, RequestOptions) -> Sending<'a> + Send + Sync + 'a>;

/// The typed form of the reply.
fn parsed<T: DeserializeOwned + Send + 'static>(
    reply: Sending<'_>,
) -> BoxFuture<'_, Result<T, Error>> {
    Box::pin(async move { reply.await?.parse().await })
}

/// The typed form of the reply to a request without options.
fn ask<T: DeserializeOwned + Send + 'static>(
    client: &(impl Client + ?Sized),
    request: Request,
) -> BoxFuture<'_, Result<T, Error>> {
    parsed(client.send(request, RequestOptions::new()))
}

/// The result of a tool.
fn tool_result(reply: Sending<'_>) -> BoxFuture<'_, Result<CallToolResult, Error>> {
    Box::pin(async move { reply.await?.parse_tool_result().await })
}

/// For a request whose reply says no more than that it was served.
fn done(client: &(impl Client + ?Sized), request: Request) -> BoxFuture<'_, Result<(), Error>> {
    let reply = client.send(request, RequestOptions::new());
    Box::pin(async move { reply.await.map(drop) })
}

/// A list to its last page. A client that follows pages on its own leaves no cursor to go on from.
fn all_pages<'a>(client: &'a (impl Client + ?Sized), method: &'static str) -> Sending<'a> {
    // Not generic over the client: the future is compiled once.
    let send: Sender<'a> = Box::new(|request, options| client.send(request, options));
    follow(method, send)
}

fn follow<'a>(method: &'static str, send: Sender<'a>) -> Sending<'a> {
    Box::pin(async move {
        let sending = |request| send(request, RequestOptions::new().all_pages());
        let listed = lists::all(Request::new(method), sending).await?;
        Ok(listed.warned(None, method))
    })
}

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
fn params(name: &str, arguments: impl Serialize) -> Result<CallToolRequestParams, Error> {
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
