#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod abandoned;
mod backoff;
mod budget;
mod challenge;
mod close;
pub mod connect;
#[cfg(feature = "http")]
mod credentials;
#[cfg(not(feature = "http"))]
#[path = "credentials/none.rs"]
mod credentials;
mod deadline;
mod decode;
mod error;
mod event;
mod exchange;
mod failure;
mod future;
mod handler;
mod inner;
mod lease;
mod lifecycle;
mod maintenance;
mod opener;
mod options;
mod pace;
mod pool;
mod process;
mod progress;
mod raw_params;
mod raw_request;
mod redact;
mod router;
mod runtime;
mod scope;
mod session;
mod slots;
pub mod source;
mod status;
mod transport_report;
mod waiters;

pub use rmcp;

pub use budget::Budget;
pub use challenge::AuthChallenge;
pub use connect::{Connected, Connector, EraMemory, Handshake, LifecycleMode};
pub use decode::{DROPPED_FIELDS, UNDECODED_CONTENT};
pub use error::{AcquireError, OpenError, OpenErrorKind, Phase};
pub use event::{PoolEvent, PoolObserver};
pub use failure::CallFailure;
pub use handler::{CallerHandler, Lent, ServerListener, SessionHandler, client_info};
pub use lease::{CallGuard, Deadline, Lease, PinnedLease, Turn};
pub use lifecycle::{CloseReason, Era, SessionId, SessionLifecycle, SessionState};
pub use options::{InvalidOptions, PoolOptions, SharingMode};
pub use pool::{PoolBuilder, ProbeReport, SessionPool, WeakSessionPool};
pub use progress::{ProgressRoute, ProgressSink};
pub use raw_params::RawParams;
pub use raw_request::{RawRequest, RequestObserver};
pub use redact::{MAX_QUOTED, sanitize};
pub use scope::Scope;
pub use session::Session;
pub use status::{Connections, SessionPoolStatus, SessionStatus};
pub use transport_report::TransportReport;
