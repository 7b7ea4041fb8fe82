//! The messages of a client: as much of them as is needed to carry them.

use std::{borrow::Cow, io};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncRead, BufReader};

/// A message of the client.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// Empty if it is a response.
    pub(super) method: String,
    /// Of a modern request: clients up to 2025-11-25 do not say it with each.
    pub(super) version: Option<String>,
    /// What it names: a tool, a prompt, a resource, a task.
    name: Option<String>,
    pub(super) line: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request, with the JSON of its id.
    Request { id: String },
    /// Cancels the request with this id.
    Cancel { id: String },
    /// Another notification, or a response.
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    name: Option<Text>,
    uri: Option<Text>,
    #[serde(rename = "taskId")]
    task: Option<Text>,
    #[serde(rename = "requestId", borrow)]
    request: Option<&'a RawValue>,
    #[serde(rename = "_meta", default)]
    meta: Meta,
}

/// A text; anything else is as good as none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Is(String),
    Not(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<String>,
}

impl Message {
    /// What cannot be understood is carried all the same: the daemon says what is wrong with it.
    pub(super) fn of(line: Bytes) -> Self {
        let envelope = serde_json::from_slice::<Envelope<'_>>(&line).ok();
        let (id, method, params) = match &envelope {
            Some(envelope) => (envelope.id, envelope.method.as_deref(), envelope.params),
            None => (None, None, None),
        };
        let params = params.map_or("{}", RawValue::get);
        let params: Params<'_> = serde_json::from_str(params).unwrap_or_default();
        let kind = match (id, method) {
            (Some(id), Some(_)) => Kind::Request {
                id: id.get().to_owned(),
            },
            (None, Some("notifications/cancelled")) => Kind::Cancel {
                id: params.request.map_or("", RawValue::get).to_owned(),
            },
            // It is answered, whatever it is.
            _ if envelope.is_none() => Kind::Request {
                id: "null".to_owned(),
            },
            _ => Kind::Other,
        };
        let name = match method.unwrap_or_default() {
            "tools/call" | "prompts/get" => params.name,
            "resources/read" => params.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => params.task,
            _ => None,
        };
        let method = method.unwrap_or_default().to_owned();
        Self {
            kind,
            method,
            version: params.meta.version,
            name: match name {
                Some(Text::Is(name)) => Some(name),
                _ => None,
            },
            line,
        }
    }

    /// Whether it only reads, so that it may be sent twice.
    pub(super) fn only_reads(&self) -> bool {
        ONLY_READ.contains(&&*self.method)
    }

    /// The headers of a modern request, which say what its body says.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue)> {
        let version = self
            .version
            .as_deref()
            .map(|text| ("mcp-protocol-version", text));
        let method = Some(("mcp-method", self.method.as_str()));
        let name = self.name.as_deref().map(|text| ("mcp-name", text));
        let headers = [version, method, name].into_iter().flatten();
        headers.map(|(name, text)| (name, header_value(text)))
    }
}

/// A text as a header has it: in base64 if it is no plain ASCII.
fn header_value(text: &str) -> HeaderValue {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let is_plain = text.bytes().all(plain) && text.trim() == text && !text.starts_with("=?base64?");
    let encoded = match is_plain {
        true => Cow::Borrowed(text),
        false => format!("=?base64?{}?=", BASE64_STANDARD.encode(text)).into(),
    };
    HeaderValue::from_str(&encoded).expect("visible ASCII and blanks")
}

/// Whether a message of the daemon is the answer to a request.
pub(super) fn is_response(message: &[u8]) -> bool {
    serde_json::from_slice::<Envelope<'_>>(message)
        .is_ok_and(|envelope| envelope.id.is_some() && envelope.method.is_none())
}

/// The error of a response that is one.
pub(super) fn error_of(message: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice::<Envelope<'_>>(message).ok()?.error
}

/// An error of the bridge, as the answer to a request.
pub(super) fn failure(id: &str, message: &str, phase: &str, hint: &str) -> Bytes {
    let error = json!({
        "code": -32603,
        "message": message,
        "data": { "source": "mcp-pool", "phase": phase, "hint": hint },
    });
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into()
}

/// A message with its line end. JSON has line ends between its tokens alone, where they mean nothing.
pub(super) fn one_line(message: Bytes) -> Bytes {
    let mut line = BytesMut::with_capacity(message.len() + 1);
    line.put_slice(&message);
    for byte in line.iter_mut() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.put_u8(b'\n');
    line.freeze()
}

/// The lines of a client that are not empty.
pub(super) fn lines<R: AsyncRead + Unpin>(reader: R) -> Lines<R> {
    Lines(BufReader::new(reader))
}

pub(super) struct Lines<R>(BufReader<R>);

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The next line; `Some(None)` if it is too long: such a line is passed over.
    pub(super) async fn next(&mut self) -> io::Result<Option<Option<Bytes>>> {
        let (mut line, mut too_long) = (BytesMut::new(), false);
        loop {
            let part = self.0.fill_buf().await?;
            let end = part.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(part.len(), |at| at + 1);
            too_long |= line.len() + taken > LONGEST;
            match too_long {
                true => line = BytesMut::new(),
                false => line.extend_from_slice(&part[..taken]),
            }
            let is_last = part.is_empty();
            std::pin::Pin::new(&mut self.0).consume(taken);
            let is_blank = line.trim_ascii().is_empty() && !too_long;
            match (is_last, end.is_some(), is_blank) {
                (true, _, true) => return Ok(None),
                (_, true, true) => line.clear(),
                (true, ..) | (_, true, _) => return Ok(Some((!too_long).then(|| line.freeze()))),
                _ => {}
            }
        }
    }
}

/// Methods that change nothing, or what they change is the same after a second time.
const ONLY_READ: [&str; 20] = [
    "completion/complete",
    "initialize",
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
    "server/discover",
    "skills/get",
    "skills/list",
    "subscriptions/listen",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tools/list",
];
/// Bytes of a message, as the daemon takes them.
const LONGEST: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Message {
        Message::of(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_modern_request_has_the_headers_that_its_body_stands_for() {
        let message = of(r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":
            {"name":"grüße","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#);
        assert_eq!(message.kind, Kind::Request { id: "\"a\"".into() });
        let headers: Vec<_> = message.headers().collect();
        let text = |at: usize| headers[at].1.to_str().expect("ASCII");
        assert_eq!(
            (headers[0].0, text(0)),
            ("mcp-protocol-version", "2026-07-28")
        );
        assert_eq!((headers[1].0, text(1)), ("mcp-method", "tools/call"));
        assert_eq!(
            (headers[2].0, text(2)),
            ("mcp-name", "=?base64?Z3LDvMOfZQ==?=")
        );
    }

    #[test]
    fn what_is_no_message_is_a_request_without_an_id() {
        let null = Kind::Request { id: "null".into() };
        assert_eq!(of("{").kind, null);
        assert_eq!(of(r#"{"id":1,"result":{}}"#).kind, Kind::Other);
        let odd = of(r#"{"id":1,"method":"tools/call","params":{"name":7}}"#);
        assert_eq!(odd.kind, Kind::Request { id: "1".into() });
    }

    #[test]
    fn what_changes_something_is_not_sent_again() {
        let of = |method: &str| of(&format!(r#"{{"id":1,"method":"{method}"}}"#)).only_reads();
        assert!(of("tools/list") && of("resources/read") && of("initialize"));
        for method in [
            "tools/call",
            "tasks/update",
            "tasks/cancel",
            "no/such/method",
        ] {
            assert!(!of(method), "{method}");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over_and_the_next_is_read() {
        let long = "x".repeat(LONGEST + 1);
        let text = format!("\n{long}\n{{}}\r\n\nlast");
        let mut lines = lines(text.as_bytes());
        assert_eq!(lines.next().await.unwrap(), Some(None));
        let next = lines.next().await.unwrap().flatten().expect("a line");
        assert_eq!(next.trim_ascii(), b"{}");
        let last = lines.next().await.unwrap().flatten().expect("a line");
        assert_eq!(&last[..], b"last");
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
