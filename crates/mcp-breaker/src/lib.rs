#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod breaker;
mod builder;
mod call;
mod classify;
mod counts;
mod event;
mod event_queue;
#[cfg(feature = "tower")]
mod layer;
mod permit;
mod policy;
mod recovery;
mod rejected;
mod settings;
mod state;
mod state_machine;
mod stats;
mod sync;

pub use breaker::Breaker;
pub use builder::BreakerBuilder;
pub use call::CallError;
pub use classify::{Class, Classify, FaultOnErr};
pub use counts::{Counts, WindowCounts};
pub use event::{BreakerEvent, BreakerObserver, TransitionReason};
#[cfg(feature = "tower")]
pub use layer::{BreakerFuture, BreakerLayer, BreakerService};
pub use permit::Permit;
pub use rejected::Rejected;
pub use settings::InvalidSettings;
pub use state::State;
