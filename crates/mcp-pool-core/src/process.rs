//! Child processes of stdio servers, ended together with all their descendants.
//!
//! A server is the leader of a process group of its own (a job object on Windows), so that the wrappers people start
//! servers with, `npx` and `uvx` first among them, go together with what they started. Ending one ([`end`]) is a
//! staircase: the end of stdin asks, SIGTERM insists, SIGKILL ends it, each with a deadline. If this process is itself
//! killed, the kernel ends the direct children ([`parent_death`]); what those had started sees the end of its stdin.

mod end;
mod environment;
mod error_line;
#[cfg(target_os = "linux")]
mod group;
#[cfg(target_os = "linux")]
mod parent_death;
mod spawner;
mod stderr;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(not(target_os = "linux"))]
#[path = "process/no_tree.rs"]
mod tree;

use std::{
    io,
    process::{ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

pub(crate) use environment::safe_environment;
pub(crate) use error_line::error_line;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
pub(crate) use stderr::StderrLines;
use stderr::StderrTail;
use tokio::{
    process::{ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::task::TaskTracker;
pub(crate) use tree::Tree;

use crate::redact::Redactor;

/// How long each step of the staircase may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloseTimeouts {
    /// From the end of stdin to SIGTERM.
    pub(crate) stdin: Duration,
    /// From SIGTERM to SIGKILL.
    pub(crate) term: Duration,
}

impl CloseTimeouts {
    /// For a server that has done nothing wrong: most take some hundred milliseconds to tidy up.
    pub(crate) const GRACEFUL: Self = Self {
        stdin: Duration::from_secs(2),
        term: Duration::from_secs(2),
    };
    /// For one that broke or went silent: its place is wanted.
    pub(crate) const FAST: Self = Self {
        stdin: Duration::from_millis(100),
        term: Duration::from_millis(100),
    };
}

#[derive(Clone, Copy, Debug)]
enum Signal {
    Terminate,
    Kill,
}

/// A signal for the process and its group. The sender is dropped when the signal has been sent.
type Delivery = (Signal, oneshot::Sender<()>);

/// A running child, its group, and what it last wrote to stderr. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pid: u32,
    command: Arc<str>,
    signals: mpsc::UnboundedSender<Delivery>,
    exit: watch::Receiver<Option<ExitStatus>>,
    stderr: StderrTail,
    /// Nothing of it is left: its number may be another's by now.
    gone: AtomicBool,
}

impl ChildProcess {
    /// Starts a command with all three pipes. The task that looks after it, one of `tasks`, ends with it. What it says
    /// on stderr is logged under the name of its server, if it is one.
    ///
    /// # Errors
    /// What the operating system says.
    ///
    /// # Cancel safety
    /// May be dropped at any point: what has been started is killed.
    pub(crate) async fn spawn(
        server: Option<Arc<str>>,
        program: &str,
        tasks: &TaskTracker,
        redactor: Redactor,
        configure: impl FnOnce(&mut Command) + Send + 'static,
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut command = Command::new(program);
        configure(&mut command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(target_os = "linux")]
        parent_death::arm(&mut command);

        let (signals, inbox) = mpsc::unbounded_channel();
        let (exited, exit) = watch::channel(None);
        let (ready, started) = oneshot::channel();
        // In a task from the start, so that a caller who goes away in this moment leaves a child that is looked after.
        tasks.spawn(async move {
            match spawner::spawn(command).await {
                Ok(mut child) => {
                    let _ = ready.send(Pipes::of(&mut *child));
                    supervise(child, inbox, exited).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        let gone = |_| io::Error::other("the runtime is shutting down");
        let Pipes {
            pid,
            stdin,
            stdout,
            stderr,
        } = started.await.map_err(gone)??;
        let process = Self {
            pid,
            command: program.into(),
            signals,
            exit,
            stderr: StderrTail::drain(server, stderr, redactor),
            gone: AtomicBool::new(false),
        };
        Ok((process, stdin, stdout))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn stderr(&self) -> &StderrLines {
        self.stderr.lines()
    }

    pub(crate) fn stderr_tail(&self) -> Vec<String> {
        self.stderr.lines().to_vec()
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until the direct child has exited.
    pub(crate) async fn wait_exit(&self) {
        // An error means that the task which looks after the child is gone, and the child with it.
        let _ = self.exit.clone().wait_for(Option::is_some).await;
    }

    /// Waits, a little, for the last words of a child that has exited.
    pub(crate) async fn last_words(&self) -> Vec<String> {
        self.stderr.drained(Duration::from_millis(250)).await;
        self.stderr_tail()
    }

    /// The exit in words, with the line of stderr that says most.
    pub(crate) fn describe_exit(&self, status: ExitStatus) -> String {
        let mut text = format!("`{}` exited: {status}", self.command);
        if let Some(line) = error_line(&self.stderr_tail()) {
            text.push_str("; stderr: ");
            text.push_str(line);
        }
        text
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What is taken out of a child once.
struct Pipes {
    pid: u32,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Pipes {
    fn of(child: &mut dyn ChildWrapper) -> io::Result<Self> {
        let missing = || io::Error::other("the child has no pipe");
        Ok(Self {
            pid: child
                .id()
                .ok_or_else(|| io::Error::other("the child is gone already"))?,
            stdin: child.stdin().take().ok_or_else(missing)?,
            stdout: child.stdout().take().ok_or_else(missing)?,
            stderr: child.stderr().take().ok_or_else(missing)?,
        })
    }
}

/// Owns the child: passes signals on, and waits for its exit so that no zombie stays.
async fn supervise(
    mut child: Box<dyn ChildWrapper>,
    mut inbox: mpsc::UnboundedReceiver<Delivery>,
    exited: watch::Sender<Option<ExitStatus>>,
) {
    // Dropped before the child is, whose end hides what it has started.
    let mut descendants = end::KillOnDrop::of(&*child);
    loop {
        tokio::select! {
            status = child.wait() => {
                descendants.disarm();
                // An error here means that the child was reaped elsewhere.
                exited.send_replace(Some(status.unwrap_or_default()));
                return;
            }
            signal = inbox.recv() => match signal {
                #[cfg(unix)]
                Some((Signal::Terminate, _delivered)) => drop(child.signal(SIGTERM)),
                Some((_, _delivered)) => drop(child.start_kill()),
                None => break,
            }
        }
    }
    // The child has no owner any more.
    drop(descendants);
    let _ = child.start_kill();
    exited.send_replace(Some(child.wait().await.unwrap_or_default()));
}

#[cfg(unix)]
const SIGTERM: i32 = rustix::process::Signal::TERM.as_raw();

fn in_a_group(command: Command) -> CommandWrap {
    let mut command = CommandWrap::from(command);
    #[cfg(unix)]
    command.wrap(process_wrap::tokio::ProcessGroup::leader());
    #[cfg(windows)]
    command.wrap(process_wrap::tokio::JobObject);
    command
}
