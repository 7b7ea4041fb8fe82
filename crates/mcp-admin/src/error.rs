//! Why a status API does not start.

use std::{io, net::SocketAddr};

/// Why a status API does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Others than this machine could reach it, and nothing would keep them from changing things.
    #[error(
        "refusing to listen on {address} without a token, since it can be reached from other machines; set a token, or \
         listen on 127.0.0.1"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address as it was given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The token could be guessed.
    #[error(
        "the token is too short: {length} characters where at least {MIN_TOKEN} are needed; `openssl rand -hex 32` makes \
         one"
    )]
    WeakToken {
        /// Its characters.
        length: usize,
    },
    /// The token holds blanks, control characters or letters beyond ASCII.
    #[error(
        "the token holds characters that a header cannot bear; `openssl rand -hex 32` makes one without"
    )]
    UnspeakableToken,
}

/// Sixteen random characters of an alphabet of 64 are 96 bits: not to be guessed over a network.
pub(crate) const MIN_TOKEN: usize = 16;
