//! Descendants of a process.
//!
//! A process group is not enough: a child in a session of its own (`setsid`, node's `detached`, most browsers) leaves
//! the group. While its ancestors live, the kernel's lists of children lead to it. Each process found is held by a
//! pidfd, so that a signal cannot reach another process that was given its number.
//!
//! A daemon, whose parent has ended on purpose, is in no list and is not found.

use std::{fs, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The descendants of a process that were alive when they were looked for.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    pid: Pid,
    handle: OwnedFd,
}

impl Tree {
    /// Looks for descendants of `root`, and of those found before. Reads some files of `/proc` for each process.
    pub(super) fn extend(&mut self, root: Pid) {
        self.members.retain(Member::lives);
        let mut parents: Vec<Pid> = self.members.iter().map(|member| member.pid).collect();
        parents.push(root);
        while let Some(parent) = parents.pop() {
            for child in children(parent) {
                if self.members.len() < MAX_MEMBERS && self.add(child, Some(parent)) {
                    parents.push(child);
                }
            }
        }
    }

    /// Adds processes that were found in another way.
    pub(super) fn add_all(&mut self, found: Vec<Pid>) {
        for pid in found {
            self.add(pid, None);
        }
    }

    fn add(&mut self, pid: Pid, parent: Option<Pid>) -> bool {
        if self.members.iter().any(|member| member.pid == pid) {
            return false;
        }
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return false;
        };
        let member = Member { pid, handle };
        // Between the list and the handle the child may have ended, and its number may be another's.
        let same = parent.is_none_or(|parent| parent_of(pid) == Some(parent));
        let added = same && member.lives();
        if added {
            self.members.push(member);
        }
        added
    }

    /// Whether any of them still runs. A zombie does not. One system call for each.
    pub(super) fn lives(&self) -> bool {
        self.members.iter().any(Member::lives)
    }

    pub(super) fn signal(&self, signal: Signal) {
        for member in &self.members {
            let _ = pidfd_send_signal(&member.handle, signal);
        }
    }
}

impl Member {
    fn lives(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        // A pidfd is readable once its process has ended, collected or not.
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut handle, Some(&Timespec::default())) == Ok(0)
    }
}

/// The children of all threads of a process, as far as the kernel reports them.
fn children(parent: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()));
    let lists = (tasks.into_iter().flatten().flatten())
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = |list: String| {
        let pids = list.split_ascii_whitespace();
        pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect::<Vec<_>>()
    };
    lists.flat_map(pids).collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // `pid (name) state parent ...`; the name may hold anything, parentheses too.
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

/// Processes of one server that are followed. A server with more is ended as far as its group goes.
const MAX_MEMBERS: usize = 1_000;
