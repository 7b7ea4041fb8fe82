//! Lists on disk: one file for each server in one directory.
//!
//! A file is written beside its place and moved there, so that a reader sees an old one or a new one and no half. One
//! that cannot be read, or that a newer version wrote, is ignored with a warning: the server is asked instead.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{kind::ListKind, lookup::ToolTarget, names::fingerprint, server_lists::ServerLists};

/// The directory. All methods block.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Path>);

#[derive(Serialize, Deserialize)]
struct File<L> {
    version: u32,
    server: String,
    /// Of the server's configuration: a server that is another one has other lists.
    definition: String,
    lists: L,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Disk {
    pub(crate) fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into().into())
    }

    /// The lists of a server, if they are there and of this definition.
    pub(crate) fn read(&self, server: &str, definition: &str) -> Option<ServerLists> {
        let path = self.path(server);
        let ignored = |why: &dyn std::fmt::Display| {
            let path = path.display();
            tracing::warn!(server, "catalogue file {path} is ignored: {why}");
        };
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                ignored(&error);
                return None;
            }
        };
        match serde_json::from_slice::<Head>(&text) {
            Ok(head) if head.version == VERSION => {}
            Ok(head) => {
                ignored(&format!(
                    "its version is {}, expected {VERSION}",
                    head.version
                ));
                return None;
            }
            Err(error) => {
                ignored(&error);
                return None;
            }
        }
        match serde_json::from_slice::<File<ServerLists>>(&text) {
            Ok(file) if file.server == server && file.definition == definition => Some(file.lists),
            Ok(_) => None,
            Err(error) => {
                ignored(&error);
                None
            }
        }
    }

    /// Puts the lists of a server in place of those that are there.
    ///
    /// # Errors
    /// As the file system says.
    pub(crate) fn write(
        &self,
        server: &str,
        definition: &str,
        lists: &ServerLists,
    ) -> io::Result<()> {
        let file = File {
            version: VERSION,
            server: server.to_owned(),
            definition: definition.to_owned(),
            lists,
        };
        make_private(&self.0)?;
        let path = self.path(server);
        // Another process may be writing the same.
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        write_private(&beside, &serde_json::to_vec(&file)?)?;
        fs::rename(&beside, &path).inspect_err(|_| drop(fs::remove_file(&beside)))
    }

    /// The servers of the directory and their lists, whatever their definitions are now.
    fn read_all(&self) -> Vec<(String, ServerLists)> {
        let Ok(files) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let paths = files.flatten().map(|file| file.path());
        let read = paths.filter_map(|path| {
            let text = read_bounded(&path).ok()?;
            let file: File<ServerLists> = serde_json::from_slice(&text).ok()?;
            (file.version == VERSION).then_some((file.server, file.lists))
        });
        read.collect()
    }

    /// A name that says which server it is, and that no other server has.
    fn path(&self, server: &str) -> PathBuf {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
        let readable: String = server.chars().filter(allowed).take(32).collect();
        let hash = fingerprint([server]);
        self.0.join(format!("{readable}-{hash:016x}.json"))
    }
}

/// The tools in a [catalogue](crate::ConnectionManagerBuilder::catalogue) on disk, in the order of their servers: as they
/// were when they were last listed, under the names that their servers give them. Starts nothing; blocks.
///
/// It is for what must be quick and may be wrong, such as completion in a shell: the server may have changed since.
#[must_use]
pub fn known_tools(directory: impl AsRef<Path>) -> Vec<ToolTarget> {
    let mut servers = Disk::new(directory.as_ref()).read_all();
    servers.sort_by(|(one, _), (other, _)| one.cmp(other));
    let tools = servers.iter().flat_map(|(server, lists)| {
        let server: Arc<str> = server.as_str().into();
        let list = lists.list(ListKind::Tools).into_iter();
        let items = list.flat_map(|list| &list.items);
        items.map(move |item| ToolTarget {
            definition: Some(item.raw.clone()),
            ..ToolTarget::new(Arc::clone(&server), item.key.clone())
        })
    });
    tools.collect()
}

/// Removes the lists of a server from a [catalogue](crate::ConnectionManagerBuilder::catalogue) on disk, so that the next
/// manager reads them from the server. Blocks.
///
/// # Errors
/// As the file system says. Lists that are not there are no error.
pub fn forget_lists(directory: impl AsRef<Path>, server: &str) -> io::Result<()> {
    match fs::remove_file(Disk::new(directory.as_ref()).path(server)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(io::Error::other(format!(
            "it has {length} bytes, and {MAX_FILE} at most are read"
        )));
    }
    fs::read(path)
}

/// Lists may be private to this user.
/// Makes a folder, and those above it, that its owner alone may look into. One that is there stays as it is.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content)
}

/// Of the format.
const VERSION: u32 = 1;
const MAX_FILE: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::server_lists::List, *};
    use crate::reply::Reply;

    fn lists() -> ServerLists {
        let mut lists = ServerLists::new(None);
        let tools = Reply::typed(&json!({"tools": [{"name": "a", "odd": [1]}]}));
        lists.insert(ListKind::Tools, List::of(ListKind::Tools, &tools));
        lists.generation = 7;
        lists
    }

    #[test]
    fn lists_are_read_as_they_were_written_and_by_their_server_alone() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().join("made/by/it"));
        assert!(disk.read("a/..", "x").is_none());
        disk.write("a/..", "x", &lists()).unwrap();
        let read = disk.read("a/..", "x").unwrap();
        assert!(read.has_same_content(&lists()) && read.generation == 7);
        assert!(disk.read("a/...", "x").is_none());
        assert!(disk.read("a/..", "another program").is_none());
        let files = fs::read_dir(&disk.0).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside the file");
    }

    #[test]
    fn corrupt_and_newer_files_are_ignored_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        for content in [
            "",
            "{",
            "[]",
            r#"{"version": 2, "server": "a", "more": {}}"#,
            r#"{"version": 1, "server": "a", "definition": "x", "lists": {"lists": 7}}"#,
        ] {
            fs::write(disk.path("a"), content).unwrap();
            assert!(disk.read("a", "x").is_none(), "{content}");
        }
        disk.write("a", "x", &lists()).unwrap();
        assert!(disk.read("a", "x").is_some());
    }

    #[test]
    fn the_tools_on_disk_are_known_without_their_servers() {
        let folder = tempfile::tempdir().unwrap();
        assert!(known_tools(folder.path().join("none")).is_empty());
        let disk = Disk::new(folder.path());
        disk.write("b", "x", &lists()).unwrap();
        disk.write("a", "y", &lists()).unwrap();
        fs::write(folder.path().join("odd.json"), "{").unwrap();
        let known = known_tools(folder.path());
        let names = known
            .iter()
            .map(|tool| format!("{}.{}", tool.server, tool.tool));
        assert_eq!(names.collect::<Vec<_>>(), ["a.a", "b.a"]);
        let definition = known[0].definition.as_deref().unwrap().get();
        assert_eq!(definition, r#"{"name":"a","odd":[1]}"#);
    }

    #[test]
    fn the_lists_of_one_server_are_forgotten_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        forget_lists(folder.path(), "a").unwrap();
        disk.write("a", "x", &lists()).unwrap();
        disk.write("b", "x", &lists()).unwrap();
        forget_lists(folder.path(), "a").unwrap();
        assert!(disk.read("a", "x").is_none());
        assert!(disk.read("b", "x").is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        disk.write("a", "x", &lists()).unwrap();
        let mode = fs::metadata(disk.path("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
