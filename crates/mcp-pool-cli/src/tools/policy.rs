//! Policies that withhold a tool: `allow` and `deny` in the entry of its server, `allow` of the gateway, and pins.
//!
//! The daemon does not list what it withholds. A pool of this process does not know the policies of the gateway, so its calls
//! are held to them here.

use mcp_config::{Config, Entry, Pins};
use mcp_gateway::{PinChange, PinsFile};
use mcp_pooled_tools::{Client as _, Pattern};

use crate::{
    context::Context,
    daemon,
    exit::Exit,
    failure::Failure,
    servers::{Servers, server_of},
};

use super::{Tool, Tools};

/// The tool of this name, if it is there and may be called.
///
/// # Errors
/// [`Exit::Blocked`] if its server has it and a policy withholds it.
pub(crate) async fn callable<'a>(
    context: &Context,
    servers: &Servers,
    tools: &'a Tools,
    name: &str,
) -> Result<&'a Tool, Failure> {
    match tools.find(name) {
        Ok(tool) if servers.manager().is_none() => Ok(tool),
        Ok(tool) => Policy::of(context)?.check(context, tool).map(|()| tool),
        Err(failure) if failure.exit == Exit::Usage => {
            Err(withheld(context, servers, name).await.unwrap_or(failure))
        }
        Err(failure) => Err(failure),
    }
}

/// Why a tool that is not listed is withheld. `None` if no policy names it, or its server has no such tool.
async fn withheld(context: &Context, servers: &Servers, name: &str) -> Option<Failure> {
    let policy = Policy::of(context).ok()?;
    let all: Vec<_> = policy.config.servers.keys().cloned().collect();
    let server = server_of(name, &all).ok()?;
    let rest = name.strip_prefix(server)?;
    let tool = rest.strip_prefix('.').or(rest.strip_prefix("__"))?;
    let is_it = |change: &PinChange| change.server == server && change.tool == tool;
    let changed = || {
        let change = policy.changes().find(is_it)?;
        Some(blocked_by_pin(&change))
    };
    let failure = policy.leaves_out(server, tool).or_else(changed)?;
    has(context, servers, server, tool).await.then_some(failure)
}

/// Whether the server has a tool of this name, listed or not.
async fn has(context: &Context, servers: &Servers, server: &str, tool: &str) -> bool {
    let mut known = mcp_pooled_tools::known_tools(super::catalogue(&context.folders)).into_iter();
    if known.any(|known| *known.server == *server && known.tool == tool) {
        return true;
    }
    let Some(Ok(pool)) = servers.manager().map(|manager| manager.tools(server)) else {
        return false;
    };
    let listed = pool.list_all_tools().await.unwrap_or_default();
    listed.iter().any(|listed| listed.name == tool)
}

/// What the configuration says of tools.
struct Policy {
    config: Config,
    /// `None` if a changed tool may be called.
    pins: Option<PinsFile>,
}

impl Policy {
    fn of(context: &Context) -> Result<Self, Failure> {
        let loaded = context.loader()?.load();
        let config = loaded.map_err(|error| daemon::wrong(&error))?;
        let set = config.gateway.pins_file.clone();
        // The pins of the daemon are of this user's servers alone.
        let own = || context.may_use_daemon().then(|| context.folders.pins());
        let blocks = config.gateway.effective().pins == Pins::Block;
        let pins = set.or_else(own).filter(|_| blocks).map(PinsFile::new);
        Ok(Self { config, pins })
    }

    /// Holds a tool that is listed against all policies.
    fn check(&self, context: &Context, tool: &Tool) -> Result<(), Failure> {
        if let Some(failure) = self.leaves_out(&tool.server, &tool.name) {
            return Err(failure);
        }
        let Some(pins) = &self.pins else {
            return Ok(());
        };
        daemon::prepare(&context.folders)?;
        let change = pins.check(&tool.target()).map_err(|error| {
            let fix = "mcp-pool approve shows the pins and where they are";
            Failure::new(Exit::Blocked, format!("the pins cannot be used: {error}")).fix(fix)
        })?;
        match change {
            Some(change) => Err(blocked_by_pin(&change)),
            None => Ok(()),
        }
    }

    /// Whether an `allow` or `deny` leaves the tool out, by the name that its server gives it.
    fn leaves_out(&self, server: &str, tool: &str) -> Option<Failure> {
        let entry = self.config.servers.get(server)?;
        let name = format!("{server}.{tool}");
        if !exposes(entry, tool) {
            let why = format!("allow and deny of server `{server}` leave it out");
            let fix = format!(
                "change the table aggregator of {server} in {}",
                entry.source()
            );
            return Some(blocked(&name, &why).fix(fix));
        }
        let lists = &self.config.gateway.allow;
        let list = lists.get("local").or(lists.get("*"))?;
        let allowed = list.iter().any(|glob| Pattern::glob(glob).matches(&name));
        let fix = "change allow in the table gateway: mcp-pool config show --origin";
        (!allowed).then(|| blocked(&name, "allow of the gateway leaves it out").fix(fix))
    }

    /// Tools that wait for an approval.
    fn changes(&self) -> impl Iterator<Item = PinChange> {
        let pins = self.pins.as_ref();
        let changes = pins.and_then(|pins| pins.changes().ok());
        changes.into_iter().flatten()
    }
}

/// Whether a server's `allow` and `deny` let this tool through.
pub(crate) fn exposes(entry: &Entry, tool: &str) -> bool {
    let exposure = entry.exposure();
    let matches = |glob: &String| Pattern::glob(glob).matches(tool);
    (exposure.allowed().is_empty() || exposure.allowed().iter().any(matches))
        && !exposure.denied().iter().any(matches)
}

/// Whether `allow` of the gateway lets anyone at all use this tool.
pub(crate) fn is_allowed_for_any(config: &Config, server: &str, tool: &str) -> bool {
    let gateway = &config.gateway;
    let name = format!("{server}.{tool}");
    let allows = |list: &Vec<String>| list.iter().any(|glob| Pattern::glob(glob).matches(&name));
    let others = gateway.allow.get("*");
    let allows_principal = |principal: &str| {
        let list = gateway.allow.get(principal).or(others);
        list.is_none_or(allows)
    };
    let mut tokens = gateway.tokens.keys();
    allows_principal("local")
        || tokens.any(|token| allows_principal(token))
        // Those of an identity provider are not known.
        || gateway.jwt_issuer.is_some()
            && (others.is_none_or(allows) || gateway.allow.values().any(allows))
}

fn blocked(name: &str, why: &str) -> Failure {
    let name = name.escape_debug();
    Failure::new(Exit::Blocked, format!("tool `{name}` is blocked: {why}"))
}

fn blocked_by_pin(change: &PinChange) -> Failure {
    let name = format!("{}.{}", change.server, change.tool);
    let why = "it is not what it was at its first use";
    let failure = blocked(&name, why).details(&change.differences);
    failure.fix(format!("mcp-pool approve {}", name.escape_debug()))
}
