//! Arguments that a server wants repeated in headers.
//!
//! From 2026-07-28 on, the schema of a tool may name some. rmcp sends the headers of the tools that it has seen in a list on
//! the same transport, so that a session of such a server begins with one.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use rmcp::{
    RoleClient,
    model::{ClientRequest, ErrorCode, ListToolsRequest, PaginatedRequestParams, ServerResult},
    service::{Peer, ServiceError},
};
use serde_json::Value;

/// Whether this server's tools want arguments in headers; the first session finds out.
#[derive(Clone, Debug, Default)]
pub(super) struct ParamHeaders(Arc<AtomicU8>);

impl ParamHeaders {
    const NOT_NEEDED: u8 = 1;
    const NEEDED: u8 = 2;

    pub(super) fn may_be_needed(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::NOT_NEEDED
    }

    pub(super) fn are_needed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::NEEDED
    }

    /// Has rmcp see all tools of a session that was just opened. A list without end is left as every other one: at a cursor
    /// that the server gave before, or after a number of pages.
    pub(super) async fn learn(&self, peer: &Peer<RoleClient>) {
        const MAX_PAGES: usize = 1_000;
        let mut needed = false;
        let mut cursor = None;
        // Hashes: a cursor may be as long as a message.
        let (mut cursors, hasher) = (HashSet::new(), RandomState::new());
        for _ in 0..MAX_PAGES {
            let page = ListToolsRequest {
                params: Some(PaginatedRequestParams::default().with_cursor(cursor)),
                ..ListToolsRequest::default()
            };
            let request = ClientRequest::ListToolsRequest(page);
            let list = match peer.send_request(request).await {
                Ok(ServerResult::ListToolsResult(list)) => list,
                // Servers without tools answer with an error, which is as good as an empty list.
                Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => {
                    break;
                }
                // Nothing has been learnt: the next session tries again.
                _ => return,
            };
            let mut schemas = list.tools.iter().map(|tool| &*tool.input_schema);
            needed |= schemas.any(|schema| schema.values().any(wants_headers));
            cursor = list.next_cursor;
            let next = cursor.as_ref().map(|next| hasher.hash_one(next));
            if next.is_none_or(|next| !cursors.insert(next)) {
                break;
            }
        }
        let learnt = if needed {
            Self::NEEDED
        } else {
            Self::NOT_NEEDED
        };
        self.0.store(learnt, Ordering::Relaxed);
    }
}

/// Whether a schema, or one within it, has an argument repeated in a header.
fn wants_headers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.contains_key("x-mcp-header") || fields.values().any(wants_headers)
        }
        Value::Array(items) => items.iter().any(wants_headers),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_is_wanted_in_a_header_is_found_at_any_depth() {
        let nested = serde_json::json!({ "where": { "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
        }}});
        assert!(wants_headers(&nested));
        assert!(!wants_headers(
            &serde_json::json!({ "region": { "type": "string" } })
        ));
    }
}
