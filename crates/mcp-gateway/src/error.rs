//! Why a gateway cannot be built.

use std::{io, path::PathBuf};

/// Why a gateway cannot be built or serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that holds the keys of session ids cannot be read or made.
    #[error("session key file {}: {source}; check its folder and that its mode is 0600", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot listen.
    #[error(
        "gateway cannot listen at {at}: {source}; choose another address or socket, or end what listens there"
    )]
    Listen {
        /// The address, or the path of the socket.
        at: String,
        /// What the system says.
        source: io::Error,
    },
    /// A setting is invalid.
    #[error("gateway: {0}")]
    Setting(String),
}
