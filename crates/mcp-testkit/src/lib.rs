#![doc = include_str!("../README.md")]

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
mod lateness;
mod line_transport;
#[cfg(target_os = "linux")]
pub mod memory;
mod open_counter;
mod options;
mod pages;
#[cfg(target_os = "linux")]
pub mod process;
mod prompts;
pub mod resource_server;
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
pub use lateness::Lateness;
pub use options::{Action, HttpServing, Options, Paging, ServeOn};
pub(crate) use run::SERVER_ARGUMENT;
pub use run::{is_server_invocation, main, run};
pub use server::TestServer;
