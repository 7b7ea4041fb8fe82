//! What the benches have in common.
//!
//! Machines differ and are noisy; what holds elsewhere is how much slower or faster one thing is than another, done in
//! turn within one run. So every bench here is a comparison: [`in_turn`] takes both sides, pair by pair, and the median
//! of the pairs' ratios is held against a target. Criterion's figures stand beside it for those who follow one machine
//! over time.
//!
//! Each bench program is its own server: it starts itself again where a real process is needed.

mod bench;
mod memory;
mod pairs;
mod pools;
mod post;
mod processor;
mod record;
mod subjects;

pub use bench::{Bench, bench};
pub use memory::{peak_kib, reset_peak, resident_kib};
pub use pairs::{Comparison, in_turn, median, quantile};
pub use pools::{BareSessions, Nothing, Trivial, trivial_bb8, trivial_deadpool, warm_pool};
pub use post::Post;
pub use processor::{own_processor_time, servers_processor_time};
pub use record::{Point, Record, Target, Verdict, results_file};
pub use subjects::{
    Bare, Calls, Everything, HttpProcess, RawCalls, bare_in_process, bare_kept_alive,
    bare_over_a_pipe, bare_stdio, concurrent, echo, manager, manager_of, pooled_in_process,
    sequential, sleep_10_ms, this_as_server,
};
