//! Many servers as one client: their tools, prompts and resources under names that never clash.
//!
//! Lists come from the catalogue (`catalogue.rs`), are merged into a table (`table.rs`), and requests are routed by it
//! (`route.rs`). Replies are passed on as the server wrote them, but for names, URIs, cursors and ids of tasks
//! (`rewrite.rs`).

mod catalogue;
mod changes;
mod client;
mod cursor;
mod disk;
mod edits;
mod fetch;
mod filter;
mod hub;
mod instructions;
mod kind;
mod listing;
mod log_levels;
mod lookup;
mod names;
mod notifications;
mod pages;
mod patterns;
mod protocol;
mod rewrite;
mod route;
mod selection;
#[cfg(feature = "in-process")]
mod serve;
mod server_lists;
mod subscribed;
mod table;
mod tables;
mod uris;

use std::{collections::HashMap, fmt, ops::Deref, sync::Arc};

use catalogue::{Catalogue, State};
pub use changes::{ListChange, ListChanges};
pub use client::FromServer;
use client::{AggregateClient, Named};
pub(crate) use disk::Disk;
pub use disk::{forget_lists, known_tools};
pub(crate) use hub::{Hub, follow};
use kind::ListKind;
pub use listing::{Listing, Missing};
use log_levels::ClientLevel;
pub use lookup::ToolTarget;
use mcp_config::Prefix;
pub use notifications::{AggregateNotification, AggregateNotifications};
use parking_lot::Mutex;
pub use patterns::Pattern;
use rmcp::{
    RoleClient,
    model::{
        ClientConfig, Implementation, Prompt, Resource, ResourceTemplate, ServerPeerInfo, Tool,
    },
    service::Service,
};
use selection::{Selected, Selection};
use subscribed::Subscribed;

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    identity::Identity,
    manager::ConnectionManager,
    server::Server,
    tools::PooledTools,
};

/// All servers of a manager as one client.
///
/// Tools and prompts are called by exposed names, `server__tool`, as they stand in the lists. Such a name depends on
/// server and tool alone, so that a server more or less renames nothing. Derefs to [`Client`], and so has the request
/// methods of rmcp's `RunningService<RoleClient, _>`. Cheap to clone; clones are the same scope.
///
/// Lists are merged from what is known of each server and refreshed in the background. A server whose lists are known is
/// not started for a listing. One that is not known is waited for, as long as `list_timeout` says; what is missing then is
/// named beside the items, and in `_meta["mcp-pool/missing"]`.
///
/// ```no_run
/// # async fn example() -> Result<(), mcp_pooled_tools::Error> {
/// use mcp_pooled_tools::ConnectionManager;
///
/// let manager = ConnectionManager::from_file(".mcp.json").await?;
/// let all = manager.aggregator();
/// let tools = all.list_all_tools().await?;
/// for missing in &tools.missing {
///     eprintln!("missing: {missing}");
/// }
/// let now = all.call("time__get_current_time", serde_json::json!({ "timezone": "Europe/Berlin" })).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Aggregator(Arc<Inner>);

struct Inner {
    manager: ConnectionManager,
    hub: Arc<Hub>,
    catalogue: Arc<Catalogue>,
    view: Arc<View>,
    identity: Option<Identity>,
    scope: Option<String>,
    client: Option<AggregateClient>,
    subscribed: Arc<Subscribed>,
    /// The level of its log messages.
    level: ClientLevel,
    /// The handles are the scope: where sessions are pinned, they end with it. By server.
    handles: Mutex<HashMap<Arc<str>, PooledTools>>,
}

/// What of the servers is shown, and under which names.
#[derive(Debug, Default)]
struct View {
    selection: Option<Selection>,
    prefix: Option<Prefix>,
    /// The last table for each catalogue, by its address.
    tables: Mutex<HashMap<usize, tables::Made>>,
}

impl Aggregator {
    pub(crate) fn new(manager: ConnectionManager, hub: Arc<Hub>) -> Self {
        Self(Arc::new(Inner {
            catalogue: hub.catalogue(None),
            level: hub.log_levels.client(manager.clone()),
            manager,
            view: Arc::default(),
            identity: None,
            scope: None,
            client: None,
            subscribed: Arc::default(),
            handles: Mutex::default(),
            hub,
        }))
    }

    /// All tools of all servers, under their exposed names.
    ///
    /// # Errors
    /// None for servers that fail: they are [`missing`](Listing::missing). [`ErrorKind::ShuttingDown`].
    ///
    /// # Cancel safety
    /// May be dropped at any point. What is being fetched is fetched all the same, for the next listing.
    pub async fn list_all_tools(&self) -> Result<Listing<Tool>, Error> {
        self.list_all(ListKind::Tools).await
    }

    /// All prompts of all servers, under their exposed names.
    ///
    /// # Errors
    /// As [`Aggregator::list_all_tools`].
    ///
    /// # Cancel safety
    /// As [`Aggregator::list_all_tools`].
    pub async fn list_all_prompts(&self) -> Result<Listing<Prompt>, Error> {
        self.list_all(ListKind::Prompts).await
    }

    /// All resources of all servers. A URI is unchanged while one server has it, and else begins with `mcp+<server>:`.
    ///
    /// # Errors
    /// As [`Aggregator::list_all_tools`].
    ///
    /// # Cancel safety
    /// As [`Aggregator::list_all_tools`].
    pub async fn list_all_resources(&self) -> Result<Listing<Resource>, Error> {
        self.list_all(ListKind::Resources).await
    }

    /// All resource templates of all servers.
    ///
    /// # Errors
    /// As [`Aggregator::list_all_tools`].
    ///
    /// # Cancel safety
    /// As [`Aggregator::list_all_tools`].
    pub async fn list_all_resource_templates(&self) -> Result<Listing<ResourceTemplate>, Error> {
        self.list_all(ListKind::Templates).await
    }

    /// The servers that are named here, and no others; of a server, all or the tools that are named. References are
    /// those of agents' configurations: `mcp.time`, `mcp.time.get_current_time`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a reference that names no server.
    pub fn select<'a>(&self, references: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let servers = self.servers();
        let names: Vec<_> = servers
            .iter()
            .map(|server| Arc::clone(&server.name))
            .collect();
        let mut selection = Selection::new();
        for reference in references {
            if !selection::add(&mut selection, reference, &names) {
                let message = format!(
                    "reference `{}`: it names no server",
                    reference.escape_debug()
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(self.with_view(View {
            selection: Some(selection),
            prefix: self.0.view.prefix,
            ..View::default()
        }))
    }

    /// The same servers under names that are made in this way, whatever is configured.
    #[must_use]
    pub fn with_prefix(&self, prefix: Prefix) -> Self {
        self.with_view(View {
            selection: self.0.view.selection.clone(),
            prefix: Some(prefix),
            ..View::default()
        })
    }

    /// The same servers on behalf of another identity: in sessions of their own, and with lists of their own.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> Self {
        Self(Arc::new(Inner {
            catalogue: self.0.hub.catalogue(Some(&identity)),
            identity: Some(identity),
            ..self.0.fresh()
        }))
    }

    /// The same servers in the scope of this name: see [`PooledTools::scoped`].
    #[must_use]
    pub fn scoped(&self, scope: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            scope: Some(scope.into()),
            ..self.0.fresh()
        }))
    }

    /// The same servers with a client of this scope: `info` is what is declared to its servers, and `handler` answers
    /// what these ask: sampling, elicitation, roots, rounds of input. It is what a gateway makes for each of its own
    /// clients.
    ///
    /// - [`FromServer`] in the context of a question names the server.
    /// - A request may bring a [handler](crate::RequestOptions::handler) of its own, which answers in place of `handler` while the
    ///   request is under way, and calls of the scope run side by side all the same. A modern server asks in its reply, a
    ///   legacy one over HTTP on the stream of the call: there the handler is that of the very call. Over stdio a question
    ///   does not say which call it belongs to: the call to that server that began last in this scope is given it.
    /// - With [`once`](crate::RequestOptions::once) a modern server's `input_required` is the reply, as the server wrote it and with
    ///   its `requestState`; no handler is asked. The caller retries the same request with `inputResponses` and
    ///   `requestState` among its parameters. A legacy server asks the handler all the same, so that a caller who does not
    ///   know the era sets both.
    /// - A session on which a legacy server may ask belongs to this scope alone, and is opened by its first call, never by a
    ///   listing. So no other scope is asked in its place. The sessions of modern servers are shared by all scopes, and by
    ///   listings: each request says what its client declares.
    ///   A legacy server whose `sharing` is set to `multiplexed`, by its entry or by the table of well-known servers, stays
    ///   shared by all, too, and may ask nothing.
    /// - `handler` receives the notifications of sessions that belong to the scope, log messages among them; while a call
    ///   with a handler of its own is under way, that receives them.
    ///
    /// The lists are those of the manager's [`client_info`](crate::ConnectionManagerBuilder::client_info): a server that
    /// shows tools only to clients that can answer it is asked with what that declares.
    #[must_use]
    pub fn with_client(&self, info: ClientConfig, handler: impl Service<RoleClient>) -> Self {
        Self(Arc::new(Inner {
            client: Some(AggregateClient {
                info,
                handler: Arc::new(handler),
            }),
            ..self.0.fresh()
        }))
    }

    /// What the aggregate says of itself as a server: what its servers can do, and their instructions under their names.
    #[must_use]
    pub fn peer_info(&self) -> Option<Arc<ServerPeerInfo>> {
        Some(Arc::new(self.info()))
    }

    /// Changes of the merged lists from here on.
    #[must_use]
    pub fn list_changes(&self) -> ListChanges {
        ListChanges::new(self.clone())
    }

    fn with_view(&self, view: View) -> Self {
        Self(Arc::new(Inner {
            view: Arc::new(view),
            ..self.0.fresh()
        }))
    }

    /// The usable and the failed servers that are shown, in the order of their names.
    fn servers(&self) -> Vec<Arc<Server>> {
        self.configured().1
    }

    /// The same, and the configuration that they are of. A reload that is under way is waited for.
    fn configured(&self) -> (u64, Vec<Arc<Server>>) {
        let Inner { manager, hub, .. } = &*self.0;
        let (mut servers, configuration) = manager.all_and(|| hub.configuration());
        servers.retain(|server| !server.is_switched_off() && self.selected(&server.name).is_some());
        (configuration, servers)
    }

    fn selected(&self, server: &str) -> Option<Selected> {
        match &self.0.view.selection {
            None => Some(Selected::All),
            Some(selection) => selection.get(server).cloned(),
        }
    }

    /// The tools of a server, in the scope of this aggregator.
    fn handle(&self, server: &Arc<str>) -> Result<PooledTools, Error> {
        if let Some(tools) = self.0.handles.lock().get(server) {
            return Ok(tools.clone());
        }
        let mut tools = self.0.manager.tools(server)?;
        if let Some(identity) = &self.0.identity {
            tools = tools.with_identity(identity.clone());
        }
        if let Some(scope) = &self.0.scope {
            tools = tools.scoped(scope.clone());
        }
        if let Some(client) = &self.0.client {
            let handler = Named {
                server: Arc::clone(server),
                handler: Arc::clone(&client.handler),
                subscribed: Arc::clone(&self.0.subscribed),
            };
            tools = tools.with_client_on_shared(client.info.clone(), handler);
        }
        let mut handles = self.0.handles.lock();
        let kept = handles.entry(Arc::clone(server)).or_insert(tools);
        Ok(kept.clone())
    }

    /// Fetches the lists of servers that are not known.
    async fn list_unknown(&self) {
        self.refresh(&self.servers(), |_| false).await;
    }

    /// Begins to fetch what is not known or stale of these servers, and waits for what is not known, or for `enough`.
    async fn refresh(&self, servers: &[Arc<Server>], enough: impl Fn(&Self) -> bool) {
        let catalogue = &self.0.catalogue;
        self.restore(servers).await;
        for server in servers {
            let due = match catalogue.state(&server.name) {
                State::Known(_) => {
                    catalogue.is_stale(&server.name) && server.runs(self.0.identity.as_ref())
                }
                State::Fetching(_) => false,
                State::Failed(_) | State::Unknown => true,
            };
            if due {
                self.0
                    .hub
                    .fetch(&self.0.manager, server, self.0.identity.as_ref());
            }
        }
        let names: Vec<_> = servers
            .iter()
            .map(|server| Arc::clone(&server.name))
            .collect();
        catalogue.fetched(&names, || enough(self)).await;
    }

    /// Reads lists of an earlier process from the disk, once for each server.
    async fn restore(&self, servers: &[Arc<Server>]) {
        let catalogue = &self.0.catalogue;
        if catalogue.disk().is_none() {
            return;
        }
        let reading = Arc::clone(&catalogue.reading).lock_owned().await;
        let mut wanted = Vec::new();
        for server in servers {
            if let Some(disk) = catalogue.to_look_on_disk(&server.name) {
                wanted.push((Arc::clone(&server.name), server.definition(), disk));
            }
        }
        if wanted.is_empty() {
            return;
        }
        let catalogue = Arc::clone(catalogue);
        // It goes on if the listing is dropped, and the next one waits for it.
        let read = move || {
            for (server, definition, disk) in wanted {
                if let Some(lists) = disk.read(&server, &definition) {
                    catalogue.restore(&server, lists);
                }
            }
            drop(reading);
        };
        // It only fails if it panics.
        let _ = tokio::task::spawn_blocking(read).await;
    }

    /// The servers of which the list of a kind is missing or incomplete, and why.
    fn missing(&self, kind: ListKind, servers: &[Arc<Server>]) -> Vec<Missing> {
        let missing = servers.iter().filter_map(|server| {
            let name = &server.name;
            let error = match self.0.catalogue.state(name) {
                State::Known(lists) => {
                    let cut = lists.list(kind)?.cut.as_ref()?;
                    let message = format!("{}: list is incomplete: {cut}", kind.method());
                    Arc::new(Error::new(ErrorKind::Protocol, message).of(name))
                }
                State::Failed(error) => error,
                State::Fetching(_) | State::Unknown => {
                    let waited = self.0.hub.settings().list_timeout;
                    let message = format!(
                        "{}: no answer within {waited:?}; it is added when it answers",
                        kind.method()
                    );
                    Arc::new(Error::new(ErrorKind::Timeout, message).of(name))
                }
            };
            Some(Missing::new(name, error))
        });
        missing.collect()
    }

    fn info(&self) -> ServerPeerInfo {
        let servers = self.servers();
        let mut known = Vec::new();
        let mut missing = Vec::new();
        for server in &servers {
            match self.0.catalogue.state(&server.name) {
                State::Known(lists) => known.push((Arc::clone(&server.name), lists)),
                _ => missing.push(&*server.name),
            }
        }
        let infos = known
            .iter()
            .filter_map(|(name, lists)| Some((&**name, lists.info.as_ref()?)));
        let infos: Vec<_> = infos.collect();
        let mut info = pages::capabilities(infos.iter().map(|(_, info)| *info));
        info.server_info = Some(Implementation::new("mcp-pool", env!("CARGO_PKG_VERSION")));
        let texts = infos
            .iter()
            .filter_map(|(name, info)| Some((*name, info.instructions.as_deref()?)));
        let texts: Vec<_> = texts.collect();
        info.instructions = instructions::merged(&texts, &missing, instructions::MAX_INSTRUCTIONS);
        info
    }
}

impl Inner {
    /// The same with no scope and no handle of its own yet.
    fn fresh(&self) -> Self {
        Self {
            manager: self.manager.clone(),
            hub: Arc::clone(&self.hub),
            catalogue: Arc::clone(&self.catalogue),
            view: Arc::clone(&self.view),
            identity: self.identity.clone(),
            scope: self.scope.clone(),
            client: self.client.clone(),
            subscribed: Arc::default(),
            level: self.hub.log_levels.client(self.manager.clone()),
            handles: Mutex::default(),
        }
    }
}

impl Deref for Aggregator {
    type Target = dyn Client;

    fn deref(&self) -> &Self::Target {
        self
    }
}

impl fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers();
        let names: Vec<_> = servers.iter().map(|server| &*server.name).collect();
        f.debug_struct("Aggregator")
            .field("servers", &names)
            .field("identity", &self.0.identity.as_ref().map(Identity::name))
            .field("scope", &self.0.scope)
            .finish_non_exhaustive()
    }
}
