//! A server's reply as a value: JSON until the caller asks for the typed form.
//!
//! A reply that is only passed on is never parsed into rmcp's types, which drop fields that they do not know.

use std::{fmt, sync::Arc};

use rmcp::model::{
    CallToolResponse, CallToolResult, GetPromptResponse, InputRequiredResult, ReadResourceResponse,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::{Error, ErrorKind},
    operation::Operation,
    request::json,
    tool_cache::Asked,
};

/// The result of a request, as the server wrote it.
#[derive(Clone)]
pub struct Reply {
    raw: Box<RawValue>,
    kind: ReplyKind,
    is_error: bool,
    from: Option<Arc<(Arc<str>, Operation)>>,
    asked: Option<Asked>,
}

/// What a result is, by its `resultType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplyKind {
    /// The result that was asked for.
    Complete,
    /// The server asks for input first.
    InputRequired,
    /// The server has started a task, whose result is asked for later.
    Task,
}

impl Reply {
    /// A reply with this result.
    #[must_use]
    pub fn new(raw: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope {
            result_type: Option<String>,
            is_error: Option<bool>,
        }
        // Most results have neither, and a search is much cheaper than a parse.
        let text = raw.get();
        let marked = text.contains(r#""resultType""#) || text.contains(r#""isError""#);
        let envelope = marked.then(|| serde_json::from_str(text).unwrap_or_default());
        let envelope: Envelope = envelope.unwrap_or_default();
        Self {
            kind: match envelope.result_type.as_deref() {
                Some("input_required") => ReplyKind::InputRequired,
                Some("task") => ReplyKind::Task,
                _ => ReplyKind::Complete,
            },
            is_error: envelope.is_error == Some(true),
            raw,
            from: None,
            asked: None,
        }
    }

    /// A reply with a typed result.
    #[must_use]
    pub fn typed(result: &impl Serialize) -> Self {
        Self::new(json(result))
    }

    /// Names the server and the request in errors to come.
    pub(crate) fn from_server(mut self, server: &Arc<str>, operation: Operation) -> Self {
        self.from = Some(Arc::new((Arc::clone(server), operation)));
        self
    }

    /// Notes when a list of tools was requested.
    pub(crate) fn asked_for(mut self, asked: Option<Asked>) -> Self {
        self.asked = asked;
        self
    }

    pub(crate) fn asked(&self) -> Option<Asked> {
        self.asked
    }

    /// What the result is.
    #[must_use]
    pub fn kind(&self) -> ReplyKind {
        self.kind
    }

    /// Whether this is the result of a tool that reports a failure (`isError`).
    #[must_use]
    pub fn is_tool_error(&self) -> bool {
        self.is_error
    }

    /// The result as the server wrote it.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }

    /// The result as the server wrote it.
    #[must_use]
    pub fn into_raw(self) -> Box<RawValue> {
        self.raw
    }

    /// The result in its typed form.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if it does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.raw.get()).map_err(|error| self.misfit(&error))
    }

    /// The result of a tool, or what stands in its place.
    ///
    /// # Errors
    /// As [`Reply::parse`].
    pub fn parse_tool_response(&self) -> Result<CallToolResponse, Error> {
        Ok(match self.kind {
            ReplyKind::Complete => CallToolResponse::Complete(self.tool_result()?),
            ReplyKind::InputRequired => CallToolResponse::InputRequired(self.parse()?),
            ReplyKind::Task => CallToolResponse::Task(self.parse()?),
        })
    }

    /// The result of a tool. A task is an error that holds it.
    ///
    /// # Errors
    /// [`ErrorKind::Task`] if the tool started a task; else as [`Reply::parse`].
    pub fn parse_tool_result(&self) -> Result<CallToolResult, Error> {
        if self.kind != ReplyKind::Task {
            return self.tool_result();
        }
        let task = self.parse()?;
        let (server, tool) = match self.from.as_deref() {
            Some((server, operation)) => (Some(server), operation.tool()),
            None => (None, None),
        };
        Err(Error::task_started(server, tool.unwrap_or_default(), task))
    }

    /// A tool may leave out all of its result.
    fn tool_result(&self) -> Result<CallToolResult, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Contentless {
            result_type: Option<rmcp::model::ResultType>,
            #[serde(rename = "_meta")]
            meta: Option<rmcp::model::MetaObject>,
        }
        match self.parse() {
            Err(misfit) => {
                let contentless = serde_json::from_str::<Contentless>(self.raw.get());
                let contentless = contentless.map_err(|_| misfit)?;
                let mut result = CallToolResult::default();
                result.result_type = contentless.result_type;
                result.meta = contentless.meta;
                Ok(result)
            }
            result => result,
        }
    }

    pub(crate) fn parse_prompt(&self) -> Result<GetPromptResponse, Error> {
        match self.kind {
            ReplyKind::InputRequired => self.parse().map(GetPromptResponse::InputRequired),
            _ => self.parse().map(GetPromptResponse::Complete),
        }
    }

    pub(crate) fn parse_resource(&self) -> Result<ReadResourceResponse, Error> {
        match self.kind {
            ReplyKind::InputRequired => self.parse().map(ReadResourceResponse::InputRequired),
            _ => self.parse().map(ReadResourceResponse::Complete),
        }
    }

    /// What the server asks for before it gives its result.
    pub(crate) fn input_required(&self) -> Option<InputRequiredResult> {
        let asks = self.kind == ReplyKind::InputRequired;
        asks.then(|| self.parse().ok()).flatten()
    }

    fn misfit(&self, error: &serde_json::Error) -> Error {
        let what = match self.from.as_deref() {
            Some((_, operation)) => operation.to_string(),
            None => "the request".to_owned(),
        };
        let reason = mcp_pool_core::sanitize(&error.to_string(), str::to_owned);
        let message = format!("{what}: the answer makes no sense: {reason}");
        let error = Error::new(ErrorKind::Protocol, message);
        match self.from.as_deref() {
            Some((server, _)) => error.at(server, mcp_pool_core::Phase::Call),
            None => error,
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("kind", &self.kind)
            .field("bytes", &self.raw.get().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn fields_and_content_that_rmcp_does_not_know_are_kept_in_the_raw_form() {
        let odd = json!({"content": [{"type": "hologram", "x": 1}], "extra": {"a": [null]}});
        let reply = Reply::typed(&odd);
        let raw: Value = serde_json::from_str(reply.raw().get()).unwrap();
        assert_eq!(raw, odd);
    }

    #[test]
    fn what_a_reply_is_is_read_from_its_envelope_alone() {
        let kind = |result: Value| Reply::typed(&result).kind();
        assert_eq!(
            kind(json!({"resultType": "input_required"})),
            ReplyKind::InputRequired
        );
        assert_eq!(
            kind(json!({"resultType": "task", "taskId": "1"})),
            ReplyKind::Task
        );
        assert_eq!(
            kind(json!({"a": {"resultType": "task"}})),
            ReplyKind::Complete
        );
        assert!(Reply::typed(&json!({"isError": true})).is_tool_error());
        assert!(!Reply::typed(&json!({"structuredContent": {"isError": true}})).is_tool_error());
    }

    #[test]
    fn a_tool_may_leave_out_its_result() {
        for result in [
            json!({}),
            json!({"resultType": "complete"}),
            json!({"_meta": {"a": 1}}),
        ] {
            assert!(
                Reply::typed(&result).parse_tool_result().is_ok(),
                "{result}"
            );
        }
        let error = Reply::typed(&json!({"tools": []}))
            .parse_tool_result()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
}
