#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod access;
mod admin;
mod body;
mod bound;
mod dashboard;
mod document;
mod error;
mod events;
mod hosts;
mod params;
mod patience;
mod places;
mod problem;
mod readiness;
mod responses;
mod routes;
mod snapshot;
mod token;
mod view;

pub use admin::Admin;
pub use bound::Bound;
pub use error::Error;
pub use token::Token;
