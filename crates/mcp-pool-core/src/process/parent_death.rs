//! Parent-death signal: a server ends when its client is killed.
//!
//! The one module with unsafe code: no library offers the parent-death signal without it. What runs between fork and
//! exec must be async-signal-safe; these are two system calls and no allocation.

#![allow(
    unsafe_code,
    reason = "pre_exec is unsafe, and prctl must run in the child"
)]

use std::io;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// Has the kernel kill the child when the thread that starts it ends. See [`super::spawner`] for which thread.
pub(super) fn arm(command: &mut Command) {
    let parent: Pid = getpid();
    // SAFETY: async-signal-safe, as the head of the module says.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the call above took effect.
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::ErrorKind::Interrupted.into())
            }
        });
    }
}
