//! Encodes raw requests as lines.

use std::collections::BTreeMap;

use rmcp::{
    ErrorData,
    model::{ClientConfig, RequestMetaObject, ServerPeerInfo},
    service::ServiceError,
};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    decode::{self, unbreak},
    raw_request::RawRequest,
};

const META: &str = "_meta";
const PROGRESS_TOKEN: &str = "progressToken";

/// Fields of `_meta` that a modern server wants with every request.
#[derive(Debug, Default)]
pub(crate) struct Defaults(Map<String, Value>);

impl Defaults {
    /// Those of a client on a session: none where the handshake has sent them.
    pub(crate) fn new(server: Option<&ServerPeerInfo>, client: &ClientConfig) -> Self {
        let Some(server) = server.filter(|server| !server.protocol_version.has_initialize()) else {
            return Self::default();
        };
        let meta = RequestMetaObject::with_client_context(
            server.protocol_version.clone(),
            client.client_info.clone(),
            client.capabilities.clone(),
        );
        match serde_json::to_value(meta) {
            Ok(Value::Object(fields)) => Self(fields),
            _ => Self::default(),
        }
    }
}

/// A request as one line, with its newline.
///
/// # Errors
/// Parameters that are no object.
pub(super) fn request_line(
    id: i64,
    request: RawRequest<'_>,
    defaults: &Defaults,
) -> Result<Vec<u8>, ServiceError> {
    let params = Params::read(request.params)?;
    let length = request.params.map_or(0, |params| params.get().len());
    let mut line = Vec::with_capacity(160 + request.method.len() + length);
    line.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    write(&mut line, &id);
    line.extend_from_slice(br#","method":"#);
    write(&mut line, &request.method);
    line.extend_from_slice(br#","params":{"_meta":{"#);
    let given = request.meta.map(|meta| &meta.0.0);
    let is_given = |key: &str| given.is_some_and(|meta| meta.contains_key(key));
    for (key, value) in &params.meta {
        if key != PROGRESS_TOKEN && !defaults.0.contains_key(&**key) && !is_given(key) {
            field(&mut line, key, value);
        }
    }
    for (key, value) in defaults.0.iter().filter(|(key, _)| !is_given(key)) {
        field(&mut line, key, value);
    }
    for (key, value) in given.into_iter().flatten() {
        if key != PROGRESS_TOKEN {
            field(&mut line, key, value);
        }
    }
    line.extend_from_slice(br#""progressToken":"#);
    write(&mut line, &id);
    line.push(b'}');
    match &params.rest {
        Rest::Text("") => {}
        Rest::Text(fields) => {
            line.push(b',');
            let start = line.len();
            line.extend_from_slice(fields.as_bytes());
            unbreak(&mut line[start..]);
        }
        Rest::Fields(fields) => {
            for (key, value) in fields {
                line.push(b',');
                field(&mut line, key, value);
                line.pop();
            }
        }
    }
    line.extend_from_slice(b"}}\n");
    Ok(line)
}

/// Notifies the server that nothing waits for the reply to a request.
pub(super) fn cancelled_line(id: i64, reason: &str) -> Vec<u8> {
    let reason = Value::from(reason);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\"reason\":{reason}}}}}\n"
    )
    .into_bytes()
}

/// Parameters, with their `_meta` apart.
struct Params<'a> {
    meta: BTreeMap<String, &'a RawValue>,
    rest: Rest<'a>,
}

enum Rest<'a> {
    /// The fields as they are written, without braces.
    Text(&'a str),
    Fields(BTreeMap<String, &'a RawValue>),
}

impl<'a> Params<'a> {
    fn read(params: Option<&'a RawValue>) -> Result<Self, ServiceError> {
        let text = params.map_or("{}", RawValue::get).trim();
        let fields = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        let Some(fields) = fields else {
            let message = "the parameters of a request must be a JSON object";
            return Err(ServiceError::McpError(ErrorData::invalid_params(
                message, None,
            )));
        };
        // Escaped, the key may look like anything.
        if !text.contains(META) && !text.contains("\\u") {
            return Ok(Self {
                meta: BTreeMap::new(),
                rest: Rest::Text(fields.trim()),
            });
        }
        let mut fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(decode::unwritable)?;
        let meta = fields.remove(META);
        let meta = meta.and_then(|meta| serde_json::from_str(meta.get()).ok());
        Ok(Self {
            meta: meta.unwrap_or_default(),
            rest: Rest::Fields(fields),
        })
    }
}

/// Writes `"key":value,`.
fn field(line: &mut Vec<u8>, key: &str, value: &impl Serialize) {
    write(line, key);
    line.push(b':');
    let start = line.len();
    write(line, value);
    unbreak(&mut line[start..]);
    line.push(b',');
}

fn write<T: Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(line, value).expect("text, numbers and JSON can be written");
}
