//! Changing files that others read: one writer at a time, and no reader sees half a file.
//!
//! A new text is written beside the file and renamed over it. The file keeps its mode, and a symbolic link stays one. What
//! the file was before lies beside it, under the same name and `.mcp-pool-backup`; no link is followed there.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

use crate::{failure::Failure, folders::Folders};

/// Keeps every other edit of this user waiting while it lives.
#[derive(Debug)]
pub(crate) struct EditLock(#[expect(dead_code, reason = "the lock ends with the file")] File);

impl EditLock {
    /// Waits for the edits of other processes to end.
    pub(crate) fn take(folders: &Folders) -> Result<Self, Failure> {
        let path = folders.state.join("edit.lock");
        let failed = |error: io::Error| {
            Failure::internal(format!("cannot lock {}: {error}", path.display()))
        };
        private_folder(&folders.state).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| failed(error.into()))?;
        Ok(Self(file))
    }
}

/// Makes a folder, and those above it, that only its owner may enter.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Checks that a file may be replaced. Returns the file behind a link, and the mode that it has to keep.
///
/// # Errors
/// If the file is read-only.
pub(crate) fn check(path: &Path) -> Result<(PathBuf, Permissions), Failure> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed(path, &error)),
    };
    let permissions = match fs::metadata(&real) {
        Ok(metadata) => metadata.permissions(),
        Err(_) => Permissions::from_mode(0o600),
    };
    if permissions.mode() & 0o200 == 0 {
        return Err(Failure::usage(format!("{} is read-only", path.display()))
            .fix(format!("chmod u+w '{}'", path.display())));
    }
    Ok((real, permissions))
}

/// Replaces a file by this text, or makes it. A new file can be read by its owner alone, for it may hold secrets.
///
/// # Errors
/// If the file is read-only, or cannot be written. It is unchanged then.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let (path, permissions) = check(path)?;
    write(&path, text, permissions).map_err(|error| failed(&path, &error))
}

/// Writes what a file was before beside it, with the same mode. Returns the path of the copy.
///
/// A symbolic link at that path is replaced and not followed: the user has not named its target.
pub(crate) fn back_up(path: &Path, before: &str) -> Result<PathBuf, Failure> {
    let copy = backup_of(path);
    let mode = fs::metadata(path).map_or(0o600, |metadata| metadata.permissions().mode());
    write(&copy, before, Permissions::from_mode(mode | 0o200))
        .map_err(|error| failed(&copy, &error))?;
    Ok(copy)
}

/// Puts a file with this text at this very path.
fn write(path: &Path, text: &str, permissions: Permissions) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    private_folder(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

/// Where [`back_up`] writes.
pub(crate) fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".mcp-pool-backup");
    path.with_file_name(name)
}
