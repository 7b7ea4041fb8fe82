//! Ending a process with all that it has started, each step within a deadline.

use std::{sync::atomic::Ordering, time::Duration};

use process_wrap::tokio::ChildWrapper;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{ChildProcess, CloseTimeouts, Signal, tree::Tree};

impl ChildProcess {
    /// What the process has started until now. Its end hides it: to be asked before anything ends the process.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn descendants(&self) -> Tree {
        self.extended(Tree::default()).await
    }

    /// Ends the process, its group and its descendants; its stdin has been closed already. Returns within the timeouts
    /// and a second.
    pub(crate) async fn end(&self, timeouts: CloseTimeouts, mut tree: Tree) {
        const AFTER_KILL: Duration = Duration::from_secs(1);
        let _ = timeout(timeouts.stdin, self.wait_exit()).await;
        for (signal, limit) in [
            (Signal::Terminate, timeouts.term),
            (Signal::Kill, AFTER_KILL),
        ] {
            tree = self.extended(tree).await;
            if self.nothing_left(&mut tree).await {
                return;
            }
            // The process before its descendants: one that waits for a child would end without having been asked.
            let _ = self.signal(signal).await;
            self.signal_tree(signal, &tree);
            let _ = timeout(limit, self.wait_nothing_left(&mut tree)).await;
        }
        self.nothing_left(&mut tree).await;
    }

    /// Ends the process, its group and its descendants at once, with a runtime or without.
    pub(crate) fn kill(&self) {
        if self.gone.load(Ordering::Acquire) {
            return;
        }
        let tree = self.extend(Tree::default());
        // Also by itself, for there may be no runtime, and for what a child that has ended has left behind.
        drop(self.signal(Signal::Kill));
        self.signal_tree(Signal::Kill, &tree);
        self.signal_group(Signal::Kill);
    }

    /// Looks, and remembers once it is so. Adds to the tree what else is left.
    async fn nothing_left(&self, tree: &mut Tree) -> bool {
        if self.exit_status().is_none() || tree.lives() {
            return false;
        }
        let gone = !self.group_exists() || self.add_group_members(tree).await;
        self.gone.fetch_or(gone, Ordering::AcqRel);
        gone
    }

    async fn wait_nothing_left(&self, tree: &mut Tree) {
        const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
        self.wait_exit().await;
        while !self.nothing_left(tree).await {
            // No event is at hand for the end of a process that is not our child.
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Signals the process and its group. What is returned is closed when the signal has been sent.
    fn signal(&self, signal: Signal) -> oneshot::Receiver<()> {
        let (delivered, delivery) = oneshot::channel();
        if self.exit_status().is_none() {
            let _ = self.signals.send((signal, delivered));
        } else {
            self.signal_group(signal);
        }
        delivery
    }

    /// Signals the descendants, where they are known.
    #[cfg(target_os = "linux")]
    fn signal_tree(&self, signal: Signal, tree: &Tree) {
        tree.signal(signal.of_unix());
    }

    #[cfg(not(target_os = "linux"))]
    fn signal_tree(&self, _: Signal, Tree: &Tree) {}
}

/// Kills the descendants of a process when it is dropped, as happens when a runtime ends.
pub(super) struct KillOnDrop(Option<u32>);

impl KillOnDrop {
    pub(super) fn of(child: &dyn ChildWrapper) -> Self {
        Self(child.id())
    }

    /// The process has ended, and its number may become that of another.
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }
}

#[cfg(target_os = "linux")]
impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(root) = self.0.and_then(pid_of) {
            let mut tree = Tree::default();
            tree.extend(root);
            tree.signal(Signal::Kill.of_unix());
        }
    }
}

/// The group and the descendants, as Linux knows them.
#[cfg(target_os = "linux")]
impl ChildProcess {
    fn extend(&self, mut tree: Tree) -> Tree {
        if let Some(root) = self.group() {
            tree.extend(root);
        }
        tree
    }

    async fn extended(&self, mut tree: Tree) -> Tree {
        let Some(root) = self.group() else {
            return tree;
        };
        // Reading `/proc` is no work for a worker of the runtime. If it shuts down, the group is all that is ended.
        let extended = tokio::task::spawn_blocking(move || {
            tree.extend(root);
            tree
        });
        extended.await.unwrap_or_default()
    }

    /// Whether the group exists only because its dead have not been reaped.
    async fn add_group_members(&self, tree: &mut Tree) -> bool {
        let Some(group) = self.group() else {
            return true;
        };
        let found = tokio::task::spawn_blocking(move || super::group::members(group)).await;
        let found = found.unwrap_or_default();
        let none = found.is_empty();
        tree.add_all(found);
        none
    }
}

#[cfg(not(target_os = "linux"))]
impl ChildProcess {
    fn extend(&self, tree: Tree) -> Tree {
        tree
    }

    async fn extended(&self, tree: Tree) -> Tree {
        tree
    }

    async fn add_group_members(&self, _: &mut Tree) -> bool {
        false
    }
}

#[cfg(unix)]
impl ChildProcess {
    fn group(&self) -> Option<rustix::process::Pid> {
        pid_of(self.pid)
    }

    /// Signals what is in the group, and what the direct child has left behind there.
    fn signal_group(&self, signal: Signal) {
        if let Some(group) = self.group() {
            let _ = rustix::process::kill_process_group(group, signal.of_unix());
        }
    }

    fn group_exists(&self) -> bool {
        self.group()
            .is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
    }
}

// Elsewhere the group is a job object, which ends with the task that looks after the child.
#[cfg(not(unix))]
impl ChildProcess {
    fn signal_group(&self, _: Signal) {}

    fn group_exists(&self) -> bool {
        false
    }
}

#[cfg(unix)]
fn pid_of(number: u32) -> Option<rustix::process::Pid> {
    i32::try_from(number)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
}

#[cfg(unix)]
impl Signal {
    fn of_unix(self) -> rustix::process::Signal {
        match self {
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Kill => rustix::process::Signal::KILL,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::redact::Redactor;

    #[tokio::test]
    async fn a_process_that_has_ended_is_never_signalled_again() {
        let tasks = TaskTracker::new();
        let redactor = Redactor::default();
        let spawned = ChildProcess::spawn(None, "true", &tasks, redactor, |_| {});
        let (process, ..) = spawned.await.unwrap();
        let tree = process.descendants().await;
        process.end(CloseTimeouts::GRACEFUL, tree).await;
        assert!(process.gone.load(Ordering::Acquire));
    }
}
