//! Which server has what: the merged lists, and the routes of names and URIs.
//!
//! A table is made from the lists of all servers and never changes. Requests are routed by looking names up in it, not by
//! taking names apart.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use mcp_config::{EffectiveAggregator, Prefix};
use serde_json::value::RawValue;

use super::{
    filter::Filter,
    kind::ListKind,
    names::{Naming, fingerprint},
    patterns::Pattern,
    rewrite::{self, Mention},
    selection::Selected,
    server_lists::ServerLists,
    uris,
};

/// One server's part in a table.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) server: Arc<str>,
    /// Nothing, if its lists are not known.
    pub(crate) lists: Option<Arc<ServerLists>>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) selected: Selected,
}

/// Where a request goes: a server, and what it calls the thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: Arc<str>,
    pub(crate) own: String,
}

/// What a name or URI stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    One(Target),
    /// These servers have it, and nothing says which is meant.
    Several(Vec<Arc<str>>),
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    tools: Named,
    prompts: Named,
    resources: Vec<Box<RawValue>>,
    templates: Vec<Box<RawValue>>,
    by_uri: HashMap<String, Vec<Arc<str>>>,
    by_template: HashMap<String, Vec<Arc<str>>>,
    patterns: Vec<(Pattern, Arc<str>)>,
    servers: Vec<Arc<str>>,
    /// Servers that have resources, be they listed or not.
    with_resources: Vec<Arc<str>>,
    /// Whether the lists of all servers are known.
    is_complete: bool,
    fingerprints: [u64; 4],
    /// What cannot be exposed, and why.
    pub(crate) conflicts: Vec<String>,
}

/// Tools or prompts, which are called by their exposed names.
#[derive(Debug, Default)]
struct Named {
    shown: Vec<Box<RawValue>>,
    targets: HashMap<String, Target>,
    exposed: HashMap<Target, String>,
    ambiguous: HashMap<String, Vec<Arc<str>>>,
}

impl std::hash::Hash for Target {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.server.hash(state);
        self.own.hash(state);
    }
}

/// An item that is to be exposed under a name.
struct Claim<'a> {
    target: Target,
    source: &'a Source,
    raw: &'a RawValue,
    prefix: Prefix,
}

impl Table {
    /// The table of these servers, which are in the order of their names. `prefix` holds for all of them, if it is set.
    pub(crate) fn new(
        sources: &[Source],
        settings: &EffectiveAggregator,
        prefix: Option<Prefix>,
    ) -> Self {
        let mut table = Self {
            servers: sources
                .iter()
                .map(|source| Arc::clone(&source.server))
                .collect(),
            is_complete: sources.iter().all(|source| source.lists.is_some()),
            ..Self::default()
        };
        let naming = |source: &Source| source.filter.naming(settings, prefix);
        // Tools name URIs that are exposed by whether others have them.
        table.add_uris(sources);
        table.add_templates(sources);
        table.tools = table.named(ListKind::Tools, sources, &naming);
        table.prompts = table.named(ListKind::Prompts, sources, &naming);
        for kind in ListKind::ALL {
            let items = table.shown(kind).iter().map(|raw| raw.get());
            table.fingerprints[kind as usize] = fingerprint(items);
        }
        table
    }

    /// The merged list of a kind, each item as clients get it.
    pub(crate) fn shown(&self, kind: ListKind) -> &[Box<RawValue>] {
        match kind {
            ListKind::Tools => &self.tools.shown,
            ListKind::Prompts => &self.prompts.shown,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
        }
    }

    /// Differs between two lists of a kind that differ.
    pub(crate) fn fingerprint(&self, kind: ListKind) -> u64 {
        self.fingerprints[kind as usize]
    }

    /// The tool of this exposed name.
    pub(crate) fn tool(&self, name: &str) -> Found {
        self.tools.find(name)
    }

    /// The prompt of this exposed name.
    pub(crate) fn prompt(&self, name: &str) -> Found {
        self.prompts.find(name)
    }

    /// Whether the tool that `server` calls `own` is exposed.
    pub(crate) fn exposes_tool(&self, server: &Arc<str>, own: &str) -> bool {
        let target = Target {
            server: Arc::clone(server),
            own: own.to_owned(),
        };
        self.tools.exposed.contains_key(&target)
    }

    /// The exposed name of a tool.
    pub(crate) fn exposed_tool(&self, target: &Target) -> Option<&str> {
        self.tools.exposed.get(target).map(String::as_str)
    }

    /// The resource of this URI: listed, wrapped, fitting a template, or of the one server that has resources.
    pub(crate) fn uri(&self, uri: &str) -> Found {
        let one = |server: &Arc<str>, own: &str| {
            Found::One(Target {
                server: Arc::clone(server),
                own: own.to_owned(),
            })
        };
        match self.by_uri.get(uri).map(Vec::as_slice) {
            Some([server]) => return one(server, uri),
            Some(several) => return Found::Several(several.to_vec()),
            None => {}
        }
        if let Some((server, own)) = uris::unwrap(uri)
            && let Some(server) = self.servers.iter().find(|known| ***known == *server)
        {
            return one(server, &own);
        }
        let fits = self
            .patterns
            .iter()
            .filter(|(pattern, _)| pattern.matches(uri));
        let mut best: Vec<(usize, &Arc<str>)> = fits
            .map(|(pattern, server)| (pattern.specificity(), server))
            .collect();
        let most = best.iter().map(|(specificity, _)| *specificity).max();
        best.retain(|(specificity, _)| Some(*specificity) == most);
        let mut servers: Vec<_> = best
            .into_iter()
            .map(|(_, server)| Arc::clone(server))
            .collect();
        servers.dedup();
        if servers.is_empty() && self.is_complete && self.with_resources.len() == 1 {
            servers.clone_from(&self.with_resources);
        }
        match &servers[..] {
            [] => Found::Nothing,
            [server] => one(server, uri),
            _ => Found::Several(servers),
        }
    }

    /// The template, or the resource, that a completion refers to.
    pub(crate) fn template(&self, template: &str) -> Found {
        match self.by_template.get(template).map(Vec::as_slice) {
            Some([server]) => Found::One(Target {
                server: Arc::clone(server),
                own: template.to_owned(),
            }),
            Some(several) => Found::Several(several.to_vec()),
            None => self.uri(template),
        }
    }

    /// The URI under which clients find `uri` of `server`; `None` if it is the same.
    pub(crate) fn exposed_uri(
        &self,
        server: &Arc<str>,
        uri: &str,
        mention: Mention,
    ) -> Option<String> {
        let wrapped = || Some(uris::wrap(server, uri));
        match (self.uri(uri), mention) {
            (Found::One(target), _) if target.server == *server && target.own == uri => None,
            // Nothing to read, or to be read from the web.
            (Found::Nothing, Mention::Content) => None,
            (Found::Nothing, Mention::Link)
                if uri.starts_with("https:") || uri.starts_with("http:") =>
            {
                None
            }
            _ => wrapped(),
        }
    }

    fn named(
        &mut self,
        kind: ListKind,
        sources: &[Source],
        naming: &dyn Fn(&Source) -> Naming,
    ) -> Named {
        let mut named = Named::default();
        let mut claims: BTreeMap<String, Vec<Claim<'_>>> = BTreeMap::new();
        let mut order = Vec::new();
        for source in sources {
            let naming = naming(source);
            for item in source.items(kind) {
                let own_name = source.filter.own_name(kind, &item.key);
                let exposed = naming.exposed(&source.server, own_name);
                let claims = claims.entry(exposed.clone()).or_default();
                if claims.is_empty() {
                    order.push(exposed);
                }
                claims.push(Claim {
                    target: Target {
                        server: Arc::clone(&source.server),
                        own: item.key.clone(),
                    },
                    source,
                    raw: &item.raw,
                    prefix: naming.prefix,
                });
            }
        }
        for name in order {
            let claims = claims.remove(&name).unwrap_or_default();
            let chosen = match &claims[..] {
                [one] => Some(one),
                // A name without a prefix yields to any other.
                several => several.iter().find(|claim| claim.prefix == Prefix::Always),
            };
            if claims.len() > 1 {
                let servers: Vec<_> = claims
                    .iter()
                    .map(|claim| Arc::clone(&claim.target.server))
                    .collect();
                self.conflicts.push(conflict(kind, &name, &claims, chosen));
                if chosen.is_none() {
                    named.ambiguous.insert(name.clone(), servers);
                }
            }
            if let Some(claim) = chosen {
                named.shown.push(self.exposed_item(kind, claim, &name));
                named.exposed.insert(claim.target.clone(), name.clone());
                named.targets.insert(name, claim.target.clone());
            }
        }
        named
    }

    fn exposed_item(&self, kind: ListKind, claim: &Claim<'_>, name: &str) -> Box<RawValue> {
        if kind != ListKind::Tools {
            return rewrite::item(kind, claim.raw, name);
        }
        let server = &claim.source.server;
        let uri = |uri: &str, mention| self.exposed_uri(server, uri, mention);
        let description = claim.source.filter.description_of(&claim.target.own);
        rewrite::tool(claim.raw, name, description, &uri)
    }

    fn add_uris(&mut self, sources: &[Source]) {
        for source in sources {
            let listed = source.items(ListKind::Resources).map(|item| &item.key);
            let named = source.items(ListKind::Tools).flat_map(|item| &item.names);
            for uri in listed.chain(named) {
                let servers = self.by_uri.entry(uri.clone()).or_default();
                if servers.last() != Some(&source.server) {
                    servers.push(Arc::clone(&source.server));
                }
            }
            if source.has_resources() {
                self.with_resources.push(Arc::clone(&source.server));
            }
        }
        for source in sources {
            for item in source.items(ListKind::Resources) {
                let unique = self.by_uri[&item.key].len() == 1;
                self.resources.push(if unique {
                    item.raw.clone()
                } else {
                    let wrapped = uris::wrap(&source.server, &item.key);
                    rewrite::item(ListKind::Resources, &item.raw, &wrapped)
                });
            }
        }
    }

    fn add_templates(&mut self, sources: &[Source]) {
        for source in sources {
            for item in source.items(ListKind::Templates) {
                let servers = self.by_template.entry(item.key.clone()).or_default();
                servers.push(Arc::clone(&source.server));
            }
        }
        for source in sources {
            for item in source.items(ListKind::Templates) {
                let unique = self.by_template[&item.key].len() == 1;
                self.templates.push(if unique {
                    item.raw.clone()
                } else {
                    let wrapped = uris::wrap_template(&source.server, &item.key);
                    rewrite::item(ListKind::Templates, &item.raw, &wrapped)
                });
            }
            // What is matched against each URI is bounded: no server has a reason for more.
            for item in source.items(ListKind::Templates).take(MAX_PATTERNS) {
                self.patterns
                    .push((Pattern::template(&item.key), Arc::clone(&source.server)));
            }
        }
    }
}

impl Named {
    fn find(&self, name: &str) -> Found {
        match (self.targets.get(name), self.ambiguous.get(name)) {
            (Some(target), _) => Found::One(target.clone()),
            (None, Some(servers)) => Found::Several(servers.clone()),
            (None, None) => Found::Nothing,
        }
    }
}

impl Source {
    /// The items of a kind that are exposed.
    fn items(&self, kind: ListKind) -> impl Iterator<Item = &super::server_lists::Item> {
        let list = self.lists.as_ref().and_then(|lists| lists.list(kind));
        let items = list.into_iter().flat_map(|list| &list.items);
        items.filter(move |item| match kind {
            ListKind::Tools => self.filter.exposes(&item.key) && self.selected.has_tool(&item.key),
            _ => self.selected == Selected::All,
        })
    }

    fn has_resources(&self) -> bool {
        let info = self.lists.as_ref().and_then(|lists| lists.info.as_ref());
        info.is_some_and(|info| info.capabilities.resources.is_some())
    }
}

fn conflict(
    kind: ListKind,
    name: &str,
    claims: &[Claim<'_>],
    chosen: Option<&Claim<'_>>,
) -> String {
    let what = kind.member().trim_end_matches('s');
    let claimed: Vec<_> = claims
        .iter()
        .map(|claim| format!("`{}` of server `{}`", claim.target.own, claim.target.server))
        .collect();
    let claimed = claimed.join(", ").escape_debug().to_string();
    match chosen {
        Some(chosen) => format!(
            "{what} name `{name}` is claimed by {claimed}: only that of server `{}` is exposed; set an alias for the others",
            chosen.target.server.escape_debug()
        ),
        None => format!(
            "{what} name `{name}` is claimed by {claimed}: none is exposed; set prefix = \"always\" or an alias"
        ),
    }
}

const MAX_PATTERNS: usize = 256;

#[cfg(test)]
mod tests;
