//! Decoding of what a server sends: one message out of bytes, whatever transport brought them.
//!
//! Servers send replies that rmcp's types do not take: a content block of a later protocol version, a tool without a
//! schema, bytes that are not UTF-8. The call behind such a reply has run, so its reply must not be lost. Decoding goes
//! in steps, and each is tried only where the one before failed:
//!
//! 1. The message as rmcp reads it ([`tool_result`] is a short cut to the same outcome).
//! 2. A result of a known kind, part by part ([`lenient`]): what fits is kept, what does not is noted.
//! 3. The envelope alone ([`envelope`]). A reply whose id can be read ends its call with the reason.
//!
//! # Content that rmcp has no type for
//! A content block that is unknown or incomplete becomes a text block that holds the block's JSON, and its `_meta` names
//! the original type under [`UNDECODED_CONTENT`]. A text block is what every caller and every model can read, it takes
//! the place of the original in the order of blocks, and the JSON loses nothing. Optional fields that do not fit are
//! moved into the block's `_meta` under [`DROPPED_FIELDS`].

mod envelope;
mod lenient;
mod misfit;
mod raw;
#[cfg(test)]
mod tests;
mod text;
mod tool_result;
mod weight;

use std::borrow::Cow;

use envelope::Envelope;
pub(crate) use lenient::drop_unfit_noted as drop_unfit;
pub(crate) use misfit::misfit;
pub(crate) use raw::{Incoming, RawReply, number, read, refuse};
use rmcp::{
    model::{ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage, ServerResult},
    service::ServiceError,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
pub(crate) use text::unbreak;
use tokio::task::spawn_blocking;

use crate::{raw_params::RawParams, redact::sanitize};

/// Default limit on one message, in bytes: what rmcp allows over HTTP.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 16 * 1024 * 1024;

/// Bytes up to which a message is decoded where it is read: the worker is not kept for a millisecond.
pub(crate) const LONG: usize = 32 * 1024;

/// Key in the `_meta` of a text block that stands for a content block which could not be decoded. The text is the
/// block's JSON; the value is the block's `type`, or null.
pub const UNDECODED_CONTENT: &str = "mcp-pool/undecoded";

/// Key in the `_meta` of a content block, under which optional fields are kept that could not be decoded.
pub const DROPPED_FIELDS: &str = "mcp-pool/dropped";

/// What became of the bytes of a message.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The message; an error in place of a reply that could not be decoded; `None` if the bytes are no message.
    pub(crate) message: Option<ServerJsonRpcMessage>,
    /// Parts that were left out and why, fit for a log. At most [`lenient::MAX_NOTES`].
    pub(crate) notes: Vec<String>,
    /// Whether rmcp reads the same from these bytes.
    #[allow(
        dead_code,
        reason = "a transport that rmcp decodes for passes such bytes on"
    )]
    pub(crate) exact: bool,
}

impl Decoded {
    fn exact(message: ServerJsonRpcMessage) -> Self {
        Self {
            message: Some(message),
            notes: Vec::new(),
            exact: true,
        }
    }

    fn mended(message: ServerJsonRpcMessage) -> Self {
        Self {
            exact: false,
            ..Self::exact(message)
        }
    }
}

/// Decodes one message of a server. The memory that it takes is bounded by `max_message_size`, in bytes.
pub(crate) fn decode(bytes: &[u8], max_message_size: usize) -> Decoded {
    let bytes = text::plain(bytes);
    decode_plain(&bytes, max_message_size)
}

fn decode_plain(bytes: &[u8], max_message_size: usize) -> Decoded {
    let bytes = envelope::only_element(bytes).unwrap_or(bytes);
    if bytes.first() != Some(&b'{') {
        return Decoded::default();
    }
    if weight::is_too_heavy(bytes, max_message_size) {
        return Decoded {
            message: Envelope::scan(bytes).and_then(|envelope| envelope.failed(TOO_HEAVY)),
            ..Decoded::default()
        };
    }
    if let Some(message) = tool_result::parse(bytes) {
        return Decoded::exact(message);
    }
    match serde_json::from_slice(bytes) {
        Ok(message) if is_certain(&message) => Decoded::exact(RawParams::attach(message, bytes)),
        Ok(message) => part_by_part(bytes, message),
        Err(_) => match text::mend(bytes) {
            Cow::Borrowed(bytes) => by_envelope(bytes),
            Cow::Owned(mended) => Decoded {
                exact: false,
                ..decode_plain(&mended, max_message_size)
            },
        },
    }
}

/// Reads a result as a `T`, and says what was left out of it. A long one is read off the runtime's workers.
pub(crate) async fn parse_result<T>(result: Box<RawValue>) -> (Result<T, ServiceError>, Vec<String>)
where
    T: DeserializeOwned + Send + 'static,
{
    if result.get().len() <= LONG {
        return parse_here(&result);
    }
    let parsing = spawn_blocking(move || parse_here(&result)).await;
    // An error means that the runtime is shutting down.
    parsing.unwrap_or_else(|_| (Err(ServiceError::TransportClosed), Vec::new()))
}

/// Reads a result as whatever kind of result it is, and says what was left out of it.
pub(crate) async fn parse_any(
    result: Box<RawValue>,
) -> (Result<ServerResult, ServiceError>, Vec<String>) {
    let size = result.get().len();
    let read = move || {
        let line = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#);
        decode(line.as_bytes(), DEFAULT_MAX_MESSAGE_SIZE)
    };
    let decoded = match size <= LONG {
        true => read(),
        false => spawn_blocking(read).await.unwrap_or_default(),
    };
    let result = match decoded.message {
        Some(JsonRpcMessage::Response(response)) => Ok(response.result),
        Some(JsonRpcMessage::Error(error)) => Err(ServiceError::McpError(error.error)),
        _ => Err(ServiceError::UnexpectedResponse),
    };
    (result, decoded.notes)
}

fn parse_here<T: DeserializeOwned>(result: &RawValue) -> (Result<T, ServiceError>, Vec<String>) {
    let json = result.get();
    if weight::is_too_heavy(json.as_bytes(), DEFAULT_MAX_MESSAGE_SIZE) {
        return (Err(undecodable(TOO_HEAVY)), Vec::new());
    }
    if let Ok(parsed) = serde_json::from_str(json) {
        return (Ok(parsed), Vec::new());
    }
    let mended = text::mend(json.as_bytes());
    if matches!(mended, Cow::Owned(_))
        && let Ok(parsed) = serde_json::from_slice(&mended)
    {
        return (Ok(parsed), Vec::new());
    }
    let value = match serde_json::from_slice::<Value>(&mended) {
        Ok(value) => value,
        Err(error) => return (Err(undecodable(&in_words(&error))), Vec::new()),
    };
    let why = unknown_kind(&value).or_else(|| misfit::<T>(&value));
    let bare = bare_content(&value);
    let mended = lenient::result(value).or(bare).and_then(|(result, notes)| {
        let parsed = serde_json::from_value(serde_json::to_value(result).ok()?).ok()?;
        Some((Ok(parsed), notes))
    });
    mended.unwrap_or_else(|| {
        let error = why.map_or(ServiceError::UnexpectedResponse, |why| undecodable(&why));
        (Err(error), Vec::new())
    })
}

/// A `resultType` of a later protocol version, or of none.
fn unknown_kind(result: &Value) -> Option<String> {
    let kind = result.get("resultType")?.as_str()?;
    let is_known = ["complete", "input_required", "task"].contains(&kind);
    (!is_known).then(|| format!("`resultType` is unknown: {}", sanitize(kind, str::to_owned)))
}

/// A result of a tool call that has none of the fields of one. Servers return what their function did as it is.
fn bare_content(value: &Value) -> Option<(ServerResult, Vec<String>)> {
    // These say that it is another kind of result.
    let others = ["resultType", "task", "taskId"];
    let is_other = value.is_null() || others.iter().any(|field| value.get(field).is_some());
    (!is_other).then_some(())?;
    let content = serde_json::json!({"content": value});
    let note = "the result of a tool call has no content: all of it is taken for that".to_owned();
    let (result, _) = lenient::result(content)?;
    Some((result, vec![note]))
}

/// The error of a call whose reply could not be decoded.
fn undecodable(reason: &str) -> ServiceError {
    ServiceError::McpError(error_of(reason))
}

/// The error of a call whose request is no JSON-RPC.
pub(crate) fn unwritable(error: serde_json::Error) -> ServiceError {
    let message = format!("the request cannot be written: {error}");
    ServiceError::McpError(ErrorData::invalid_params(message, None))
}

/// Whether the message is not one of those that rmcp takes for anything it does not know.
fn is_certain(message: &ServerJsonRpcMessage) -> bool {
    !matches!(
        message,
        JsonRpcMessage::Response(response)
            if matches!(response.result, ServerResult::CustomResult(_) | ServerResult::TaskAckResult(_))
    )
}

/// A result that rmcp has no kind for, or that does not fit its kind as a whole.
fn part_by_part(bytes: &[u8], message: ServerJsonRpcMessage) -> Decoded {
    let JsonRpcMessage::Response(response) = &message else {
        return Decoded::exact(message);
    };
    let result = Envelope::scan(bytes).and_then(|envelope| envelope.result);
    let result = result.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let Some((result, notes)) = result.and_then(lenient::result) else {
        return Decoded::exact(message);
    };
    Decoded {
        notes,
        ..Decoded::mended(JsonRpcMessage::response(result, response.id.clone()))
    }
}

/// A message that is no JSON, or not JSON-RPC.
fn by_envelope(bytes: &[u8]) -> Decoded {
    let Some(envelope) = Envelope::scan(bytes).filter(Envelope::is_reply) else {
        return Decoded::default();
    };
    if envelope.has_no_id() {
        return without_id(&envelope);
    }
    let Some(id) = envelope.id() else {
        return Decoded::default();
    };
    let failed = |reason: &str| Decoded {
        message: Some(failure(reason, Some(id.clone()))),
        ..Decoded::default()
    };
    if !envelope.is_whole {
        return failed("it breaks off");
    }
    if envelope.jsonrpc != Some(br#""2.0""#) {
        return failed(r#"it lacks "jsonrpc": "2.0""#);
    }
    if let Some(error) = envelope.error {
        return match serde_json::from_slice(error) {
            Ok(error) => Decoded::mended(JsonRpcMessage::error(error_data(error), Some(id))),
            Err(error) => failed(&in_words(&error)),
        };
    }
    let Some(result) = envelope.result else {
        return failed("it has neither a result nor an error");
    };
    let result: Value = match serde_json::from_slice(result) {
        Ok(result) => result,
        Err(error) => return failed(&in_words(&error)),
    };
    // The result may well be sound: `"error": null` beside it is all that rmcp does not take.
    if let Ok(result) = serde_json::from_value::<ServerResult>(result) {
        let message = JsonRpcMessage::response(result, id);
        if is_certain(&message) {
            return Decoded::mended(message);
        }
        return Decoded {
            exact: false,
            ..part_by_part(bytes, message)
        };
    }
    failed("it is no result of a known kind")
}

/// A reply to a request whose id the server could not read, or forgot. What it replies to is known where the requests are.
fn without_id(envelope: &Envelope<'_>) -> Decoded {
    let answers = envelope.result.is_some() || envelope.error.is_some();
    if !answers || !envelope.is_whole || envelope.jsonrpc != Some(br#""2.0""#) {
        return Decoded::default();
    }
    let error = envelope.error.map(|error| {
        serde_json::from_slice(error).map_or_else(|e| error_of(&in_words(&e)), error_data)
    });
    let error = error.unwrap_or_else(|| error_of("it has no id"));
    Decoded::mended(JsonRpcMessage::error(error, None))
}

/// The error with which a call ends whose reply could not be decoded.
fn failure(reason: &str, id: Option<RequestId>) -> ServerJsonRpcMessage {
    JsonRpcMessage::error(error_of(reason), id)
}

fn error_of(reason: &str) -> ErrorData {
    let message = format!("the server's reply could not be decoded: {reason}");
    ErrorData::internal_error(message, None)
}

const TOO_HEAVY: &str = "it holds too many values (max_message_size)";

/// What is wrong with text that should be JSON.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        return "it is nested more than 125 levels deep".to_owned();
    }
    format!("it is not JSON: {text}")
}

/// A server's error, in its own words. The code is 0, which no specification uses, where the server sent none that is a
/// 32-bit integer; what has no place in [`ErrorData`] is its `data`.
fn error_data(error: Value) -> ErrorData {
    if let Ok(error) = serde_json::from_value(error.clone()) {
        return error;
    }
    let field = |name: &str| error.get(name).filter(|value| !value.is_null());
    let number = field("code").and_then(Value::as_f64);
    #[allow(clippy::cast_possible_truncation, reason = "held against the range")]
    let code = number
        .filter(|code| code.fract() == 0.0 && code.abs() < f64::from(i32::MAX))
        .map(|code| code as i32);
    let mut message = match (&error, field("message")) {
        (Value::String(text), _) | (_, Some(Value::String(text))) => text.clone(),
        (_, Some(other)) => other.to_string(),
        (Value::Object(_), None) => "the server gave no message".to_owned(),
        (other, None) => other.to_string(),
    };
    if let Some(sent) = field("code").filter(|_| code.is_none()) {
        let sent = sent
            .as_str()
            .map_or_else(|| sent.to_string(), str::to_owned);
        message = format!("{message} ({sent})");
    }
    let data = field("data").cloned();
    let data = data.or_else(|| (code.is_none() && error.is_object()).then(|| error.clone()));
    ErrorData::new(ErrorCode(code.unwrap_or_default()), message, data)
}
