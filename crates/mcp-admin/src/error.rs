//! Why a status API does not start.

use std::{io, net::SocketAddr};

use mcp_http_server::TokenError;

/// Why a status API does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other machines could reach it, and nothing would keep them from changing things.
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
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
}
