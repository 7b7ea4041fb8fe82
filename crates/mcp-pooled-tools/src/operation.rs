//! Operation of a call: its method and tool, for errors, spans and metrics.

use std::{borrow::Cow, fmt};

/// What a call is about, for its errors and for whether it may be repeated.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Tool(Cow<'static, str>),
    Request(&'static str),
}

impl Operation {
    /// What a request of this method is about. Methods that the protocol does not know share one name, so that a caller
    /// cannot fill the metrics with names.
    pub(crate) fn of_method(method: &str) -> Self {
        let known = METHODS.iter().find(|known| **known == method);
        Self::Request(known.copied().unwrap_or("request"))
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

const METHODS: [&str; 18] = [
    "completion/complete",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/directory/read",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "skills/get",
    "skills/list",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    "tools/call",
    "tools/list",
];
