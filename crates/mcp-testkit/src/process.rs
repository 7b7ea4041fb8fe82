//! Processes of a test: which live, their descendants, and their end. Linux only: it reads `/proc`.

use std::{fs, io, time::Duration};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::time::Instant;

/// Whether a process lives; a zombie does not.
pub fn alive(pid: u32) -> bool {
    Status::of(pid).is_some_and(|status| !matches!(status.state, 'Z' | 'X'))
}

/// Whether a process is stopped, as by SIGSTOP.
pub fn stopped(pid: u32) -> bool {
    Status::of(pid).is_some_and(|status| status.state == 'T')
}

/// The living children of a process.
pub fn children_of(pid: u32) -> Vec<u32> {
    living_with(|status| status.parent == pid)
}

/// The living descendants of a process.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children_of(pid);
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        found.extend(children_of(*parent));
        next += 1;
    }
    found
}

/// The process group of a process, if it lives.
pub fn group_of(pid: u32) -> Option<u32> {
    Status::of(pid).map(|status| status.group)
}

/// The living processes, other than this one, whose environment or command line holds a marker.
pub fn by_marker(marker: &str) -> Vec<u32> {
    let holds = |pid: u32, file: &str| {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text.windows(marker.len())
            .any(|window| window == marker.as_bytes())
    };
    assert!(!marker.is_empty(), "an empty marker is in every process");
    living_with(|_| true)
        .into_iter()
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| holds(*pid, "cmdline") || holds(*pid, "environ"))
        .collect()
}

/// Sends a signal.
///
/// # Errors
///
/// There is no such process, or it belongs to another user.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(kill_process(pid, signal)?)
}

/// Waits until none of these processes lives; `false` if some still do when the time is over.
pub async fn wait_gone(pids: impl IntoIterator<Item = u32>, within: Duration) -> bool {
    let pids: Vec<_> = pids.into_iter().collect();
    wait_until(within, || !pids.iter().any(|pid| alive(*pid))).await
}

/// Waits until a condition holds, asking every few milliseconds; `false` if it never did.
pub async fn wait_until(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// How many file descriptors this process holds open.
pub fn open_fds() -> usize {
    // One of the entries is the directory being read.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// The fields of `/proc/<pid>/stat` that matter here.
struct Status {
    state: char,
    parent: u32,
    group: u32,
}

impl Status {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in the second field may hold spaces and parentheses: count from its end.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

fn living_with(wanted: impl Fn(&Status) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            Status::of(*pid)
                .is_some_and(|status| !matches!(status.state, 'Z' | 'X') && wanted(&status))
        })
        .collect()
}

const POLL_INTERVAL: Duration = Duration::from_millis(3);
