//! The two programs of this package, which lie beside each other.
//!
//! Each client has a process of `mcp-pool connect`, so that one is kept small: of a program of a few megabytes less is mapped
//! and relocated. Where [`CONNECT`] is missing, [`MAIN`] does the same.

use std::{io, path::PathBuf};

/// The command with all its subcommands.
pub(crate) const MAIN: &str = "mcp-pool";
/// `mcp-pool connect` alone.
pub(crate) const CONNECT: &str = "mcp-pool-connect";

/// The path of one of them, wherever this one is.
///
/// # Errors
/// What the system says if it does not know where this program is.
pub(crate) fn path(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}
