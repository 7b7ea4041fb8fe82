#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod admin;
mod allow;
mod audit;
mod auth;
mod call;
mod cors;
mod edge;
mod endpoint;
mod error;
mod follow;
mod forwarded;
mod gateway;
mod guard;
mod keys;
mod latest;
mod legacy;
mod limits;
mod listen;
mod log_level;
mod members;
mod message;
mod modern;
mod parked;
mod path;
mod pins;
mod principal;
mod questions;
mod search;
mod session;
mod session_id;
mod sessions;
mod stdio;
mod stream;
mod subscriptions;
mod turns;

pub use error::Error;
pub use gateway::{Gateway, GatewayBuilder};
pub use keys::Keys;
pub use pins::{ApproveError, PinChange, PinsFile};
pub use principal::{Principal, PrincipalKind};
pub use questions::listing_client;
pub use search::rank_tools;
