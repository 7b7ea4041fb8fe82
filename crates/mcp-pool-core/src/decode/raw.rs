//! Messages of a server of which only the envelope is parsed.
//!
//! A reply to a raw request is found by its id and handed on as it is. All else goes on to be decoded.

use rmcp::model::{ErrorData, JsonRpcMessage, NumberOrString, RequestId};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Decoded, decode,
    envelope::{self, Envelope},
    error_data, error_of, failure, in_words, text, weight,
};

/// One message, or several: in an array, or one behind the other where a newline was left out.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "each is taken apart at once; a box would cost an allocation per message"
)]
pub(crate) enum Incoming {
    Reply(RawReply),
    Other(Decoded),
    /// Each with its bytes on the wire. An array within an array is none.
    Batch(Vec<(usize, Incoming)>),
}

impl Incoming {
    /// Whether it is a message, and no failure to read one.
    fn is_sound(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.outcome.is_ok(),
            Self::Other(decoded) => {
                matches!(&decoded.message, Some(message) if !matches!(message, JsonRpcMessage::Error(_)))
            }
            Self::Batch(_) => true,
        }
    }
}

/// The reply to a raw request.
#[derive(Debug)]
pub(crate) struct RawReply {
    pub(crate) id: i64,
    pub(crate) outcome: Result<Box<RawValue>, ErrorData>,
}

/// Reads what a server sent. `is_raw` says which ids are those of raw requests.
pub(crate) fn read(
    bytes: &[u8],
    max_message_size: usize,
    is_raw: impl Fn(i64) -> bool + Copy,
) -> Incoming {
    let bytes = &*text::plain(bytes);
    let read = |message: &[u8]| (message.len(), read_one(message, max_message_size, is_raw));
    if bytes.first() != Some(&b'[') {
        let one = read_one(bytes, max_message_size, is_raw);
        if one.is_sound() || weight::is_too_heavy(bytes, max_message_size) {
            return one;
        }
        return match envelope::objects(bytes) {
            Some(several) => Incoming::Batch(several.into_iter().map(read).collect()),
            None => behind_text(bytes).map_or(one, |reply| read(reply).1),
        };
    }
    if weight::is_too_heavy(bytes, max_message_size) {
        return Incoming::Other(Decoded::default());
    }
    let batch: Vec<_> = envelope::elements(bytes).map(read).collect();
    // A line of a log may begin with its level in brackets.
    match behind_text(bytes).filter(|_| !batch.iter().any(|(_, one)| one.is_sound())) {
        Some(reply) => read(reply).1,
        None => Incoming::Batch(batch),
    }
}

/// A whole reply at the end of a line that begins with other text: a line of a log without its newline.
fn behind_text(bytes: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr(b'{', bytes).filter(|at| *at > 0)?;
    let envelope = Envelope::scan(&bytes[at..])?;
    (envelope.is_whole && envelope.is_reply() && envelope.jsonrpc.is_some()).then(|| &bytes[at..])
}

/// In place of a reply, the reason why it is not read. What is no reply is noise.
pub(crate) fn refuse(bytes: &[u8], reason: &str, is_raw: impl Fn(i64) -> bool) -> Incoming {
    let envelope = Envelope::scan(bytes).filter(Envelope::is_reply);
    let Some(id) = envelope.and_then(|envelope| envelope.id()) else {
        return Incoming::Other(Decoded::default());
    };
    match number(&id).filter(|id| is_raw(*id)) {
        Some(id) => Incoming::Reply(RawReply {
            id,
            outcome: Err(error_of(reason)),
        }),
        None => Incoming::Other(Decoded {
            message: Some(failure(reason, Some(id))),
            ..Decoded::default()
        }),
    }
}

fn read_one(
    bytes: &[u8],
    max_message_size: usize,
    is_raw: impl Fn(i64) -> bool + Copy,
) -> Incoming {
    match raw_reply(bytes, is_raw) {
        Some(reply) => Incoming::Reply(reply),
        None => Incoming::Other(decode(bytes, max_message_size)),
    }
}

/// The reply to a raw request, if `bytes` are one: a reply with an id that `is_raw`.
pub(crate) fn raw_reply(bytes: &[u8], is_raw: impl Fn(i64) -> bool) -> Option<RawReply> {
    let Some(whole) = Whole::read(bytes) else {
        return by_envelope(bytes, is_raw);
    };
    let id = whole.id().filter(|id| is_raw(*id))?;
    let outcome = match (whole.error, whole.result) {
        (Some(error), _) => Err(error_from(error.get().as_bytes())),
        (None, Some(result)) => Ok(result.to_owned()),
        (None, None) => Err(error_of(NEITHER)),
    };
    Some(RawReply { id, outcome })
}

/// A sound reply.
#[derive(Deserialize)]
struct Whole<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<IgnoredAny>,
}

impl<'a> Whole<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        // Checked as a whole: from a slice, each part would be checked by itself.
        let whole: Self = serde_json::from_str(str::from_utf8(bytes).ok()?).ok()?;
        (whole.jsonrpc == "2.0" && whole.method.is_none()).then_some(whole)
    }

    /// Some servers return a number as text, or with a fraction of zero.
    fn id(&self) -> Option<i64> {
        let id = self.id.get().trim_matches('"');
        id.strip_suffix(".0").unwrap_or(id).parse().ok()
    }
}

/// A result may be null, which is not the same as none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The reply in a message that is no JSON, or not JSON-RPC.
fn by_envelope(bytes: &[u8], is_raw: impl Fn(i64) -> bool) -> Option<RawReply> {
    let envelope = Envelope::scan(bytes).filter(Envelope::is_reply)?;
    let id = number(&envelope.id()?).filter(|id| is_raw(*id))?;
    let outcome = if !envelope.is_whole {
        Err(error_of("it breaks off"))
    } else if envelope.jsonrpc != Some(br#""2.0""#) {
        Err(error_of(r#"it lacks "jsonrpc": "2.0""#))
    } else if let Some(error) = envelope.error {
        Err(error_from(error))
    } else if let Some(result) = envelope.result {
        mended(result).map_err(|error| error_of(&in_words(&error)))
    } else {
        Err(error_of(NEITHER))
    };
    Some(RawReply { id, outcome })
}

fn mended(json: &[u8]) -> serde_json::Result<Box<RawValue>> {
    serde_json::from_slice(json).or_else(|_| serde_json::from_slice(&text::mend(json)))
}

fn error_from(json: &[u8]) -> ErrorData {
    if weight::is_too_heavy(json, super::DEFAULT_MAX_MESSAGE_SIZE) {
        return error_of(super::TOO_HEAVY);
    }
    let read = serde_json::from_slice(json).or_else(|_| serde_json::from_slice(&text::mend(json)));
    match read {
        Ok(error) => error_data(error),
        Err(error) => error_of(&in_words(&error)),
    }
}

/// The number of an id. Some servers return a number as text.
pub(crate) fn number(id: &RequestId) -> Option<i64> {
    match id {
        NumberOrString::Number(number) => Some(*number),
        NumberOrString::String(text) => text.parse().ok(),
    }
}

const NEITHER: &str = "it has neither a result nor an error";
