//! The variables a server is given without being named in its configuration.

use std::ffi::OsString;

#[cfg(not(windows))]
const SAFE: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR",
];

#[cfg(windows)]
const SAFE: &[&str] = &[
    "APPDATA",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMFILES",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "USERNAME",
    "USERPROFILE",
];

/// What a program needs to find itself and its home, and no secret: a server gets the keys its configuration names,
/// not those of its neighbours.
pub(crate) fn safe_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    SAFE.iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)))
}
