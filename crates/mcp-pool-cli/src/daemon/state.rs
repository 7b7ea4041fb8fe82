//! The folders of the daemon: for their owner alone, and of a form that this version knows.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use tempfile::NamedTempFile;

use crate::{failure::Failure, folders::Folders};

/// The form of the state folder. A change that earlier versions cannot read adds one.
const FORM: u32 = 1;

/// Makes the folders that are missing.
///
/// # Errors
/// They cannot be made, belong to another user, or were written by a version whose form is not known here.
pub(crate) fn prepare(folders: &Folders) -> Result<(), Failure> {
    for folder in [&folders.state, &folders.runtime] {
        private(folder).map_err(|error| {
            let path = folder.display();
            Failure::internal(format!("folder {path}: {error}")).fix(format!("ls -ld {path}"))
        })?;
    }
    let path = folders.state.join("version");
    let failed = |error: io::Error| Failure::internal(format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(form) if form.trim().parse::<u32>().is_ok_and(|form| form <= FORM) => Ok(()),
        Ok(form) => {
            let (state, form) = (folders.state.display(), form.trim().escape_debug());
            let message = format!(
                "folder {state} has form {form}, and this version of mcp-pool knows form {FORM}"
            );
            let fix = "install the version of mcp-pool that wrote it, or move the folder away";
            Err(Failure::usage(message).fix(fix))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match create(&path, &format!("{FORM}\n")) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
                _ => Ok(()),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes a folder for its owner alone. One that is there must be this user's, and is closed to others.
fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let found = fs::metadata(folder)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes a file for its owner alone. It is there as a whole or not at all.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is one, or a link of this name.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}
