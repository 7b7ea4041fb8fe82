//! Replies to a handshake that cannot be used, in words.

use rmcp::model::{DiscoverResult, ErrorCode, ErrorData, ProtocolVersion, ServerResult};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{OpenError, OpenErrorKind, Phase};

/// Which field keeps a result from being a `T`.
pub(super) fn why_no<T: DeserializeOwned>(result: &ServerResult) -> String {
    let value = match result {
        ServerResult::CustomResult(custom) => Ok(custom.0.clone()),
        other => serde_json::to_value(other),
    };
    let Ok(value) = value else {
        return "it cannot be read".into();
    };
    if !value.is_object() {
        return "it is no object".into();
    }
    match serde_path_to_error::deserialize::<_, T>(&value) {
        Err(error) if error.path().iter().next().is_none() => error.into_inner().to_string(),
        Err(error) => format!("`{}`: {}", error.path(), error.inner()),
        Ok(_) => "it is the result of another request".into(),
    }
}

/// A discovery, whatever it says of how long it may be kept: it is not kept.
pub(super) fn discovered(result: &ServerResult) -> Option<DiscoverResult> {
    let ServerResult::CustomResult(custom) = result else {
        return None;
    };
    let mut fields = custom.0.as_object()?.clone();
    fields.insert("ttlMs".into(), 0.into());
    fields.insert("cacheScope".into(), "private".into());
    let kind = fields.entry("resultType");
    kind.or_insert_with(|| "complete".into());
    serde_json::from_value(Value::Object(fields)).ok()
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
