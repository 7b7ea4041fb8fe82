//! What `--fix` mends: modes of files, and the socket of a daemon that has ended. Nothing else is changed.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    daemon,
    finding::{Finding, Mend},
};

/// What was mended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fixed {
    pub(super) id: &'static str,
    pub(super) done: String,
}

/// Mends what can be mended, and takes it out of the findings.
pub(super) fn apply(findings: &mut Vec<Finding>) -> Vec<Fixed> {
    let mut fixed = Vec::new();
    findings.retain_mut(|finding| {
        let Some(mend) = &finding.mend else {
            return true;
        };
        match mend.apply() {
            Ok(done) => {
                let id = finding.id;
                fixed.push(Fixed { id, done });
                false
            }
            Err(error) => {
                finding.cause = Some(format!("it could not be mended: {error}"));
                true
            }
        }
    });
    fixed
}

impl Mend {
    fn apply(&self) -> io::Result<String> {
        match self {
            Self::MakePrivate(path) => make_private(path),
            Self::RemoveSocket(path) => remove_socket(path),
        }
    }
}

fn make_private(path: &Path) -> io::Result<String> {
    let before = fs::metadata(path)?.permissions().mode() & 0o777;
    let after = before & 0o700;
    fs::set_permissions(path, fs::Permissions::from_mode(after))?;
    let path = path.display();
    Ok(format!("{path}: mode {after:o} instead of {before:o}"))
}

/// A daemon may have started since it was looked at.
fn remove_socket(path: &PathBuf) -> io::Result<String> {
    if !daemon::is_stale(path) {
        return Err(io::Error::other("a daemon has started since"));
    }
    fs::remove_file(path)?;
    Ok(format!("{}: removed", path.display()))
}
