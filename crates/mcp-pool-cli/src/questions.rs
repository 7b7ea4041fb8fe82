//! Questions that a server asks during a call: a person at a terminal answers forms, and everything else is declined.

#![allow(
    deprecated,
    reason = "servers of the earlier protocol ask for messages of a model"
)]

use std::io::{BufRead as _, Write as _};

use mcp_pooled_tools::{FromServer, rmcp};
use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, ErrorCode,
        Implementation, ProgressNotificationParam,
    },
    service::{NotificationContext, RequestContext},
};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::{arguments, output::Output, progress::Progress, signature, terminal};

/// Answers the questions of servers.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    output: Output,
    /// Drawn where the questions are asked.
    progress: Progress,
    /// Whether a person can be asked.
    can_ask: bool,
    /// The only server of this client, if it has but one.
    server: Option<String>,
}

impl Questions {
    pub(crate) fn new(output: Output, progress: &Progress) -> Self {
        Self {
            output,
            progress: progress.clone(),
            can_ask: terminal::can_ask(),
            server: None,
        }
    }

    /// All questions are of this server, if it is one: the daemon does not say whose they are.
    pub(crate) fn of(&self, server: Option<&str>) -> Self {
        Self {
            server: server.map(str::to_owned),
            ..self.clone()
        }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The server that asks.
    fn asking(&self, context: &RequestContext<RoleClient>) -> String {
        let named = context.extensions.get();
        let named = named.map(|FromServer(server)| &**server);
        match named.or(self.server.as_deref()) {
            Some(server) => format!("server `{}`", server.escape_debug()),
            None => "a server".to_owned(),
        }
    }

    fn decline(&self, context: &RequestContext<RoleClient>, what: &str) {
        let server = self.asking(context);
        self.output
            .note(format!("{server} asks for {what}: declined"));
    }
}

impl ClientHandler for Questions {
    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.decline(&context, "a message of a model (sampling)");
        let message = "there is no model at a command line";
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let request = serde_json::to_value(&request);
        let request =
            request.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        if !self.can_ask {
            let message = request["message"].as_str().unwrap_or_default();
            let message = terminal::shortened(message, 60);
            self.decline(&context, &format!("input ({message})"));
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        }
        let server = self.asking(&context);
        self.progress.end();
        // On a thread of its own: a person may be at it when the program is to end.
        let (answer, answered) = oneshot::channel();
        std::thread::spawn(move || {
            // The call may have ended meanwhile.
            let _ = answer.send(ask(&server, &request));
        });
        let answer = answered.await.ok().flatten();
        Ok(match answer {
            Some(content) => ElicitResult::new(ElicitationAction::Accept).with_content(content),
            None => ElicitResult::new(ElicitationAction::Decline),
        })
    }

    /// The daemon reports progress here, a pool of this process to the call.
    async fn on_progress(
        &self,
        reported: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.report(&reported);
    }

    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        let name = Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities, name)
    }
}

/// Asks the person at the terminal. `None` if they decline.
fn ask(server: &str, request: &Value) -> Option<Value> {
    let message = request["message"].as_str().unwrap_or_default();
    say(&format!("{server} asks: {}\n", terminal::harmless(message)));
    if let Some(url) = request["url"].as_str() {
        say(&format!(
            "Open {} and go on there.\n",
            terminal::harmless(url)
        ));
        let yes = line("Done? [y/N] ")?;
        return yes.eq_ignore_ascii_case("y").then(|| Map::new().into());
    }
    say("An empty line leaves a field out; where it is required, it declines.\n");
    let schema = &request["requestedSchema"];
    let mut content = Map::new();
    for (name, property) in signature::properties(schema, schema) {
        let value = field(name, property, schema)?;
        if let Some(value) = value {
            content.insert(name.to_owned(), value);
        }
    }
    Some(content.into())
}

/// The value of one field. The outer `None` declines the form, the inner one leaves the field out.
#[allow(clippy::option_option, reason = "both have a meaning")]
fn field(name: &str, property: &Value, schema: &Value) -> Option<Option<Value>> {
    let kind = signature::of_schema(property, schema);
    let title = property["title"].as_str().unwrap_or(name);
    if let Some(description) = property["description"].as_str() {
        say(&format!("  {}\n", terminal::harmless(description)));
    }
    let default = property.get("default");
    let shown = default.map(|default| format!(" [{default}]"));
    let shown = shown.unwrap_or_default();
    loop {
        let text = line(&format!(
            "  {} ({kind}){shown}: ",
            terminal::harmless(title)
        ))?;
        match (text.is_empty(), default) {
            (true, Some(default)) => return Some(Some(default.clone())),
            (true, None) if signature::is_required(schema, schema, name) => return None,
            (true, None) => return Some(None),
            (false, _) => {}
        }
        match arguments::typed(&text, property, schema) {
            Some(value) => return Some(Some(value)),
            None => say(&format!("  expected {kind}\n")),
        }
    }
}

/// A line of the person; `None` at the end of the input.
fn line(prompt: &str) -> Option<String> {
    say(prompt);
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_owned()),
    }
}

fn say(text: &str) {
    let mut out = anstream::stderr().lock();
    // A person who does not see it does not answer.
    let _ = write!(out, "{text}");
    let _ = out.flush();
}
