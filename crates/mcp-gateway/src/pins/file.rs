//! The pins file: what each tool was at its first use, and what it is now where that differs.
//!
//! The gateway and an operator's program both write it. Each reads, changes and replaces it under a lock, so that neither
//! undoes what the other has written.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use mcp_pooled_tools::ToolTarget;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Checked, Pins, definition, definition::differences};

/// A tool that is not what it was at its first use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PinChange {
    /// The server that has it.
    pub server: String,
    /// What its server calls it.
    pub tool: String,
    /// What differs: `description: "…" -> "…"`, one line each. Long values are cut; `old` and `new` are whole.
    pub differences: Vec<String>,
    /// What it was at its first use: name, title, description, schemas and annotations.
    pub old: Value,
    /// What it is now.
    pub new: Value,
    /// SHA-256 of `old`, in hexadecimal.
    pub old_sha256: String,
    /// SHA-256 of `new`, in hexadecimal: approve this.
    pub new_sha256: String,
}

/// Why a change is not approved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApproveError {
    /// The tool is what it was at its first use, or was never seen.
    #[error("tool `{tool}` of server `{server}` has not changed: there is nothing to approve")]
    NotChanged {
        /// The server.
        server: String,
        /// What its server calls it.
        tool: String,
    },
    /// The tool is not what was read.
    #[error(
        "tool `{tool}` of server `{server}` has changed again: look at the change {new_sha256} and approve that"
    )]
    ChangedAgain {
        /// The server.
        server: String,
        /// What its server calls it.
        tool: String,
        /// SHA-256 of what it is now.
        new_sha256: String,
    },
    /// The file cannot be read or written.
    #[error("pins file {}: {source}; check the file and its folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The pins file of a gateway (`pins_file`), for a program beside it. A running gateway notices a change within a second of
/// its next listing or call.
///
/// ```no_run
/// use mcp_gateway::PinsFile;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pins = PinsFile::new("pins.json");
/// for change in pins.changes()? {
///     println!("{}.{} {}", change.server, change.tool, change.new_sha256);
///     println!("  {}", change.differences.join("\n  "));
/// }
/// # let sha256 = "";
/// pins.approve("files", "read", sha256)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PinsFile(PathBuf);

/// By server and tool.
pub(super) type Pinned = BTreeMap<String, BTreeMap<String, Pin>>;

/// A tool: what is pinned, and what it is now if that differs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Pin {
    #[serde(flatten)]
    pub(super) pinned: Definition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) changed: Option<Definition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Definition {
    pub(super) sha256: String,
    definition: Map<String, Value>,
}

#[derive(Deserialize, Serialize)]
struct Content {
    version: u32,
    servers: Pinned,
}

/// Tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    /// Each replacement is another file.
    inode: u64,
}

impl PinsFile {
    /// The pins file at this path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The tools that are not what they were at their first use, in the order of their names. It blocks.
    ///
    /// # Errors
    /// If the file cannot be read or is none of a gateway. One that does not exist has no changes.
    pub fn changes(&self) -> io::Result<Vec<PinChange>> {
        Ok(changes(&self.read()?))
    }

    /// Compares a tool with its pin, as a gateway does before a call: one that was not seen before is pinned, and a change is
    /// noted for its approval. Returns the change. It blocks.
    ///
    /// # Errors
    /// If the file cannot be read or written, is none of a gateway, or has no room for another tool of the server.
    pub fn check(&self, tool: &ToolTarget) -> io::Result<Option<PinChange>> {
        let pins = Pins::open(Some(self.0.clone()))?;
        let checked = pins.check(tool);
        pins.sync()?;
        match checked {
            Checked::AsPinned => Ok(None),
            Checked::Changed(Some(change)) => Ok(Some(*change)),
            Checked::Changed(None) => {
                let why = format!("no room for more tools of server `{}`", tool.server);
                Err(io::Error::other(why))
            }
        }
    }

    /// Pins a changed tool as it is now, and returns the change. `new_sha256` is that of the change that was read: another
    /// one is not approved. It blocks.
    ///
    /// # Errors
    /// [`ApproveError`].
    pub fn approve(
        &self,
        server: &str,
        tool: &str,
        new_sha256: &str,
    ) -> Result<PinChange, ApproveError> {
        let failed = |source| ApproveError::File {
            path: self.0.clone(),
            source,
        };
        let _lock = self.lock().map_err(failed)?;
        let mut pinned = self.read().map_err(failed)?;
        let change = approve(&mut pinned, server, tool, new_sha256)?;
        self.write(&pinned).map_err(failed)?;
        Ok(change)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps others from writing until it is dropped. It waits for them.
    pub(super) fn lock(&self) -> io::Result<File> {
        let lock = private().write(true).open(beside(&self.0, "lock"))?;
        #[cfg(unix)]
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    /// # Errors
    /// If the file cannot be read or is none of ours: pins that are silently forgotten would be made again of what is there.
    pub(super) fn read(&self) -> io::Result<Pinned> {
        let text = match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pinned::new()),
            read => read?,
        };
        let content: Content = serde_json::from_slice(&text)?;
        match content.version {
            VERSION => Ok(content.servers),
            other => {
                let message = format!("version {other} is not known here");
                Err(io::Error::other(message))
            }
        }
    }

    /// Replaces the file, whole or not at all.
    pub(super) fn write(&self, pinned: &Pinned) -> io::Result<()> {
        let content = Content {
            version: VERSION,
            servers: pinned.clone(),
        };
        let temporary = beside(&self.0, &std::process::id().to_string());
        let mut written = private().write(true).truncate(true).open(&temporary)?;
        written.write_all(&serde_json::to_vec_pretty(&content)?)?;
        written.sync_all()?;
        drop(written);
        fs::rename(&temporary, &self.0)
    }

    /// The state of the file; `None` if there is none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.0).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Stamp {
            modified: metadata.modified().ok(),
            size: metadata.len(),
            inode,
        })
    }
}

impl Pin {
    pub(super) fn new(pinned: Definition) -> Self {
        Self {
            pinned,
            changed: None,
        }
    }

    /// Notes what the tool is now.
    pub(super) fn saw(&mut self, now: &Definition) {
        let differs = now.sha256 != self.pinned.sha256;
        self.changed = differs.then(|| now.clone());
    }

    /// What the tool is now.
    pub(super) fn now(&self) -> &Definition {
        self.changed.as_ref().unwrap_or(&self.pinned)
    }

    /// Bytes of what is kept.
    pub(super) fn size(&self) -> usize {
        let changed = self.changed.as_ref().map_or(0, Definition::size);
        self.pinned.size() + changed
    }

    pub(super) fn change(&self, server: &str, tool: &str) -> Option<PinChange> {
        let (old, new) = (&self.pinned, self.changed.as_ref()?);
        Some(PinChange {
            server: server.to_owned(),
            tool: tool.to_owned(),
            differences: differences(&old.definition, &new.definition),
            old: Value::Object(old.definition.clone()),
            new: Value::Object(new.definition.clone()),
            old_sha256: old.sha256.clone(),
            new_sha256: new.sha256.clone(),
        })
    }
}

impl Definition {
    pub(super) fn of(definition: &str) -> Self {
        let definition = definition::parts(definition);
        Self {
            sha256: definition::hash(&definition),
            definition,
        }
    }

    /// Bytes of its JSON.
    pub(super) fn size(&self) -> usize {
        serde_json::to_vec(&self.definition).map_or(0, |json| json.len())
    }
}

pub(super) fn changes(pinned: &Pinned) -> Vec<PinChange> {
    let tools = pinned
        .iter()
        .flat_map(|(server, tools)| tools.iter().map(move |(tool, pin)| (server, tool, pin)));
    tools
        .filter_map(|(server, tool, pin)| pin.change(server, tool))
        .collect()
}

pub(super) fn approve(
    pinned: &mut Pinned,
    server: &str,
    tool: &str,
    new_sha256: &str,
) -> Result<PinChange, ApproveError> {
    let pin = pinned.get_mut(server).and_then(|tools| tools.get_mut(tool));
    let change = pin.and_then(|pin| {
        let change = pin.change(server, tool)?;
        Some((pin, change))
    });
    let Some((pin, change)) = change else {
        return Err(ApproveError::NotChanged {
            server: server.to_owned(),
            tool: tool.to_owned(),
        });
    };
    // The hash in the file is not taken at its word.
    let now = definition::hash(&pin.now().definition);
    if !now.eq_ignore_ascii_case(new_sha256) {
        return Err(ApproveError::ChangedAgain {
            server: change.server,
            tool: change.tool,
            new_sha256: now,
        });
    }
    *pin = Pin::new(pin.now().clone());
    Ok(change)
}

/// Of files that only their owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{extension}"));
    name.into()
}

const VERSION: u32 = 1;
