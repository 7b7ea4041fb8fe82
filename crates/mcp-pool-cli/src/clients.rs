//! The clients whose files are read and written: where each keeps its servers, and in which form.
//!
//! | client | file of the user | table | documented at |
//! | --- | --- | --- | --- |
//! | Claude Desktop | `Claude/claude_desktop_config.json` in the folder of applications | `mcpServers` | modelcontextprotocol.io/docs/develop/connect-local-servers |
//! | Claude Code | `~/.claude.json`, or in `CLAUDE_CONFIG_DIR` | `mcpServers` | code.claude.com/docs/en/mcp |
//! | Cursor | `~/.cursor/mcp.json` | `mcpServers` | cursor.com/docs/mcp |
//! | VS Code | `Code/User/mcp.json` in the folder of applications | `servers` | code.visualstudio.com/docs/agents/reference/mcp-configuration |
//! | Windsurf | `~/.codeium/windsurf/mcp_config.json` | `mcpServers` | docs.windsurf.com/windsurf/cascade/mcp |
//! | Codex | `~/.codex/config.toml`, or in `CODEX_HOME` | `mcp_servers` | developers.openai.com/codex/mcp |
//! | Gemini CLI | `~/.gemini/settings.json` | `mcpServers` | geminicli.com/docs/tools/mcp-server |
//! | Zed | `~/.config/zed/settings.json` | `context_servers` | zed.dev/docs/ai/mcp |
//!
//! The folder of applications is `~/.config` (`XDG_CONFIG_HOME`), and `~/Library/Application Support` on macOS. Claude
//! Desktop documents macOS and Windows only; on Linux its builds follow the same rule as other programs of its kind.
//! Codex writes TOML, the others JSON, with comments in VS Code, Zed and Gemini CLI. None of them writes YAML.

mod entry;

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use mcp_config::{Document, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::folders::Folders;

pub(crate) use entry::{identity, is_off, is_ours, own_entry, read};

/// A program that starts MCP servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    #[value(name = "vscode", alias = "vs-code")]
    #[serde(rename = "vscode")]
    VsCode,
    Windsurf,
    Codex,
    #[value(alias = "gemini")]
    GeminiCli,
    Zed,
}

/// For whom a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    User,
    Project,
}

/// A table of servers in a client's file.
#[derive(Clone, Debug)]
pub(crate) struct ClientFile {
    pub(crate) client: Client,
    pub(crate) scope: Scope,
    pub(crate) path: PathBuf,
    /// The names above the servers.
    table: Vec<String>,
}

/// A server in a client's file.
#[derive(Clone, Debug)]
pub(crate) struct ClientServer {
    pub(crate) name: String,
    /// The entry as our own file would have it, or why there is none.
    pub(crate) entry: Result<Value, &'static str>,
}

impl Client {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The name that its makers use.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::Windsurf => "Windsurf",
            Self::Codex => "Codex",
            Self::GeminiCli => "Gemini CLI",
            Self::Zed => "Zed",
        }
    }

    /// The key above the servers.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::VsCode => "servers",
            Self::Codex => "mcp_servers",
            Self::Zed => "context_servers",
            _ => "mcpServers",
        }
    }

    /// The file of this user.
    pub(crate) fn user_file(self, folders: &Folders) -> ClientFile {
        let home = &folders.home;
        let applications = applications(home);
        let path = match self {
            Self::ClaudeDesktop => applications.join("Claude/claude_desktop_config.json"),
            Self::ClaudeCode => folder("CLAUDE_CONFIG_DIR")
                .unwrap_or_else(|| home.clone())
                .join(".claude.json"),
            Self::Cursor => home.join(".cursor/mcp.json"),
            Self::VsCode => applications.join("Code/User/mcp.json"),
            Self::Windsurf => home.join(".codeium/windsurf/mcp_config.json"),
            Self::Codex => folder("CODEX_HOME")
                .unwrap_or_else(|| home.join(".codex"))
                .join("config.toml"),
            Self::GeminiCli => home.join(".gemini/settings.json"),
            // On macOS, too.
            Self::Zed => match cfg!(target_os = "macos") {
                true => home.join(".config"),
                false => applications,
            }
            .join("zed/settings.json"),
        };
        self.file(Scope::User, path, vec![self.table().to_owned()])
    }

    /// The files of a project in this folder.
    fn project_files(self, folders: &Folders, project: &Path) -> Vec<ClientFile> {
        let of_project = |path: &str| {
            self.file(
                Scope::Project,
                project.join(path),
                vec![self.table().to_owned()],
            )
        };
        match self {
            Self::ClaudeDesktop | Self::Windsurf => Vec::new(),
            Self::ClaudeCode => {
                let table = ["projects", &project.to_string_lossy(), self.table()];
                let table = table.map(str::to_owned).to_vec();
                let path = self.user_file(folders).path;
                vec![
                    self.file(Scope::Project, path, table),
                    of_project(".mcp.json"),
                ]
            }
            Self::Cursor => vec![of_project(".cursor/mcp.json")],
            Self::VsCode => vec![of_project(".vscode/mcp.json")],
            Self::Codex => vec![of_project(".codex/config.toml")],
            Self::GeminiCli => vec![of_project(".gemini/settings.json")],
            Self::Zed => vec![of_project(".zed/settings.json")],
        }
    }

    fn file(self, scope: Scope, path: PathBuf, table: Vec<String>) -> ClientFile {
        ClientFile {
            client: self,
            scope,
            path,
            table,
        }
    }
}

impl ClientFile {
    /// The files of these clients that are there: those of the user, and those of a project if one is named.
    pub(crate) fn there(
        clients: &[Client],
        folders: &Folders,
        project: Option<&Path>,
    ) -> Vec<Self> {
        let all = clients.iter().flat_map(|client| {
            let project = project.map(|project| client.project_files(folders, project));
            [client.user_file(folders)]
                .into_iter()
                .chain(project.into_iter().flatten())
        });
        all.filter(|file| file.path.exists()).collect()
    }

    /// The path to the table of servers in the file.
    pub(crate) fn table(&self) -> Vec<&str> {
        self.table.iter().map(String::as_str).collect()
    }

    /// The path to an entry in the file.
    pub(crate) fn at<'a>(&'a self, server: &'a str) -> Vec<&'a str> {
        let mut path = self.table();
        path.push(server);
        path
    }

    /// The servers of a file, read with the rules of its client. Our own entry is none.
    pub(crate) fn servers(&self, document: &Document) -> Vec<ClientServer> {
        let project = match self.scope {
            Scope::User => None,
            // The folder of the project, from a file in it or in a folder of its client.
            Scope::Project => self.project(),
        };
        let table = self.table();
        let entries = document.table(&table).filter(|(_, entry)| !is_ours(entry));
        entries
            .map(|(name, value)| ClientServer {
                name: name.to_owned(),
                entry: read(self.client, value, project.as_deref()),
            })
            .collect()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read or parsed.
    pub(crate) fn open(&self) -> Result<Document, Problem> {
        Document::open(&self.path)
    }

    fn project(&self) -> Option<PathBuf> {
        if self.table.len() > 1 {
            return self.table.get(1).map(PathBuf::from);
        }
        let folder = self.path.parent()?;
        let hidden = folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match hidden && self.client != Client::ClaudeCode {
            true => folder.parent().map(Path::to_owned),
            false => Some(folder.to_owned()),
        }
    }
}

fn applications(home: &Path) -> PathBuf {
    match cfg!(target_os = "macos") {
        true => home.join("Library/Application Support"),
        false => folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
    }
}

fn folder(variable: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from)?;
    path.is_absolute().then_some(path)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use serde_json::Map;

    use super::*;

    /// Each client's section of the page: the file that it names, and the snippet for it.
    fn sections() -> impl Iterator<Item = (Client, &'static str)> {
        let page = include_str!("../../../docs/clients.md");
        Client::value_variants().iter().map(move |client| {
            let heading = format!("\n### {}\n", client.title());
            let (_, section) = page
                .split_once(&heading)
                .expect("each client has a section");
            (*client, section.split("\n## ").next().unwrap_or_default())
        })
    }

    #[test]
    fn the_snippet_of_each_client_is_what_install_writes_into_that_file() {
        let folders = Folders {
            home: "/home/me".into(),
            config: "/home/me/.config/mcp-pool".into(),
            state: "/home/me/.local/state/mcp-pool".into(),
            runtime: "/run/user/1000/mcp-pool".into(),
        };
        for (client, section) in sections() {
            let path = section
                .split('`')
                .nth(1)
                .expect("the section names the file");
            let snippet = section
                .split("```")
                .nth(1)
                .expect("the section has a snippet");
            let (_, snippet) = snippet.split_once('\n').expect("a snippet has lines");
            let file = client.user_file(&folders);
            assert_eq!(path, folders.shown(&file.path), "{client:?}");
            let document = Document::parse(&file.path, snippet).expect("the snippet parses");
            let entry = own_entry(client, Path::new("/usr/local/bin/mcp-pool"), Map::new());
            assert_eq!(
                document.get(&file.at("mcp-pool")),
                Some(&entry),
                "{client:?}"
            );
            assert!(is_ours(&entry));
        }
    }
}
