//! A server's reply as a value: JSON until the caller asks for the typed form.
//!
//! A reply that is only passed on is never parsed into rmcp's types, which drop fields that they do not know.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use mcp_pool_core::{CallFailure, Session};
use memchr::memmem::Finder;
use rmcp::{
    model::{
        CallToolResponse, CallToolResult, GetPromptResponse, MetaObject, ReadResourceResponse,
        ResultType, ServerResult,
    },
    service::ServiceError,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::Error, operation::Operation, request::json, secrets::Secrets, tool_cache::Asked,
};

/// The result of a request, as the server wrote it.
#[derive(Clone)]
pub struct Reply {
    raw: Box<RawValue>,
    kind: ReplyKind,
    is_error: bool,
    from: Option<Arc<Source>>,
    asked: Option<Asked>,
    incomplete: Option<Arc<str>>,
}

/// Where a result is from.
struct Source {
    server: Arc<str>,
    operation: Operation,
    session: Option<Arc<Session>>,
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
        // Most results have neither, or say what they are without, and a search is much cheaper than a parse.
        let text = raw.get();
        let marked =
            may_differ(text, &RESULT_TYPE, r#""complete""#) || may_differ(text, &IS_ERROR, "false");
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
            incomplete: None,
        }
    }

    /// A reply with a typed result.
    #[must_use]
    pub fn typed(result: &impl Serialize) -> Self {
        Self::new(json(result))
    }

    /// Notes where the result is from, for errors to come and for how it is parsed.
    pub(crate) fn from(
        mut self,
        server: &Arc<str>,
        operation: Operation,
        session: Option<&Arc<Session>>,
    ) -> Self {
        self.from = Some(Arc::new(Source {
            server: Arc::clone(server),
            operation,
            session: session.cloned(),
        }));
        self
    }

    /// Notes when a list of tools was requested.
    pub(crate) fn asked_for(mut self, asked: Option<Asked>) -> Self {
        self.asked = asked;
        self
    }

    /// The same reply with another result of the same kind.
    pub(crate) fn with_raw(mut self, raw: Box<RawValue>) -> Self {
        self.raw = raw;
        self
    }

    /// Notes why a list is not whole.
    pub(crate) fn cut(mut self, why: &str) -> Self {
        self.incomplete = Some(why.into());
        self
    }

    /// Of a list that was followed to its end ([`RequestOptions::all_pages`](crate::RequestOptions::all_pages)): why it is
    /// not whole, if it is not.
    #[must_use]
    pub fn incomplete(&self) -> Option<&str> {
        self.incomplete.as_deref()
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

    /// The result in its typed form. Of a pooled session's result, parts that do not fit are left out or become text, with
    /// a warning: see [`UNDECODED_CONTENT`](mcp_pool_core::UNDECODED_CONTENT). A long one is parsed off the runtime's
    /// workers.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) if it does not fit.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn parse<T: DeserializeOwned + Send + 'static>(self) -> Result<T, Error> {
        let Self { raw, from, .. } = self;
        let from = from.as_deref();
        let parsed = match from.and_then(|from| from.session.as_ref()) {
            Some(session) => session.parse(raw).await,
            None => serde_json::from_str(raw.get()).map_err(|_| ServiceError::UnexpectedResponse),
        };
        parsed.map_err(|error| unfit(from, error))
    }

    /// The result as whatever kind it is, with parts that do not fit as in [`Reply::parse`].
    pub(crate) async fn parse_any(self) -> Result<ServerResult, Error> {
        let Self { raw, from, .. } = self;
        let from = from.as_deref();
        let parsed = match from.and_then(|from| from.session.as_ref()) {
            Some(session) => session.parse_any(raw).await,
            None => serde_json::from_str(raw.get()).map_err(|_| ServiceError::UnexpectedResponse),
        };
        parsed.map_err(|error| unfit(from, error))
    }

    /// The result of a tool, or what stands in its place.
    ///
    /// # Errors
    /// As [`Reply::parse`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn parse_tool_response(self) -> Result<CallToolResponse, Error> {
        Ok(match self.kind {
            ReplyKind::Complete => CallToolResponse::Complete(self.tool_result().await?),
            ReplyKind::InputRequired => CallToolResponse::InputRequired(self.parse().await?),
            ReplyKind::Task => CallToolResponse::Task(self.parse().await?),
        })
    }

    /// The result of a tool. A task is an error that holds it.
    ///
    /// # Errors
    /// [`ErrorKind::Task`](crate::ErrorKind::Task) if the tool started a task; else as [`Reply::parse`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn parse_tool_result(self) -> Result<CallToolResult, Error> {
        if self.kind != ReplyKind::Task {
            return self.tool_result().await;
        }
        let from = self.from.clone();
        let task = self.parse().await?;
        let from = from.as_deref();
        let tool = from.and_then(|from| from.operation.tool());
        let server = from.map(|from| &from.server);
        Err(Error::task_started(server, tool.unwrap_or_default(), task))
    }

    /// A tool may leave out all of its result.
    async fn tool_result(self) -> Result<CallToolResult, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Contentless {
            result_type: Option<ResultType>,
            #[serde(rename = "_meta")]
            meta: Option<MetaObject>,
        }
        let text = self.raw.get();
        let contentless = (!text.contains(r#""content""#))
            .then(|| serde_json::from_str::<Contentless>(text).ok())
            .flatten();
        let Some(contentless) = contentless else {
            return self.parse().await;
        };
        let mut result = CallToolResult::default();
        result.result_type = contentless.result_type;
        result.meta = contentless.meta;
        Ok(result)
    }

    pub(crate) async fn parse_prompt(self) -> Result<GetPromptResponse, Error> {
        Ok(match self.kind {
            ReplyKind::InputRequired => GetPromptResponse::InputRequired(self.parse().await?),
            _ => GetPromptResponse::Complete(self.parse().await?),
        })
    }

    pub(crate) async fn parse_resource(self) -> Result<ReadResourceResponse, Error> {
        Ok(match self.kind {
            ReplyKind::InputRequired => ReadResourceResponse::InputRequired(self.parse().await?),
            _ => ReadResourceResponse::Complete(self.parse().await?),
        })
    }

    /// What the server asks for before it gives its result.
    pub(crate) fn input_required(&self) -> Option<InputRequired> {
        let asks = self.kind == ReplyKind::InputRequired;
        asks.then(|| serde_json::from_str(self.raw.get()).ok())
            .flatten()
    }
}

/// Questions of a server, as it wrote them: rmcp's types drop fields that they do not know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InputRequired {
    #[serde(default)]
    pub(crate) input_requests: Option<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    pub(crate) request_state: Option<String>,
}

/// Made once: that takes longer than to search a short text.
static RESULT_TYPE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(r#""resultType""#));
static IS_ERROR: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(r#""isError""#));

/// Whether a field of this name may have another value than the usual one, in the object or in what it holds.
fn may_differ(text: &str, field: &Finder<'_>, usual: &str) -> bool {
    field.find_iter(text.as_bytes()).any(|at| {
        let value = text[at + field.needle().len()..]
            .trim_start()
            .strip_prefix(':');
        !value.is_some_and(|value| value.trim_start().starts_with(usual))
    })
}

fn unfit(from: Option<&Source>, error: ServiceError) -> Error {
    let Some(Source {
        server, operation, ..
    }) = from
    else {
        return error.into();
    };
    let (secrets, failure) = (Secrets::default(), CallFailure::of(&error));
    Error::call(server, &secrets, operation, failure, error, None)
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
        let inner = json!({"content": ["isError"], "structuredContent": {"isError": false}});
        assert!(!Reply::typed(&inner).is_tool_error());
        let spaced = r#"{"structuredContent":{"isError":false},"isError" : true}"#.to_owned();
        assert!(Reply::new(RawValue::from_string(spaced).unwrap()).is_tool_error());
    }

    #[tokio::test]
    async fn a_tool_may_leave_out_its_result() {
        for result in [
            json!({}),
            json!({"resultType": "complete"}),
            json!({"_meta": {"a": 1}}),
        ] {
            let parsed = Reply::typed(&result).parse_tool_result().await;
            assert!(parsed.is_ok(), "{result}");
        }
        let other = Reply::typed(&json!({"tools": []})).parse_tool_result();
        assert_eq!(other.await.unwrap_err().kind(), crate::ErrorKind::Protocol);
    }
}
