//! Section Server: each server is opened and asked. No tool is called.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use mcp_config::{
    Config, Entry, Fallback, Initialization, LimitSettings, PoolSettings, Prefix, Sharing,
    Transport,
};
use mcp_pooled_tools::{
    Client as _, ConnectionManager, Error, ErrorKind, RequestOptions, core::Era, rmcp::model::Tool,
};
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::{catalog, finding::Finding, memory, network};
use crate::{
    credentials,
    folders::Folders,
    tools::{exposes, is_allowed_for_any},
};

/// What was found out about a server.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) server: String,
    pub(super) transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<PathBuf>,
    /// `ok`, `broken` or `off`.
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) era: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol_version: Option<String>,
    /// Milliseconds until the first session was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) open_cold_ms: Option<u64>,
    /// Milliseconds until a second one was ready beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) open_warm_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tools: Option<usize>,
    /// Estimated size of the list of tools: four bytes a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sharing: Option<&'static str>,
    /// Why it is shared in this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sharing_reason: Option<String>,
    /// Resident memory of its processes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) noise_lines: Option<u64>,
    /// The names that its tools are exposed under.
    #[serde(skip)]
    pub(super) names: BTreeSet<String>,
}

/// Pools that are made for looking: one session each, no retries, and limits that a probe keeps.
pub(super) async fn pools(config: &Config, folders: &Folders) -> Result<ConnectionManager, Error> {
    let settings = PoolSettings::new()
        .min_connections(0)
        .max_connections(1)
        .initialization(Initialization::Lazy)
        .sharing(Sharing::Multiplexed)
        .max_in_flight(4)
        .scale_up_at(4)
        .fallback(Fallback::Error)
        .retry_attempts(0)
        .connection_timeout(OPEN_LIMIT)
        .call_timeout(LIMIT);
    let limits = LimitSettings::new()
        .max_connecting(1_000)
        .max_total_connections(10_000);
    let mut builder = ConnectionManager::builder().limits(limits);
    for (name, server, _) in config.usable() {
        builder = builder.server(name, server.clone().pool(settings.clone()));
    }
    credentials::attach(builder, folders).build().await
}

/// Opens a server and asks it, within [`LIMIT`]. `entry` is the server as it is configured.
pub(super) async fn probe(
    manager: &ConnectionManager,
    config: &Config,
    entry: &Entry,
    report: &mut Report,
) -> Vec<Finding> {
    let probe = Probe {
        manager,
        config,
        entry,
        begun: Instant::now(),
        findings: Vec::new(),
        report,
    };
    probe.run().await
}

struct Probe<'a> {
    manager: &'a ConnectionManager,
    config: &'a Config,
    entry: &'a Entry,
    begun: Instant,
    findings: Vec<Finding>,
    report: &'a mut Report,
}

impl Probe<'_> {
    async fn run(mut self) -> Vec<Finding> {
        let name = self.entry.name().to_owned();
        let tools = match self.manager.tools(&name) {
            Ok(tools) => tools,
            Err(error) => {
                let found = catalog::DOES_NOT_OPEN.found(format!("{name}: it cannot be used"));
                self.findings.push(found.of(name).cause(error.to_string()));
                return self.findings;
            }
        };
        let listed = timeout_at(self.begun + LIMIT, tools.list_all_tools()).await;
        let listed_after = self.begun.elapsed();
        let opened = self.look_at_the_session(listed_after);
        let peer = tools.peer_info();
        self.report.protocol_version = peer
            .as_ref()
            .map(|peer| peer.protocol_version.as_str().to_owned());
        let has_tools = peer.is_none_or(|peer| peer.capabilities.tools.is_some());
        let listed = match listed {
            Ok(Err(error)) if opened && !has_tools && error.kind() == ErrorKind::Protocol => {
                Ok(Ok(Vec::new()))
            }
            listed => listed,
        };
        match listed {
            Ok(Ok(tools)) => self.look_at_tools(&tools, has_tools),
            Ok(Err(error)) => {
                self.failed(opened, error).await;
                return self.findings;
            }
            Err(_) => {
                self.silent(opened);
                return self.findings;
            }
        }
        self.report.state = "ok";
        self.two_at_once(&tools).await;
        self.second(listed_after).await;
        self.look_at_the_process();
        self.findings
    }

    /// Takes the era and the time of the opening from the session. `false` if there is none.
    fn look_at_the_session(&mut self, elapsed: Duration) -> bool {
        let status = self.manager.pool_status(self.entry.name());
        let Ok(status) = status else { return false };
        if let Some(session) = status.sessions.iter().find(|session| session.era.is_some()) {
            self.report.era = session.era.map(|era| match era {
                Era::Modern => "modern",
                _ => "legacy",
            });
            let open = elapsed.saturating_sub(session.age);
            self.report.open_cold_ms = Some(millis(open));
            if open > SLOW {
                let message = format!("it was ready after {:.1} s", open.as_secs_f64());
                let found = catalog::OPENS_SLOWLY.found(message).of(self.entry.name());
                let fix = "install the server instead of starting it by npx or uvx, or pin its version; \
                           a daemon keeps it warm: mcp-pool start";
                self.findings.push(found.fix(fix));
            }
        }
        status.opened > 0
    }

    fn look_at_tools(&mut self, tools: &[Tool], has_tools: bool) {
        let name = self.entry.name();
        let size = serde_json::to_string(tools).map_or(0, |text| text.len());
        self.report.tokens = Some(size / 4);
        let exposed = tools.iter().filter(|tool| exposes(self.entry, &tool.name));
        let exposed: Vec<_> = exposed.collect();
        let mut shown = exposed.clone();
        shown.retain(|tool| is_allowed_for_any(self.config, name, &tool.name));
        self.report.tools = Some(shown.len());
        if shown.is_empty() && has_tools {
            let (why, fix) = match (tools.len(), exposed.len()) {
                (0, _) => (
                    "its list is empty".to_owned(),
                    "check its arguments and credentials",
                ),
                (all, 0) => (
                    format!("allow and deny leave out all of its {all} tools"),
                    "change allow and deny in the table aggregator of its entry",
                ),
                (_, all) => (
                    format!("allow of the gateway leaves out all of its {all} tools"),
                    "change allow in the table gateway",
                ),
            };
            let found = catalog::NO_TOOLS.found("it has no tools").of(name);
            self.findings.push(found.cause(why).fix(fix));
        }
        if size / 4 > MANY_TOKENS {
            let message = format!("its list of tools has about {} tokens", size / 4);
            let found = catalog::LARGE_LIST.found(message).of(name);
            let fix =
                "name the tools that are needed: \"aggregator\": {\"allow\": [..]} in its entry";
            self.findings.push(found.fix(fix));
        }
        self.look_at_names(&shown);
    }

    fn look_at_names(&mut self, tools: &[&Tool]) {
        let name = self.entry.name();
        let aggregator = self
            .entry
            .exposure()
            .effective(self.config.aggregator.clone());
        let (mut changed, mut clashing) = (Vec::new(), Vec::new());
        for tool in tools {
            let own = self.entry.exposure().alias_of(&tool.name);
            let own = own.unwrap_or(&tool.name);
            let full = match aggregator.prefix {
                Prefix::Never => own.to_owned(),
                _ => format!("{name}__{own}"),
            };
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            if full.len() > aggregator.max_name as usize || !full.bytes().all(allowed) {
                changed.push(own.to_owned());
            }
            if !self.report.names.insert(full) {
                clashing.push(own.to_owned());
            }
        }
        if !changed.is_empty() {
            let message = format!("clients see another name of {}", some(&changed));
            let found = catalog::CHANGED_NAME.found(message).of(name);
            let why = format!(
                "{name}__TOOL may have {} characters of a-z, A-Z, 0-9, _ and -",
                aggregator.max_name
            );
            let fix = "shorten the name of the server, or set an alias in its table aggregator";
            self.findings.push(found.cause(why).fix(fix));
        }
        if !clashing.is_empty() {
            let message = format!("two tools have the name {}", some(&clashing));
            let found = catalog::CLASHING_NAME.found(message).of(name);
            self.findings
                .push(found.fix("set an alias in its table aggregator"));
        }
    }

    /// The opening, or the list, failed.
    async fn failed(&mut self, opened: bool, error: Error) {
        let name = self.entry.name();
        let stderr = match error.stderr() {
            [] => self.manager.stderr_tail(name).unwrap_or_default(),
            lines => lines.to_vec(),
        };
        let kind = error.kind();
        if kind == ErrorKind::Timeout || kind == ErrorKind::CircuitOpen {
            self.silent(opened);
            return;
        }
        if !opened
            && kind != ErrorKind::Authentication
            && let Ok(Transport::Http(http)) = self.entry.server().map(|server| server.transport())
            && let Some(found) = network::diagnose(name, http).await
        {
            self.findings.push(found);
            return;
        }
        let (found, fix) = match (kind, opened) {
            (ErrorKind::Authentication, _) => (
                catalog::WANTS_LOGIN.found("it wants other credentials"),
                format!("mcp-pool auth login {name}, or set the header Authorization in its entry"),
            ),
            (_, true) => (
                catalog::DOES_NOT_LIST.found("it does not list its tools"),
                format!("mcp-pool logs {name}"),
            ),
            (_, false) => (
                catalog::DOES_NOT_OPEN.found("it does not open"),
                self.by_hand(),
            ),
        };
        let found = found.of(name).cause(error.to_string());
        self.findings.push(found.stderr(&stderr).fix(fix));
    }

    /// There was no answer within the limit.
    fn silent(&mut self, opened: bool) {
        let name = self.entry.name();
        let stderr = self.manager.stderr_tail(name).unwrap_or_default();
        let seconds = self.begun.elapsed().as_secs();
        let found = match opened {
            true => catalog::DOES_NOT_LIST
                .found("it does not list its tools")
                .cause(format!("no answer within {seconds} s")),
            false => catalog::OPENS_TOO_LATE.found(format!("it is not ready after {seconds} s")),
        };
        let fix = self.by_hand();
        self.findings.push(found.of(name).stderr(&stderr).fix(fix));
    }

    /// How to see what the server does.
    fn by_hand(&self) -> String {
        match self.entry.server().map(|server| server.transport()) {
            Ok(Transport::Stdio(stdio)) => format!(
                "start {} by hand, and look at what it prints",
                stdio.command
            ),
            _ => "check its url and whether it speaks MCP over streamable HTTP".to_owned(),
        }
    }

    /// Two requests on one session. A refusal is an answer.
    async fn two_at_once(&mut self, tools: &mcp_pooled_tools::PooledTools) {
        let method = match self.report.era {
            // A modern server has no `ping`.
            Some("modern") => "tools/list",
            _ => "ping",
        };
        let ask = async || {
            let options = RequestOptions::new().timeout(PING_LIMIT);
            let answered = timeout(PING_LIMIT, tools.request(method, None, options)).await;
            match answered {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => error.kind() == ErrorKind::Protocol,
                Err(_) => false,
            }
        };
        let (one, two) = tokio::join!(ask(), ask());
        if !(one && two) {
            let message = format!("it does not answer two requests ({method}) at once");
            let found = catalog::ONE_AT_A_TIME.found(message).of(self.entry.name());
            let stderr = self.manager.stderr_tail(self.entry.name());
            let found = found.stderr(&stderr.unwrap_or_default());
            let fix = "set \"pool\": {\"sharing\": \"exclusive\"} in its entry, and report it to its author";
            self.findings.push(found.fix(fix));
            self.report.state = "broken";
        }
    }

    /// A second session beside the first, where there may be two and there is time.
    async fn second(&mut self, first: Duration) {
        let left = LIMIT.saturating_sub(self.begun.elapsed());
        if self.entry.settings().max_connections < 2 || left < first * 2 {
            return;
        }
        let name = self.entry.name();
        let Ok(direct) = self.manager.direct_tools(name) else {
            return;
        };
        let begun = Instant::now();
        match timeout(left, direct.list_tools(None)).await {
            Ok(Err(error)) if error.kind() != ErrorKind::Protocol => {
                let found =
                    catalog::NO_SECOND.found("a second session does not open beside the first");
                let found = found.of(name).cause(error.to_string());
                let fix = "set \"pool\": {\"max_connections\": 1} in its entry";
                self.findings.push(found.stderr(error.stderr()).fix(fix));
            }
            Ok(_) => self.report.open_warm_ms = Some(millis(begun.elapsed())),
            // It was not given the time that the first one had.
            Err(_) => {}
        }
    }

    fn look_at_the_process(&mut self) {
        let name = self.entry.name();
        let Ok(status) = self.manager.pool_status(name) else {
            return;
        };
        let noise: u64 = { status.sessions.iter() }
            .map(|session| session.noise_lines)
            .sum();
        self.report.noise_lines = Some(noise);
        if noise > 0 {
            let message = format!("it wrote {noise} lines to stdout that are no messages");
            let found = catalog::NOISE.found(message).of(name);
            let fix =
                "have it log to stderr; npx --quiet, uvx --quiet for the launcher's own lines";
            self.findings.push(found.fix(fix));
        }
        let pids = status.sessions.iter().filter_map(|session| session.pid);
        let memory: Vec<_> = pids.filter_map(memory::of_tree).collect();
        let Some(memory) = memory.into_iter().max() else {
            return;
        };
        self.report.memory_bytes = Some(memory);
        if memory > MUCH_MEMORY {
            let message = format!("one session uses {} MiB", memory >> 20);
            let found = catalog::LARGE_MEMORY.found(message).of(name);
            let fix = "set \"pool\": {\"max_connections\": 2} in its entry; a daemon shares it: mcp-pool start";
            self.findings.push(found.fix(fix));
        }
    }
}

/// Names that tools of several servers are exposed under.
pub(super) fn clashes(reports: &[Report]) -> Vec<Finding> {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for report in reports {
        for name in &report.names {
            owners.entry(name).or_default().push(&report.server);
        }
    }
    let mut clashing: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for (name, servers) in owners {
        if servers.len() > 1 {
            clashing.entry(servers).or_default().push(name.to_owned());
        }
    }
    let found = clashing.into_iter().map(|(servers, names)| {
        let message = format!(
            "tools of {} have the name {}",
            servers.join(", "),
            some(&names)
        );
        let fix = "set prefix = \"always\" in the table aggregator, or an alias in an entry";
        catalog::CLASHING_NAME
            .found(message)
            .of(servers[0])
            .fix(fix)
    });
    found.collect()
}

/// How a server is shared, and why.
pub(super) fn sharing(entry: &Entry, era: Option<&str>) -> (&'static str, String) {
    let word = |sharing| match sharing {
        Sharing::Exclusive => "exclusive",
        Sharing::Pinned => "pinned",
        _ => "multiplexed",
    };
    if let Some(sharing) = entry.declared_sharing() {
        let settings = entry.settings_with_origin();
        let origin = settings.iter().find(|setting| setting.setting == "sharing");
        let origin = origin.map(|setting| setting.origin.to_string());
        return (word(sharing), origin.unwrap_or_default());
    }
    match era {
        Some("legacy") => (
            "pinned",
            "legacy and not known: one session for each client".to_owned(),
        ),
        _ => (word(entry.settings().sharing), "default".to_owned()),
    }
}

/// Some of the names, and how many more there are.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// For all questions to a server.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// For its first session.
const OPEN_LIMIT: Duration = Duration::from_secs(8);
const PING_LIMIT: Duration = Duration::from_secs(2);
/// Clients give a server from one to ten seconds.
const SLOW: Duration = Duration::from_secs(5);
/// A tenth of what many models read at most, without any question asked.
const MANY_TOKENS: usize = 10_000;
const MUCH_MEMORY: u64 = 512 << 20;
