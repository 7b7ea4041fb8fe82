#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod connection;
mod connection_limit;
mod guarded_body;
mod host_check;
mod listener;
mod server;
mod shutdown;
mod token;
mod write_timeout;

pub use connection::RequestBody;
pub use guarded_body::GuardedBody;
pub use host_check::{ForeignHost, ForeignOrigin, HostCheck};
pub use listener::{Listener, Peer};
pub use server::Server;
pub use shutdown::Shutdown;
pub use token::{Token, TokenError, Tokens, Unauthorized, bearer};
