//! A scriptable MCP server, well-behaved and hostile, for testing clients and pools.
//!
//! A pool earns its keep when servers misbehave: when they exit in the middle of a call, stop reading,
//! print rubbish, or leave grandchildren behind. This crate is such a server on demand, in the same
//! process, in a process of its own, or over HTTP:
//!
//! ```no_run
//! # use mcp_testkit::{Faults, TestServer};
//! # async fn example() {
//! let server = TestServer::with_faults(Faults {
//!     exit_after_calls: Some(3),
//!     ..Faults::default()
//! });
//! let transport = server.connect(); // a duplex stream: hand it to an rmcp client
//! // ... three calls later the connection is gone
//! assert_eq!(server.calls_of("count"), 3);
//! # }
//! ```
//!
//! - [`TestServer`] is the server; its counters say what reached it.
//! - [`Faults`] are wrong from the start; the tools `exit`, `freeze`, `garbage` and their like go wrong
//!   when called.
//! - [`binary`] is the path of the server as a program; [`is_server_invocation`] lets any program be
//!   its own server.
//! - `HttpServer` serves it over streamable HTTP (feature `http`).
//! - `scripted_http` answers over HTTP as a test says, byte by byte (feature `http`).
//! - [`process`] looks after the processes of a test: who lives, who descends from whom.

mod binary;
mod call_counter;
mod calls;
mod counters;
mod era;
mod faults;
mod flood;
mod grandchild;
mod handler;
mod hostile;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_faults;
mod line_transport;
mod open_counter;
mod options;
mod pages;
#[cfg(target_os = "linux")]
pub mod process;
mod prompts;
mod resources;
mod run;
#[cfg(feature = "http")]
pub mod scripted_http;
mod server;
mod server_requests;
mod stdio;
mod stdout_noise;
mod tools;
mod usage;

pub use binary::binary;
pub use counters::{Interruption, Stats};
pub use era::Era;
pub use faults::{FailFirst, Faults, Flood, Grandchild, Hang, OpeningFailure};
#[cfg(feature = "http")]
pub use http::{HttpOptions, HttpServer};
pub use options::{HttpServing, Instead, Options, Paging, ServeOn};
pub(crate) use run::SERVER_ARGUMENT;
pub use run::{is_server_invocation, main, run};
pub use server::TestServer;
