//! Processor time, of this program and of the servers that it has started.

use std::{fs, time::Duration};

/// Of all threads of this process.
pub fn own_processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Of all threads of the processes that this one has started and that still run. Zero where the kernel does not tell.
pub fn servers_processor_time() -> Duration {
    let nanoseconds = tasks("self").flat_map(|task| {
        let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
        let children: Vec<_> = children.split_whitespace().map(str::to_owned).collect();
        children.into_iter().flat_map(|child| tasks(&child))
    });
    let nanoseconds = nanoseconds.filter_map(|task| {
        let times = fs::read_to_string(format!("{task}/schedstat")).ok()?;
        times.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The threads of a process, as folders.
fn tasks(process: &str) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(format!("/proc/{process}/task"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned())
}
