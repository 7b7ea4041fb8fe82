//! What a call is about.

use std::{borrow::Cow, fmt};

use rmcp::model::ClientRequest;

/// What a call is about, for its errors and for whether it may be repeated.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Tool(Cow<'static, str>),
    Request(&'static str),
}

impl Operation {
    /// What a request of any kind is about.
    pub(crate) fn of(request: &ClientRequest) -> Self {
        match request {
            ClientRequest::CallToolRequest(call) => Self::Tool(call.params.name.clone()),
            ClientRequest::UpdateTaskRequest(_) => Self::Request("tasks/update"),
            // The methods that are counted by name have methods of their own.
            _ => Self::Request("request"),
        }
    }

    pub(crate) fn has_effects(&self) -> bool {
        matches!(self, Self::Tool(_))
    }

    /// The JSON-RPC method.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Tool(_) => "tools/call",
            Self::Request(method) => method,
        }
    }

    /// The method and, if it is about one, the tool: what OpenTelemetry calls its span.
    pub(crate) fn title(&self) -> Cow<'static, str> {
        match self {
            Self::Tool(name) => format!("{} {name}", self.method()).into(),
            Self::Request(method) => Cow::Borrowed(method),
        }
    }

    pub(crate) fn tool(&self) -> Option<&str> {
        match self {
            Self::Tool(name) => Some(name),
            Self::Request(_) => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(name) => write!(f, "tool `{name}`"),
            Self::Request(method) => write!(f, "`{method}`"),
        }
    }
}
