//! Memory of a process and its descendants.

use std::fs;

/// The resident memory of a process and all its descendants, in bytes. Shared pages count once for each process.
/// `None` where the system does not say.
pub(super) fn of_tree(root: u32) -> Option<u64> {
    let mut total = resident(root)?;
    let mut parents = vec![root];
    let mut seen = 1;
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            if seen < MAX_PROCESSES {
                seen += 1;
                total += resident(child).unwrap_or_default();
                parents.push(child);
            }
        }
    }
    Some(total)
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Each thread of a process has its own.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let lists = tasks
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<_>>()
        })
        .collect()
}

const MAX_PROCESSES: usize = 10_000;
