//! A process that outlives its parent, as behind wrappers: this binary in a hidden mode.

use std::{
    io,
    process::{Command, ExitCode, Stdio},
};

use crate::{Grandchild, SERVER_ARGUMENT, TestServer};

/// Spawns one and returns its pid. It carries the parent's marker and its process group, unless it is detached.
pub(crate) fn spawn(server: &TestServer, kind: Grandchild, holds_stdout: bool) -> io::Result<u32> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([SERVER_ARGUMENT, "--as-grandchild", kind.as_argument()])
        .args([
            "--max-lifetime",
            &server.options.max_lifetime.as_secs().to_string(),
        ])
        .stdin(match kind {
            Grandchild::HeedsStdin => Stdio::inherit(),
            Grandchild::IgnoresStdin | Grandchild::Detached => Stdio::null(),
        })
        .stdout(match holds_stdout {
            true => Stdio::inherit(),
            false => Stdio::null(),
        })
        .stderr(Stdio::null());
    if let Some(marker) = &server.options.marker {
        command.args(["--marker", marker]);
    }
    let child = command.spawn()?;
    let pid = child.id();
    // Kept, so that it is reaped with its parent and not before.
    server.shared.grandchildren.lock().push(child);
    Ok(pid)
}

/// The life of a grandchild.
pub(crate) fn live(kind: Grandchild, max_seconds: u64) -> ExitCode {
    let max_seconds = i64::try_from(max_seconds).unwrap_or(i64::MAX);
    wait(kind, max_seconds);
    ExitCode::SUCCESS
}

/// Waits without reading: the bytes in the pipe belong to the parent.
#[cfg(unix)]
fn wait(kind: Grandchild, max_seconds: i64) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let limit = Timespec {
        tv_sec: max_seconds,
        tv_nsec: 0,
    };
    let stdin = io::stdin();
    // No flags asked for leaves the one that needs no asking: the other end hung up.
    let mut stdin = [PollFd::new(&stdin, PollFlags::empty())];
    let watched = match kind {
        Grandchild::HeedsStdin => &mut stdin[..],
        Grandchild::IgnoresStdin => &mut [],
        Grandchild::Detached => {
            let _ = rustix::process::setsid();
            &mut []
        }
    };
    // Interrupted or over: in both cases there is nothing left to do but end.
    let _ = poll(watched, Some(&limit));
}

#[cfg(not(unix))]
fn wait(_: Grandchild, max_seconds: i64) {
    std::thread::park_timeout(std::time::Duration::from_secs(max_seconds.unsigned_abs()));
}
