//! Well-known servers, and the sharing that each of them needs.
//!
//! The default, `multiplexed`, suits servers without state. A browser or a shell keeps state between calls, and a few
//! servers lose writes when two calls overlap. Nobody reads that in their documentation first, so the table says it here.
//! A server is recognised by its package, its program or its host. Whatever its own entry sets goes before the table.

use std::path::Path;
use std::sync::Arc;

use crate::enums::{Fallback, Sharing};
use crate::layers::{Layer, LayerSource};
use crate::server::Transport;
use crate::settings::PoolSettings;

/// A well-known server and the settings it needs.
#[derive(Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KnownServer {
    /// What it is called here.
    pub name: &'static str,
    /// Packages, programs and images by which it is recognised in `command` and `args`.
    pub packages: &'static [&'static str],
    /// Hosts by which it is recognised in `url`.
    pub hosts: &'static [&'static str],
    /// Who may share a session of it.
    pub sharing: Sharing,
    /// Whether one session is all there may be.
    pub single: bool,
    /// Why.
    pub reason: &'static str,
}

/// All servers that are recognised, those without state first.
pub fn known_servers() -> &'static [KnownServer] {
    KNOWN
}

impl KnownServer {
    /// The server that is reached in this way, if it is a well-known one.
    pub(crate) fn of(transport: &Transport) -> Option<&'static Self> {
        match transport {
            Transport::Stdio(stdio) => {
                let words = [&stdio.command].into_iter().chain(&stdio.args);
                let mut words = words.flat_map(|word| word.split_whitespace());
                words.find_map(|word| KNOWN.iter().find(|known| known.is_run_by(word)))
            }
            Transport::Http(http) => {
                let host = host_of(&http.url)?;
                KNOWN.iter().find(|known| {
                    let mut hosts = known.hosts.iter();
                    hosts.any(|known| host.eq_ignore_ascii_case(known))
                })
            }
        }
    }

    /// Its settings as a layer.
    pub(crate) fn layer(&'static self) -> Arc<Layer> {
        let mut settings = PoolSettings::new().sharing(self.sharing);
        if self.single {
            // A session beside the pool would be a second one.
            settings = settings
                .min_connections(1)
                .max_connections(1)
                .fallback(Fallback::Error);
        }
        Arc::new(Layer {
            settings,
            source: LayerSource::Known(self),
        })
    }

    /// Whether it needs more care than the default gives: then it goes before settings of all servers.
    pub(crate) fn is_stateful(&self) -> bool {
        self.sharing != Sharing::Multiplexed
    }

    fn is_run_by(&self, word: &str) -> bool {
        let mut packages = self.packages.iter();
        packages.any(|package| {
            let in_modules = || {
                word.split_once("node_modules/")
                    .and_then(|(_, path)| path.strip_prefix(package))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            unversioned(word) == *package || program(word) == Some(package) || in_modules()
        })
    }
}

/// The package of `@scope/name@1.2`, `name==1.2`, `name[extra]` or `image:tag`.
fn unversioned(word: &str) -> &str {
    let name = word.rfind('/').map_or(0, |slash| slash + 1);
    let end = word[name..]
        .char_indices()
        .find(|(at, c)| matches!(c, '=' | '[' | ':') || (*c == '@' && name + at > 0))
        .map_or(word.len(), |(at, _)| name + at);
    &word[..end]
}

/// The program that a path to it names: `/venv/bin/mcp-server-time`.
fn program(word: &str) -> Option<&str> {
    let path = Path::new(word);
    let in_programs = path.parent()?.ends_with("bin") || path.parent()?.ends_with("Scripts");
    in_programs.then(|| path.file_stem()?.to_str()).flatten()
}

fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    host.split(':').next()
}

const STATELESS: &str = "it keeps nothing between calls";
const BROWSER: &str = "its browser and pages belong to whoever opened them";

macro_rules! known {
    ($($name:literal [$($package:literal),*] [$($host:literal),*] $sharing:ident $single:literal $reason:expr;)*) => {
        &[$(KnownServer {
            name: $name,
            packages: &[$($package),*],
            hosts: &[$($host),*],
            sharing: Sharing::$sharing,
            single: $single,
            reason: $reason,
        }),*]
    };
}

const KNOWN: &[KnownServer] = known! {
    "time" ["mcp-server-time", "mcp_server_time", "mcp/time"] [] Multiplexed false STATELESS;
    "fetch" ["mcp-server-fetch", "mcp_server_fetch", "mcp/fetch"] [] Multiplexed false STATELESS;
    "git" ["mcp-server-git", "mcp_server_git", "mcp/git"] [] Multiplexed false
        "its state is the repository, and every call names it";
    "filesystem" ["@modelcontextprotocol/server-filesystem", "mcp-server-filesystem", "mcp/filesystem"] []
        Multiplexed false "its state is the files, and every call names them";
    "github" ["@modelcontextprotocol/server-github", "github-mcp-server", "mcp-server-github",
        "ghcr.io/github/github-mcp-server", "mcp/github"] ["api.githubcopilot.com"]
        Multiplexed false STATELESS;
    "context7" ["@upstash/context7-mcp", "context7-mcp", "mcp/context7"] ["mcp.context7.com"]
        Multiplexed false STATELESS;
    "everything" ["@modelcontextprotocol/server-everything", "mcp-server-everything", "mcp/everything"] []
        Multiplexed false STATELESS;
    "playwright" ["@playwright/mcp", "mcp-server-playwright", "@executeautomation/playwright-mcp-server",
        "mcr.microsoft.com/playwright/mcp", "mcp/playwright"] [] Pinned false BROWSER;
    "chrome-devtools" ["chrome-devtools-mcp"] [] Pinned false BROWSER;
    "puppeteer" ["@modelcontextprotocol/server-puppeteer", "mcp-server-puppeteer", "puppeteer-mcp-server",
        "mcp/puppeteer"] [] Pinned false BROWSER;
    "shell" ["mcp-shell-server", "mcp-server-shell", "mcp-shell", "shell-mcp-server",
        "@wonderwhy-er/desktop-commander", "desktop-commander"] [] Pinned false
        "its working folder and processes belong to whoever started them";
    "memory" ["@modelcontextprotocol/server-memory", "mcp-server-memory", "mcp/memory"] [] Exclusive true
        "it reads and rewrites one file at each call, and loses writes when two calls or two sessions overlap";
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerConfig;

    fn known(command: &str, args: &[&str]) -> Option<&'static str> {
        let server = ServerConfig::stdio(command).args(args.iter().copied());
        KnownServer::of(server.transport()).map(|known| known.name)
    }

    #[test]
    fn servers_are_recognised_by_package_program_image_and_host() {
        for (command, args, expected) in [
            (
                "npx",
                &["-y", "@modelcontextprotocol/server-memory"][..],
                Some("memory"),
            ),
            (
                "npx",
                &["@playwright/mcp@latest", "--headless"],
                Some("playwright"),
            ),
            (
                "cmd",
                &["/c", "npx -y chrome-devtools-mcp@0.9"],
                Some("chrome-devtools"),
            ),
            ("uvx", &["mcp-server-time==2026.1"], Some("time")),
            ("/venv/bin/mcp-server-git", &[], Some("git")),
            ("python", &["-m", "mcp_server_fetch"], Some("fetch")),
            (
                "docker",
                &["run", "-i", "--rm", "mcp/memory:1.0"],
                Some("memory"),
            ),
            (
                "node",
                &["/opt/node_modules/@modelcontextprotocol/server-memory/dist/index.js"],
                Some("memory"),
            ),
            // The first word that is known says what runs; others are its arguments.
            (
                "npx",
                &[
                    "@modelcontextprotocol/server-filesystem",
                    "/home/me/mcp-server-memory",
                ],
                Some("filesystem"),
            ),
            ("my-server", &["/home/me/mcp-server-memory"], None),
            ("npx", &["@playwright/mcp-bridge"], None),
            ("my-server", &[], None),
        ] {
            assert_eq!(known(command, args), expected, "{command} {args:?}");
        }
        let http = ServerConfig::http("https://api.githubcopilot.com/mcp/");
        let known = KnownServer::of(http.transport());
        assert_eq!(known.map(|known| known.name), Some("github"));
        let http = ServerConfig::http("https://example.com/api.githubcopilot.com");
        assert_eq!(KnownServer::of(http.transport()), None);
    }
}
