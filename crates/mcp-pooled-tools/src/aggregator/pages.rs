//! Merged lists as replies, and what the aggregate says of itself.

use std::sync::Arc;

use rmcp::model::{ProtocolVersion, ServerCapabilities, ServerPeerInfo};
use serde::de::DeserializeOwned;
use serde_json::{json, value::RawValue};

use super::{Aggregator, Listing, Missing, catalogue::State, cursor::Cursor, kind::ListKind};
use crate::{
    error::Error,
    reply::Reply,
    request::{self, Request},
    request_options::RequestOptions,
    server::Server,
};

impl Aggregator {
    /// The items of all servers in their typed form.
    pub(super) async fn list_all<T: DeserializeOwned>(
        &self,
        kind: ListKind,
    ) -> Result<Listing<T>, Error> {
        self.0.manager.check_open()?;
        let servers = self.servers();
        self.refresh(&servers, |_| false).await;
        let table = self.table();
        let parse = |raw: &RawValue| match serde_json::from_str(raw.get()) {
            Ok(item) => Some(item),
            Err(error) => {
                tracing::warn!("{}: an item is left out: {error}", kind.method());
                None
            }
        };
        let parsed = table.shown(kind).iter().filter_map(|raw| parse(raw));
        Ok(Listing {
            items: parsed.collect(),
            missing: self.missing(kind, &servers),
        })
    }

    /// A page of the merged list, or all of it.
    pub(super) async fn page(
        &self,
        kind: ListKind,
        request: &Request,
        options: &RequestOptions,
    ) -> Result<Reply, Error> {
        self.0.manager.check_open()?;
        let servers = self.servers();
        self.refresh(&servers, |_| false).await;
        let table = self.table();
        let (items, generation) = (table.shown(kind), table.fingerprint(kind));
        let start = match cursor(request)? {
            None => 0,
            Some(text) => Cursor::decode(&text)
                .filter(|cursor| cursor.generation == generation && cursor.offset <= items.len())
                .map(|cursor| cursor.offset)
                .ok_or_else(|| {
                    let message = "the cursor is of another list: the list has changed; request it from its beginning";
                    Error::refused(INVALID_PARAMS, message)
                })?,
        };
        let end = match options.all_pages {
            true => items.len(),
            false => items.len().min(start + PAGE),
        };
        let next = (end < items.len()).then(|| {
            let cursor = Cursor {
                generation,
                offset: end,
            };
            cursor.encode()
        });
        let missing = self.missing(kind, &servers);
        let hints = self.cache_hints(kind, &servers, &missing);
        Ok(Reply::new(written(
            kind,
            &items[start..end],
            next,
            hints,
            &missing,
        )))
    }

    /// The shortest time over servers, and `private` if one says so.
    fn cache_hints(
        &self,
        kind: ListKind,
        servers: &[Arc<Server>],
        missing: &[Missing],
    ) -> CacheHints {
        let mut hints = CacheHints::default();
        for server in servers {
            if let State::Known(lists) = self.0.catalogue.state(&server.name)
                && let Some(list) = lists.list(kind)
            {
                hints.ttl_ms = hints.ttl_ms.into_iter().chain(list.ttl_ms).min();
                hints.private |= list.private;
            }
        }
        if !missing.is_empty() {
            // What is missing may be there soon.
            hints.ttl_ms = hints.ttl_ms.map(|ttl| ttl.min(PARTIAL_TTL_MS));
        }
        hints
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct CacheHints {
    ttl_ms: Option<u64>,
    private: bool,
}

fn cursor(request: &Request) -> Result<Option<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Paginated {
        cursor: Option<String>,
    }
    Ok(request.parse_params::<Paginated>()?.cursor)
}

fn written(
    kind: ListKind,
    items: &[Box<RawValue>],
    next: Option<String>,
    hints: CacheHints,
    missing: &[Missing],
) -> Box<RawValue> {
    let mut members = vec![format!(
        "{}:{}",
        request::json(kind.member()),
        request::json(items)
    )];
    if let Some(next) = next {
        members.push(format!("\"nextCursor\":{}", request::json(&next)));
    }
    if let Some(ttl_ms) = hints.ttl_ms {
        members.push(format!("\"ttlMs\":{ttl_ms}"));
    }
    if hints.private || hints.ttl_ms.is_some() {
        let scope = if hints.private { "private" } else { "public" };
        members.push(format!("\"cacheScope\":\"{scope}\""));
    }
    if !missing.is_empty() {
        members.push(format!(
            "\"_meta\":{{\"mcp-pool/missing\":{}}}",
            request::json(missing)
        ));
    }
    let page = format!("{{{}}}", members.join(","));
    RawValue::from_string(page).expect("members of objects make an object")
}

/// What servers can do together. Tools, prompts and resources are always declared: a server that has them may come later.
pub(super) fn capabilities<'a>(infos: impl Iterator<Item = &'a ServerPeerInfo>) -> ServerPeerInfo {
    let lists = json!({ "listChanged": true });
    let all = json!({ "tools": lists, "prompts": lists, "resources": lists, "completions": {} });
    let mut all: ServerCapabilities = serde_json::from_value(all).unwrap_or_default();
    let mut version: Option<ProtocolVersion> = None;
    for info in infos {
        let own = &info.capabilities;
        if all.logging.is_none() {
            all.logging.clone_from(&own.logging);
        }
        let subscribes = own
            .resources
            .as_ref()
            .and_then(|resources| resources.subscribe);
        if let Some(resources) = &mut all.resources
            && subscribes == Some(true)
        {
            resources.subscribe = Some(true);
        }
        for (name, extension) in own.extensions.iter().flatten() {
            let extensions = all.extensions.get_or_insert_default();
            extensions
                .entry(name.clone())
                .or_insert_with(|| extension.clone());
        }
        let newest = version
            .as_ref()
            .is_none_or(|version| version.as_str() < info.protocol_version.as_str());
        if newest {
            version = Some(info.protocol_version.clone());
        }
    }
    ServerPeerInfo::new(version.unwrap_or_default(), all)
}

const INVALID_PARAMS: i32 = -32_602;
/// Items on a page. There are clients that read the first page alone.
const PAGE: usize = 1_000;
/// How long a list is good from which a server is missing, in milliseconds.
const PARTIAL_TTL_MS: u64 = 5_000;
