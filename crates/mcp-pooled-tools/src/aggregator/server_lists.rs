//! Lists of one server, and what it declared.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use rmcp::model::ServerPeerInfo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    edits::{elements, members},
    kind::ListKind,
    names::fingerprint,
    rewrite,
};
use crate::reply::Reply;

/// Everything that a server lists, as of one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerLists {
    /// What the server said of itself: protocol, capabilities, instructions.
    pub(crate) info: Option<ServerPeerInfo>,
    lists: BTreeMap<ListKind, List>,
    /// Grows with each change, and goes on from the one on disk.
    pub(crate) generation: u64,
    /// Seconds since 1970.
    pub(crate) listed_at: u64,
}

impl ServerLists {
    pub(crate) fn new(info: Option<ServerPeerInfo>) -> Self {
        Self {
            info,
            ..Self::default()
        }
    }

    pub(crate) fn insert(&mut self, kind: ListKind, list: List) {
        self.lists.insert(kind, list);
    }

    /// The list of a kind, if the server has one.
    pub(crate) fn list(&self, kind: ListKind) -> Option<&List> {
        self.lists.get(&kind)
    }

    pub(crate) fn lists(&self) -> impl Iterator<Item = &List> {
        self.lists.values()
    }

    /// The shortest time that the server gave one of its lists.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        let given = self.lists().filter_map(|list| list.ttl_ms);
        given.min().map(Duration::from_millis)
    }

    /// Whether a list is for those alone who asked for it.
    pub(crate) fn is_private(&self) -> bool {
        self.lists().any(|list| list.private)
    }

    /// Whether the server notifies its clients of changes in this kind of list.
    pub(crate) fn announces(&self, kind: ListKind) -> bool {
        let Some(info) = &self.info else {
            return false;
        };
        let capabilities = &info.capabilities;
        let announced = match kind {
            ListKind::Tools => capabilities
                .tools
                .as_ref()
                .and_then(|tools| tools.list_changed),
            ListKind::Prompts => capabilities
                .prompts
                .as_ref()
                .and_then(|prompts| prompts.list_changed),
            ListKind::Resources | ListKind::Templates => {
                let resources = capabilities.resources.as_ref();
                resources.and_then(|resources| resources.list_changed)
            }
        };
        announced == Some(true)
    }

    /// Whether both say the same.
    pub(crate) fn has_same_content(&self, other: &Self) -> bool {
        self.info == other.info && self.lists == other.lists
    }
}

/// One list, with every item as the server wrote it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct List {
    pub(crate) items: Vec<Item>,
    pub(crate) ttl_ms: Option<u64>,
    /// Not to be shown to another identity (`cacheScope`).
    pub(crate) private: bool,
    /// Why the list is not whole.
    pub(crate) cut: Option<String>,
    fingerprint: u64,
}

/// An item of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    /// What names it on its server.
    pub(crate) key: String,
    pub(crate) raw: Box<RawValue>,
    /// URIs that a tool names as its user interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
}

impl List {
    /// The list in a reply; empty if it is none. Items without one name, and those whose name another has, cannot be
    /// asked for and are left out.
    pub(crate) fn of(kind: ListKind, reply: &Reply) -> Self {
        let page = members(reply.raw());
        Self {
            ttl_ms: page.parse("ttlMs"),
            private: page.parse::<String>("cacheScope").as_deref() == Some("private"),
            cut: reply.incomplete().map(str::to_owned),
            ..Self::of_items(kind, elements(page.get(kind.member())))
        }
    }

    fn of_items<'a>(kind: ListKind, items: impl IntoIterator<Item = &'a RawValue>) -> Self {
        let mut seen = HashSet::new();
        let items = items.into_iter().filter_map(|raw| {
            let all = members(raw);
            if all.is_ambiguous(kind.key()) {
                return None;
            }
            let key: String = all.parse(kind.key())?;
            let names = match kind {
                ListKind::Tools => rewrite::named_by_tool(raw),
                _ => Vec::new(),
            };
            seen.insert(key.clone()).then(|| Item {
                key,
                raw: raw.to_owned(),
                names,
            })
        });
        let items: Vec<_> = items.collect();
        Self {
            fingerprint: fingerprint(items.iter().map(|item| item.raw.get())),
            items,
            ..Self::default()
        }
    }
}

/// Two lists are equal if a client would see the same items.
impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.items.len() == other.items.len()
            && self.cut == other.cut
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_kept_as_they_were_written_and_once() {
        let reply = Reply::new(
            RawValue::from_string(
                r#"{"tools":[{"name":"a", "odd":1.50},{"name":"a"},{"title":"no name"},{"name":"b","name":"c"},7],"ttlMs":9,"cacheScope":"private"}"#.to_owned(),
            )
            .unwrap(),
        );
        let list = List::of(ListKind::Tools, &reply);
        let raw: Vec<_> = list.items.iter().map(|item| item.raw.get()).collect();
        assert_eq!(raw, [r#"{"name":"a", "odd":1.50}"#]);
        assert_eq!((list.ttl_ms, list.private), (Some(9), true));
    }

    #[test]
    fn a_list_that_was_written_and_read_again_says_the_same() {
        let tools = json!({"tools": [{"name": "a", "_meta": {"ui": {"resourceUri": "ui://a"}}}]});
        let mut lists = ServerLists::new(None);
        lists.insert(
            ListKind::Tools,
            List::of(ListKind::Tools, &Reply::typed(&tools)),
        );
        let written = serde_json::to_string(&lists).unwrap();
        let read: ServerLists = serde_json::from_str(&written).unwrap();
        assert!(read.has_same_content(&lists));
        assert_eq!(
            read.list(ListKind::Tools).unwrap().items[0].names,
            ["ui://a"]
        );
        lists.insert(ListKind::Prompts, List::default());
        assert!(!read.has_same_content(&lists));
    }
}
