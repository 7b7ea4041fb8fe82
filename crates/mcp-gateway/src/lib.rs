#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod call;
mod endpoint;
mod error;
mod follow;
mod gateway;
mod keys;
mod legacy;
mod log_level;
mod members;
mod message;
mod modern;
mod parked;
mod path;
mod principal;
mod questions;
mod session;
mod session_id;
mod sessions;
mod stdio;
mod stream;

pub use error::Error;
pub use gateway::{Gateway, GatewayBuilder};
pub use keys::Keys;
pub use principal::{Principal, PrincipalKind};
