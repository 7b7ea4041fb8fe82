//! JSON-RPC messages of clients. Only the envelope is read: parameters and results stay the JSON that they are.

use std::borrow::Cow;

use bytes::Bytes;
use rmcp::{ErrorData, model::ErrorCode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A message from a client.
#[derive(Debug)]
pub(crate) enum Message {
    Request(Incoming),
    Notification {
        method: String,
        params: Option<Box<RawValue>>,
    },
    /// The answer to a question of a server.
    Response {
        id: String,
        outcome: Outcome,
    },
}

/// A request of a client. Its id is kept as the client wrote it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: Box<RawValue>,
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
}

/// The result, or the error in its place.
pub(crate) type Outcome = Result<Box<RawValue>, ErrorData>;

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    error: Option<ErrorData>,
}

/// A member that is there, also if it is null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(member: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(member).map(Some)
}

impl Message {
    /// # Errors
    /// A JSON-RPC error for what is no message.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ErrorData> {
        let invalid =
            |what: &str| ErrorData::new(ErrorCode::INVALID_REQUEST, what.to_owned(), None);
        if text.trim_ascii_start().first() == Some(&b'[') {
            return Err(invalid(
                "batches are not part of this protocol: send one message",
            ));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(|error| {
            let code = match error.is_data() {
                true => ErrorCode::INVALID_REQUEST,
                false => ErrorCode::PARSE_ERROR,
            };
            ErrorData::new(code, format!("not a JSON-RPC message: {error}"), None)
        })?;
        if envelope.jsonrpc.as_deref() != Some("2.0") {
            return Err(invalid("member `jsonrpc` must be \"2.0\""));
        }
        let params = envelope.params.map(ToOwned::to_owned);
        match (envelope.id, envelope.method) {
            (None, Some(method)) => Ok(Self::Notification { method, params }),
            (Some(id), Some(method)) if is_id(id) => Ok(Self::Request(Incoming {
                id: id.to_owned(),
                method,
                params,
            })),
            (Some(id), None) if is_id(id) => {
                let outcome = match (envelope.result, envelope.error) {
                    (_, Some(error)) => Err(error),
                    (Some(result), None) => Ok(result.to_owned()),
                    (None, None) => return Err(invalid("neither `result` nor `error`")),
                };
                // All ids of questions are strings.
                let id = serde_json::from_str(id.get()).unwrap_or_default();
                Ok(Self::Response { id, outcome })
            }
            _ => Err(invalid("member `id` must be a string or a number")),
        }
    }
}

fn is_id(id: &RawValue) -> bool {
    matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'))
}

/// A response to a request of a client.
pub(crate) fn response(id: &RawValue, outcome: &Outcome) -> Bytes {
    match outcome {
        Ok(result) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into(),
        Err(error) => format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}",
            json(error)
        )
        .into(),
    }
}

/// A request of the gateway, under an id of its own.
pub(crate) fn request(id: &str, method: &str, params: Option<&RawValue>) -> Bytes {
    let params = params.map_or_else(String::new, |params| format!(",\"params\":{params}"));
    let (id, method) = (json(id), json(method));
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method}{params}}}").into()
}

/// A notification for a client.
pub(crate) fn notification(method: &str, params: &impl Serialize) -> Bytes {
    let params = json(params);
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}").into()
}

/// An error of the gateway's own. `phase` says where it happened, `hint` what to do.
pub(crate) fn own_error(
    code: ErrorCode,
    message: impl Into<Cow<'static, str>>,
    phase: &str,
    hint: &str,
) -> ErrorData {
    let data = serde_json::json!({ "source": "mcp-pool", "phase": phase, "hint": hint });
    ErrorData::new(code, message, Some(data))
}

/// The JSON of a value that has one.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("keys are strings and values finite")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_as_the_client_wrote_them() {
        for id in ["1", "-7", "18446744073709551616", "\"a\\u0062\"", "1.5"] {
            let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}");
            let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else {
                panic!("{id} is an id");
            };
            let reply = response(&request.id, &Ok(json(&serde_json::json!({}))));
            let expected = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
            assert_eq!(reply, expected);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_code() {
        let code = |text: &str| Message::parse(text.as_bytes()).map_err(|error| error.code.0);
        assert_eq!(code("{").err(), Some(-32700));
        for text in [
            "[]",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(code(text).err(), Some(-32600), "{text}");
        }
    }
}
