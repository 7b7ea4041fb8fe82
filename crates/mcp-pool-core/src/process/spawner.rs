//! The thread that starts all servers.
//!
//! The parent-death signal is sent when the *thread* that started the child ends, not the process. A worker thread of
//! the runtime is not safe from that: one that runs `block_in_place` hands its work to another thread, becomes one of
//! the blocking pool, and ends some seconds later, taking every server it had started with it. So servers are started
//! by a thread that lives as long as the process.

use std::{io, sync::OnceLock, sync::mpsc, thread};

use process_wrap::tokio::ChildWrapper;
use tokio::{process::Command, runtime::Handle, sync::oneshot};

type Job = Box<dyn FnOnce() + Send>;

pub(super) async fn spawn(command: Command) -> io::Result<Box<dyn ChildWrapper>> {
    let runtime = Handle::current();
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move || {
        // The child's pipes and its exit are watched by the runtime of whoever asked.
        let _entered = runtime.enter();
        // Dropped if nobody waits any more, which kills the child.
        let _ = answer.send(super::in_a_group(command).spawn());
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    spawner()?.send(job).map_err(|_| gone())?;
    answered.await.map_err(|_| gone())?
}

fn spawner() -> io::Result<&'static mpsc::Sender<Job>> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (jobs, inbox) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("mcp-pool-spawn".into())
        .spawn(move || {
            for job in inbox {
                // A runtime that is shutting down panics on entry; the next job may belong to another one.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            }
        })?;
    // If two callers came here at once, the thread of the second ends unused.
    Ok(SPAWNER.get_or_init(|| jobs))
}
