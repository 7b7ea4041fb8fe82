#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod error;
mod gateway;
mod principal;

pub use error::Error;
pub use gateway::{Gateway, GatewayBuilder};
pub use principal::{Principal, PrincipalKind};
