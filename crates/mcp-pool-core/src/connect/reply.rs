//! Errors for replies to a handshake that cannot be used.

use rmcp::model::{
    DiscoverResult, ErrorCode, ErrorData, Implementation, InitializeResult, ProtocolVersion,
    ServerCapabilities, ServerResult,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    decode::{drop_unfit, misfit},
    error::{OpenError, OpenErrorKind, Phase},
};

/// Which field keeps a result from being a `T`.
pub(super) fn why_no<T: DeserializeOwned>(result: &ServerResult) -> String {
    let value = match result {
        ServerResult::CustomResult(custom) => Ok(custom.0.clone()),
        other => serde_json::to_value(other),
    };
    let Ok(value) = value else {
        return "it cannot be read".into();
    };
    misfit::<T>(&value).unwrap_or_else(|| "it is the result of another request".into())
}

/// A reply to `initialize` without optional fields that do not fit, and what was left out. Servers send `instructions` as a
/// list, or icons in a form of their own: nothing of a session rests on these.
pub(super) fn initialized(result: &ServerResult) -> Option<(InitializeResult, Vec<String>)> {
    let mut fields = fields(result)?;
    let mut notes = Vec::new();
    let server = json!({"name": "", "version": ""});
    if let Some(info) = fields.get_mut("serverInfo") {
        drop_unfit::<Implementation>(info, &server, "`serverInfo`", &mut notes)?;
    }
    let least = json!({"protocolVersion": "", "capabilities": {}, "serverInfo": server});
    let result = without_unfit(fields, &least, "`initialize`", &mut notes)?;
    Some((result, notes))
}

/// A discovery, whatever it says of how long it may be kept: it is not kept. With what was left out.
pub(super) fn discovered(result: &ServerResult) -> Option<(DiscoverResult, Vec<String>)> {
    let mut fields = fields(result)?;
    let mut notes = Vec::new();
    fields.insert("ttlMs".into(), 0.into());
    fields.insert("cacheScope".into(), "private".into());
    let kind = fields.entry("resultType");
    kind.or_insert_with(|| "complete".into());
    let least = json!({
        "resultType": "complete", "supportedVersions": [], "capabilities": {}, "ttlMs": 0, "cacheScope": "private",
    });
    let result = without_unfit(fields, &least, "`server/discover`", &mut notes)?;
    Some((result, notes))
}

/// The fields of a result that rmcp has no kind for.
fn fields(result: &ServerResult) -> Option<Map<String, Value>> {
    match result {
        ServerResult::CustomResult(custom) => custom.0.as_object().cloned(),
        _ => None,
    }
}

/// The result as a `T`, without optional fields that do not fit. Of the capabilities only those are optional that are
/// outside of the protocol.
fn without_unfit<T: DeserializeOwned>(
    mut fields: Map<String, Value>,
    least: &Value,
    of: &str,
    notes: &mut Vec<String>,
) -> Option<T> {
    if let Some(Value::Object(capabilities)) = fields.get_mut("capabilities") {
        for name in ["experimental", "extensions"] {
            let Some(capability) = capabilities.remove(name) else {
                continue;
            };
            let mut alone = json!({ name: capability });
            drop_unfit::<ServerCapabilities>(&mut alone, &json!({}), "`capabilities`", notes)?;
            capabilities.extend(
                alone
                    .as_object_mut()
                    .map(std::mem::take)
                    .unwrap_or_default(),
            );
        }
    }
    let mut result = Value::Object(fields);
    drop_unfit::<T>(&mut result, least, &format!("the reply to {of}"), notes)?;
    serde_json::from_value(result).ok()
}

/// The versions that a refusal names.
pub(super) fn supported_versions(error: &ErrorData) -> Vec<ProtocolVersion> {
    let supported = error.data.as_ref().and_then(|data| data.get("supported"));
    supported
        .and_then(|versions| serde_json::from_value(versions.clone()).ok())
        .unwrap_or_default()
}

/// The server answered a request of the handshake with an error.
pub(super) fn refused(method: &str, error: &ErrorData) -> OpenError {
    let mut message = format!(
        "the server refused `{method}`: {} ({})",
        error.message, error.code.0
    );
    let supported = supported_versions(error);
    if !supported.is_empty() {
        message.push_str("; set `protocol_version` to one that it supports: ");
        message.push_str(&list(&supported));
    }
    let kind = match error.code {
        _ if !supported.is_empty() => OpenErrorKind::NoCommonVersion,
        ErrorCode::INVALID_REQUEST | ErrorCode::METHOD_NOT_FOUND | ErrorCode::INVALID_PARAMS => {
            OpenErrorKind::Incompatible
        }
        _ => OpenErrorKind::Handshake,
    };
    OpenError::new(kind, Phase::Handshake, message)
}

pub(super) fn no_common_version(ours: &ProtocolVersion, theirs: &[ProtocolVersion]) -> OpenError {
    let message = format!(
        "client and server share no protocol version: ours is {ours}, the server's are {}",
        list(theirs),
    );
    OpenError::new(OpenErrorKind::NoCommonVersion, Phase::Handshake, message)
}

fn list(versions: &[ProtocolVersion]) -> String {
    if versions.is_empty() {
        return "unknown".into();
    }
    let versions: Vec<_> = versions.iter().map(ProtocolVersion::as_str).collect();
    versions.join(", ")
}
