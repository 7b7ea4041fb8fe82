//! Well-known servers and the sharing that each of them needs.
//!
//! The default, `multiplexed`, suits servers without state. A browser or a shell keeps state between calls, and a few
//! servers lose writes when two calls overlap. A server is recognised by the package or program that its command line
//! runs, or by its host, never by another argument. Settings of the server's own entry win over this table.

use std::path::Path;
use std::sync::Arc;

use crate::enums::{Fallback, Sharing};
use crate::launcher::targets;
use crate::layers::{Layer, LayerSource};
use crate::server::Transport;
use crate::settings::PoolSettings;

/// A well-known server and the settings it needs.
#[derive(Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KnownServer {
    /// Its name in this table.
    pub name: &'static str,
    /// Packages, programs and images by which it is recognised.
    pub packages: &'static [&'static str],
    /// Hosts by which it is recognised in `url`.
    pub hosts: &'static [&'static str],
    /// Who may share a session of it.
    pub sharing: Sharing,
    /// Whether only one session may exist.
    pub single: bool,
    /// Why it needs this.
    pub reason: &'static str,
}

/// All servers that are recognised, those without state first.
pub fn known_servers() -> &'static [KnownServer] {
    KNOWN
}

impl KnownServer {
    /// The well-known server behind this transport, if it is one.
    pub(crate) fn of(transport: &Transport) -> Option<&'static Self> {
        match transport {
            Transport::Stdio(stdio) => {
                let args = stdio.args.iter().map(String::as_str);
                let words: Vec<_> = [stdio.command.as_str()].into_iter().chain(args).collect();
                let mut targets = targets(&words).into_iter();
                targets.find_map(|target| KNOWN.iter().find(|known| known.is_run_by(target)))
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
            // A temporary session beside the pool would be a second one.
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

    /// Whether it has state. Then this table wins over settings of all servers.
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

/// The package of `@scope/name@1.2`, `name==1.2`, `name[extra]`, `npm:name` or `image:tag`.
fn unversioned(word: &str) -> &str {
    let word = word.strip_prefix("npm:").unwrap_or(word);
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
const BROWSER: &str = "its browser and pages belong to the caller that opened them";

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
    "playwright" ["@playwright/mcp", "mcp-server-playwright", "@executeautomation/playwright-mcp-server",
        "mcr.microsoft.com/playwright/mcp", "mcp/playwright"] [] Pinned false BROWSER;
    "chrome-devtools" ["chrome-devtools-mcp"] [] Pinned false BROWSER;
    "puppeteer" ["@modelcontextprotocol/server-puppeteer", "mcp-server-puppeteer", "puppeteer-mcp-server",
        "mcp/puppeteer"] [] Pinned false BROWSER;
    "shell" ["mcp-shell-server", "mcp-server-shell", "mcp-shell", "shell-mcp-server",
        "@wonderwhy-er/desktop-commander", "desktop-commander"] [] Pinned false
        "its working folder and processes belong to the caller that started them";
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
            // Only the word in the package's place counts; others are arguments.
            (
                "npx",
                &[
                    "@modelcontextprotocol/server-filesystem",
                    "/home/me/mcp-server-memory",
                ],
                Some("filesystem"),
            ),
            (
                "uvx",
                &["--from", "git+https://h/servers", "mcp-server-git"],
                Some("git"),
            ),
            (
                "deno",
                &["run", "-A", "npm:@playwright/mcp@1"],
                Some("playwright"),
            ),
            (
                "npx",
                &["my-bridge", "@modelcontextprotocol/server-memory"],
                None,
            ),
            ("my-bridge", &["npx", "@playwright/mcp"], None),
            ("node", &["proxy.js", "mcp-server-git"], None),
            (
                "uv",
                &["--directory", "mcp-server-git", "run", "mine"],
                None,
            ),
            (
                "docker",
                &[
                    "run",
                    "-i",
                    "--name",
                    "mcp/memory",
                    "-e",
                    "S=mcp/git",
                    "mine",
                ],
                None,
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
