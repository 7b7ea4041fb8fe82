//! The way of a request to its server, and of the reply back.

use std::sync::Arc;

use mcp_pool_core::CallerHandler;
use rmcp::model::ServerPeerInfo;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{
    Aggregator,
    catalogue::State,
    client::Named,
    edits::string,
    kind::ListKind,
    rewrite, selection,
    table::{Found, Table, Target},
    uris,
};
use crate::{
    client::{BoxFuture, Client},
    error::Error,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    server::Server,
    subscription::resources::{SUBSCRIBE, UNSUBSCRIBE},
};

impl Client for Aggregator {
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            // Lists belong to an identity, and state to a scope.
            if let Some(other) = self.for_options(&options) {
                return other.dispatch(request, options).await;
            }
            self.dispatch(request, options).await
        })
    }
}

/// What the target of a request is known by.
#[derive(Clone, Copy)]
pub(super) enum By {
    Tool,
    Prompt,
    Uri,
    Template,
}

impl By {
    fn find(self, table: &Table, name: &str) -> Found {
        match self {
            Self::Tool => table.tool(name),
            Self::Prompt => table.prompt(name),
            Self::Uri => table.uri(name),
            Self::Template => table.template(name),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Uri => "resource",
            Self::Template => "resource template",
        }
    }
}

impl Aggregator {
    fn for_options(&self, options: &RequestOptions) -> Option<Self> {
        let identity = options
            .identity
            .clone()
            .map(|identity| self.with_identity(identity));
        match &options.scope {
            Some(scope) => Some(identity.as_ref().unwrap_or(self).scoped(scope.clone())),
            None => identity,
        }
    }

    async fn dispatch(&self, request: Request, options: RequestOptions) -> Result<Reply, Error> {
        if let Some(kind) = ListKind::listed_by(request.method()) {
            return self.page(kind, &request, &options).await;
        }
        match request.method() {
            "tools/call" => self.forward(By::Tool, &["name"], request, options).await,
            "prompts/get" => self.forward(By::Prompt, &["name"], request, options).await,
            "resources/read"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "resources/directory/read" => self.forward(By::Uri, &["uri"], request, options).await,
            "completion/complete" => {
                let names_prompt = request
                    .params()
                    .and_then(|params| rewrite::at(params, &["ref", "name"]));
                let (by, path) = match names_prompt {
                    Some(_) => (By::Prompt, ["ref", "name"]),
                    None => (By::Template, ["ref", "uri"]),
                };
                self.forward(by, &path, request, options).await
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
                self.forward_task(request, options).await
            }
            "logging/setLevel" => self.set_level(&request).await,
            "ping" => {
                self.0.manager.check_open()?;
                Ok(Reply::typed(&serde_json::json!({})))
            }
            method => {
                let message = format!(
                    "method `{}`: not available over several servers",
                    method.escape_debug()
                );
                Err(Error::refused(METHOD_NOT_FOUND, &message))
            }
        }
    }

    /// Sends a request to the server of what the member at `path` names.
    async fn forward(
        &self,
        by: By,
        path: &[&str],
        request: Request,
        options: RequestOptions,
    ) -> Result<Reply, Error> {
        let name = named(&request, path)?;
        let target = self.target(by, &name).await?;
        let request = renamed(request, path, &name, &target.own)?;
        let Target { server, own } = target;
        let (begins, ends) = (
            request.method() == SUBSCRIBE,
            request.method() == UNSUBSCRIBE,
        );
        let subscribed = &self.0.subscribed;
        let subscribing = begins.then(|| subscribed.begin(&server, &own, &name));
        let reply = self.send_to(&server, request, options).await?;
        if let Some(subscribing) = subscribing {
            subscribing.taken();
        }
        if ends {
            subscribed.end(&server, &own);
        }
        Ok(reply)
    }

    async fn forward_task(
        &self,
        request: Request,
        options: RequestOptions,
    ) -> Result<Reply, Error> {
        let path = &["taskId"];
        let task = named(&request, path)?;
        let known = self.servers();
        let target = uris::unwrap(&task).and_then(|(server, own)| {
            let server = known.iter().find(|known| *known.name == *server)?;
            Some((Arc::clone(&server.name), own))
        });
        let Some((server, own)) = target else {
            let message = format!("there is no task `{}`", task.escape_debug());
            return Err(Error::refused(INVALID_PARAMS, &message));
        };
        let request = renamed(request, path, &task, &own)?;
        self.send_to(&server, request, options).await
    }

    async fn send_to(
        &self,
        server: &Arc<str>,
        request: Request,
        mut options: RequestOptions,
    ) -> Result<Reply, Error> {
        let tools = self.handle(server)?;
        if self.0.client.is_some() && tools.server().waits_for_its_era() {
            let cancelled = options.cancellation.clone().unwrap_or_default();
            let learning = Box::pin(self.learn_era(tools.server()));
            cancelled.run_until_cancelled(learning).await;
        }
        // The handle has them.
        (options.identity, options.scope) = (None, None);
        options.handler = options.handler.map(|handler| -> CallerHandler {
            Arc::new(Named {
                server: Arc::clone(server),
                handler,
                subscribed: Arc::clone(&self.0.subscribed),
            })
        });
        let method = request.method().to_owned();
        let reply = tools.send(request, options).await?;
        let table = self.table();
        let uri = |uri: &str, mention| table.exposed_uri(server, uri, mention);
        let task = |task: &str| uris::wrap(server, task);
        match rewrite::reply(&method, reply.raw(), &uri, &task) {
            Some(raw) => Ok(reply.with_raw(raw)),
            None => Ok(reply),
        }
    }

    /// Lists a server that was modern in an earlier process: its first session says what it is now, and if it still is
    /// modern, that session serves all.
    async fn learn_era(&self, server: &Arc<Server>) {
        let catalogue = &self.0.catalogue;
        let State::Known(lists) = catalogue.state(&server.name) else {
            return;
        };
        let is_modern = |info: &ServerPeerInfo| !info.protocol_version.has_initialize();
        if lists.info.as_ref().is_some_and(is_modern) {
            let (hub, manager) = (&self.0.hub, &self.0.manager);
            hub.fetch(manager, server, self.0.identity.as_ref());
            let limit = hub.settings().list_timeout;
            // A call to a server that cannot be listed says why.
            let _ = timeout(limit, catalogue.not_fetching(&server.name)).await;
        }
    }

    /// Where a name leads. Servers that are not known are asked for their lists, until one has it.
    pub(super) async fn target(&self, by: By, name: &str) -> Result<Target, Error> {
        let servers = self.servers();
        self.restore(&servers).await;
        let mut found = self.find(by, name);
        if found == Found::Nothing {
            self.refresh(&servers, |this| this.find(by, name) != Found::Nothing)
                .await;
            found = self.find(by, name);
        }
        match found {
            Found::One(target) => Ok(target),
            Found::Several(servers) => {
                Err(Error::refused(INVALID_PARAMS, &several(by, name, &servers)))
            }
            Found::Nothing => {
                self.0.manager.check_open()?;
                let kind = match by {
                    By::Tool => ListKind::Tools,
                    By::Prompt => ListKind::Prompts,
                    By::Uri => ListKind::Resources,
                    By::Template => ListKind::Templates,
                };
                let mut message = format!("there is no {} `{}`", by.noun(), name.escape_debug());
                for missing in self.missing(kind, &servers) {
                    message.push_str(&format!("; missing: {missing}"));
                }
                let code = match by {
                    By::Uri => RESOURCE_NOT_FOUND,
                    _ => INVALID_PARAMS,
                };
                Err(Error::refused(code, &message))
            }
        }
    }

    fn find(&self, by: By, name: &str) -> Found {
        let table = self.table();
        match by.find(&table, name) {
            Found::Nothing if matches!(by, By::Tool) => self.referred(&table, name),
            found => found,
        }
    }

    /// A tool by its reference, `mcp.server.tool`. Exposed names have no dots.
    fn referred(&self, table: &Table, reference: &str) -> Found {
        let servers: Vec<_> = self
            .servers()
            .iter()
            .map(|server| Arc::clone(&server.name))
            .collect();
        match selection::parse(reference, &servers) {
            Some((server, Some(tool))) if table.exposes_tool(&server, tool) => Found::One(Target {
                server,
                own: tool.to_owned(),
            }),
            _ => Found::Nothing,
        }
    }
}

/// The text at a path of the parameters.
fn named(request: &Request, path: &[&str]) -> Result<String, Error> {
    let value = request
        .params()
        .and_then(|params| rewrite::at(params, path));
    value.and_then(string).ok_or_else(|| {
        let message = format!(
            "parameters of `{}`: `{}` is missing or no text",
            request.method(),
            path.join(".")
        );
        Error::refused(INVALID_PARAMS, &message)
    })
}

/// The request with another text at a path of its parameters.
fn renamed(request: Request, path: &[&str], from: &str, to: &str) -> Result<Request, Error> {
    if from == to {
        return Ok(request);
    }
    let params: Option<Box<RawValue>> = request
        .params()
        .map(|params| rewrite::params(params, path, to));
    let mut renamed = Request::from_raw(request.method().to_owned(), params.as_deref())?;
    *renamed.meta_mut() = request.meta().clone();
    Ok(renamed)
}

fn several(by: By, name: &str, servers: &[Arc<str>]) -> String {
    let shown = servers.iter().map(|server| match by {
        By::Uri => format!("`{}`", uris::wrap(server, name)),
        By::Template => format!("`{}`", uris::wrap_template(server, name)),
        By::Tool | By::Prompt => format!("server `{}`", server.escape_debug()),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let advice = match by {
        By::Uri | By::Template => format!("use one of {shown}"),
        By::Tool | By::Prompt => format!("{shown} have it; set prefix = \"always\" or an alias"),
    };
    format!(
        "{} `{}` is ambiguous: {advice}",
        by.noun(),
        name.escape_debug()
    )
}

const INVALID_PARAMS: i32 = -32_602;
const METHOD_NOT_FOUND: i32 = -32_601;
const RESOURCE_NOT_FOUND: i32 = -32_002;
