//! State of one try at opening a session, read when it fails or is cancelled.

use parking_lot::Mutex;

use super::LifecycleMode;
use crate::process::StderrLines;

#[derive(Debug, Default)]
pub(super) struct Attempt(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What the process that was started last writes to stderr.
    stderr: Option<StderrLines>,
    /// What those before it wrote.
    earlier: Vec<String>,
    start_over: Option<LifecycleMode>,
    disconnected: bool,
}

impl Attempt {
    /// The try after this one.
    pub(super) fn next(&self) -> Self {
        Self(Mutex::new(State {
            earlier: self.stderr(),
            ..State::default()
        }))
    }

    pub(super) fn set_stderr(&self, stderr: &StderrLines) {
        let earlier = self.stderr();
        let mut state = self.0.lock();
        state.earlier = earlier;
        state.stderr = Some(stderr.clone());
    }

    /// The last lines of the process that was started last. One that has written none yet leaves those before it.
    pub(super) fn stderr(&self) -> Vec<String> {
        let state = self.0.lock();
        let lines = state.stderr.as_ref().map(StderrLines::to_vec);
        lines
            .filter(|lines| !lines.is_empty())
            .unwrap_or_else(|| state.earlier.clone())
    }

    /// How a fresh connection may succeed where the last one failed.
    pub(super) fn start_over(&self) -> Option<LifecycleMode> {
        self.0.lock().start_over
    }

    /// The server, not the client, ended the last connection.
    pub(super) fn was_disconnected(&self) -> bool {
        self.0.lock().disconnected
    }

    pub(super) fn failed(&self, start_over: Option<LifecycleMode>, disconnected: bool) {
        let mut state = self.0.lock();
        state.start_over = start_over;
        state.disconnected = disconnected;
    }
}
