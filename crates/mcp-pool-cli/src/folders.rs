//! The folders of this user, by the XDG base directory specification.
//!
//! | folder | holds | default |
//! | --- | --- | --- |
//! | configuration | `mcp.json` and `mcp-pool.toml` | `~/.config/mcp-pool` |
//! | state | catalogue, pins, key, audit, logs | `~/.local/state/mcp-pool` |
//! | runtime | socket and lock of the daemon | `$XDG_RUNTIME_DIR/mcp-pool`, else `run` in the state |

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where this user's files are. No folder is made by asking for its path.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    pub(crate) home: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) runtime: PathBuf,
}

impl Folders {
    pub(crate) fn of_user() -> Result<Self, Failure> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| {
            Failure::usage("this user has no home folder").fix("set HOME to an absolute path")
        })?;
        let state = folder("XDG_STATE_HOME", || home.join(".local/state"));
        let runtime = match absolute("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join(NAME),
            None => state.join("run"),
        };
        Ok(Self {
            config: folder("XDG_CONFIG_HOME", || home.join(".config")),
            state,
            runtime,
            home,
        })
    }

    /// The file of servers that `add` and `import` write.
    pub(crate) fn servers(&self) -> PathBuf {
        self.config.join("mcp.json")
    }

    /// What is known of the servers, for a start without starting them.
    pub(crate) fn catalogue(&self) -> PathBuf {
        self.state.join("catalogue")
    }

    /// The hashes of tools at their first use.
    pub(crate) fn pins(&self) -> PathBuf {
        self.state.join("pins.json")
    }

    /// The key that seals the sessions of clients.
    pub(crate) fn key(&self) -> PathBuf {
        self.state.join("key")
    }

    /// Each call, a line of JSON.
    pub(crate) fn audit(&self) -> PathBuf {
        self.state.join("audit.jsonl")
    }

    /// The log of the daemon.
    pub(crate) fn log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// A path as people write it: `~` stands for the home folder.
    pub(crate) fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(path) => format!("~/{}", path.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// The socket of the daemon.
    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime.join("daemon.sock")
    }
}

const NAME: &str = "mcp-pool";

fn folder(variable: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
    absolute(variable).unwrap_or_else(default).join(NAME)
}

/// The specification has relative paths ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)?;
    Some(Path::new(&path).to_owned()).filter(|path| path.is_absolute())
}
