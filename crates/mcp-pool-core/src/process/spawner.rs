//! The threads that start all servers.
//!
//! The parent-death signal is sent when the *thread* that started the child ends, not the process. A worker thread of
//! the runtime is not safe from that: one that runs `block_in_place` hands its work to another thread, becomes one of
//! the blocking pool, and ends some seconds later, taking every server it had started with it. So servers are started
//! by threads that live as long as the process.
//!
//! Starting a program can hang: `exec` waits for the file system, and a mount whose server is away does not answer.
//! So there are several threads, and the jobs of one program run one after the other: a program that hangs holds one
//! thread, however often it is tried, and delays no other program.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
};

use parking_lot::{Condvar, Mutex};
use process_wrap::tokio::ChildWrapper;
use tokio::{process::Command, runtime::Handle, sync::oneshot};

/// Starts a command on a thread that outlives all runtimes.
pub(super) async fn spawn(command: Command) -> io::Result<Box<dyn ChildWrapper>> {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    let runtime = Handle::current();
    let program = Program::of(&command);
    let (answer, answered) = oneshot::channel();
    let job = Box::new(move || {
        if answer.is_closed() {
            // The caller has gone while an earlier start of the program hung.
            return;
        }
        // The child's pipes and its exit are watched by the runtime of the caller.
        let _entered = runtime.enter();
        // Dropped if the caller has gone, which kills the child.
        let _ = answer.send(super::in_a_group(command).spawn());
    });
    SPAWNER.get_or_init(Spawner::default).run(program, job)?;
    let lost = |_| io::Error::other("the thread that starts processes is gone");
    answered.await.map_err(lost)?
}

type Job = Box<dyn FnOnce() + Send>;

/// What may hang when it is started: the file and the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    file: OsString,
    directory: Option<PathBuf>,
}

impl Program {
    fn of(command: &Command) -> Self {
        let command = command.as_std();
        Self {
            file: command.get_program().to_owned(),
            directory: command.get_current_dir().map(Into::into),
        }
    }
}

/// Threads that run jobs: those of one program one after the other, those of different programs side by side.
#[derive(Clone, Default)]
struct Spawner(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A job has come, or a program has become free.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Program, Job)>,
    /// The programs of the jobs that are running.
    running: Vec<Program>,
    threads: usize,
}

impl State {
    /// How many waiting jobs could run side by side at this moment.
    fn startable(&self) -> usize {
        let mut programs: Vec<&Program> = Vec::new();
        for (program, _) in &self.waiting {
            if !self.running.contains(program) && !programs.contains(&program) {
                programs.push(program);
            }
        }
        programs.len()
    }

    /// The first job whose program no other thread is starting.
    fn take(&mut self) -> Option<(Program, Job)> {
        let running = &self.running;
        let next = (self.waiting.iter()).position(|(program, _)| !running.contains(program))?;
        let (program, job) = self.waiting.remove(next)?;
        self.running.push(program.clone());
        Some((program, job))
    }
}

impl Spawner {
    /// Has a thread run the job.
    ///
    /// # Errors
    /// There is no thread yet, and none could be started.
    fn run(&self, program: Program, job: Job) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.waiting.push_back((program, job));
        if state.startable() > state.threads - state.running.len() && state.threads < MAX_THREADS {
            let this = self.clone();
            let started = thread::Builder::new()
                .name("mcp-pool-spawn".into())
                .spawn(move || this.work());
            match started {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    state.waiting.pop_back();
                    return Err(error);
                }
                // The job waits for one of the threads there are.
                Err(_) => {}
            }
        }
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// The work of one thread. It never ends: with it the kernel would end the servers it has started.
    fn work(&self) {
        let mut state = self.0.state.lock();
        loop {
            let Some((program, job)) = state.take() else {
                self.0.changed.wait(&mut state);
                continue;
            };
            drop(state);
            // A runtime that is shutting down panics on entry; the next job may belong to another one.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = self.0.state.lock();
            state.running.retain(|other| *other != program);
        }
    }
}

/// Programs that may hang at one time before others have to wait for them.
const MAX_THREADS: usize = 64;

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn program(name: &str) -> Program {
        Program {
            file: name.into(),
            directory: None,
        }
    }

    /// A job that says when it begins, and ends when it is let go.
    fn job(begun: &mpsc::Sender<&'static str>, name: &'static str) -> (Job, mpsc::Sender<()>) {
        let begun = begun.clone();
        let (let_go, gate) = mpsc::channel::<()>();
        let job = Box::new(move || {
            begun.send(name).unwrap();
            let _ = gate.recv();
        });
        (job, let_go)
    }

    #[test]
    fn a_program_that_hangs_delays_no_other_and_holds_one_thread() {
        let spawner = Spawner::default();
        let (begun, beginnings) = mpsc::channel();
        let (hanging, let_go) = job(&begun, "hangs");
        spawner.run(program("dead mount"), hanging).unwrap();
        assert_eq!(beginnings.recv_timeout(SOON), Ok("hangs"));
        let mut waiting = Vec::new();
        for _ in 0..3 * MAX_THREADS {
            let (again, gate) = job(&begun, "hangs again");
            waiting.push(gate);
            spawner.run(program("dead mount"), again).unwrap();
        }
        let (other, _gate) = job(&begun, "other");
        spawner.run(program("other"), other).unwrap();
        assert_eq!(beginnings.recv_timeout(SOON), Ok("other"));
        assert!(beginnings.try_recv().is_err());
        assert!(spawner.0.state.lock().threads <= 2 + 1);
        drop((let_go, waiting));
        for _ in 0..3 * MAX_THREADS {
            assert_eq!(beginnings.recv_timeout(SOON), Ok("hangs again"));
        }
    }

    #[test]
    fn a_job_that_panics_takes_nothing_with_it() {
        let spawner = Spawner::default();
        let panics = Box::new(|| panic!("as the test wants it"));
        spawner.run(program("one"), panics).unwrap();
        let (begun, beginnings) = mpsc::channel();
        let (next, _gate) = job(&begun, "next");
        spawner.run(program("one"), next).unwrap();
        assert_eq!(beginnings.recv_timeout(SOON), Ok("next"));
    }
}
