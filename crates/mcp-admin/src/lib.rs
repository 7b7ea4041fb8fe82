#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod access;
mod admin;
mod clients;
mod dashboard;
mod error;
mod events;
mod openapi;
mod params;
mod problem;
mod readiness;
mod responses;
mod routes;
mod server;
mod snapshot;
mod view;

pub use admin::Admin;
pub use clients::{ChangedTool, Client, Clients};
pub use error::Error;
pub use mcp_http_server::{Token, TokenError};
pub use server::Bound;
