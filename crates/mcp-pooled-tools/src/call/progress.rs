//! State of a call, read when a deadline or its caller ends it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use mcp_breaker::Permit;
use mcp_pool_core::{CallFailure, Phase};
use parking_lot::Mutex;

use super::{Failed, classify::Verdict};
use crate::error::Error;

#[derive(Default)]
pub(super) struct Progress {
    /// There is a session, and the request is made on it.
    leased: AtomicBool,
    /// A session is being opened for this call alone.
    direct: AtomicBool,
    pub(super) permit: Mutex<Option<Permit>>,
    /// Error of a first attempt that may have had its effect, reported if the second is never sent.
    pub(super) unknown: Mutex<Option<Error>>,
}

impl Progress {
    pub(super) fn opens_direct(&self) {
        self.direct.store(true, Relaxed);
    }

    pub(super) fn leased(&self) {
        self.leased.store(true, Relaxed);
    }

    /// The call is made once more.
    pub(super) fn begin_again(&self) {
        self.leased.store(false, Relaxed);
        self.direct.store(false, Relaxed);
    }

    /// Where the call is; `None` while it waits for its pool.
    pub(super) fn phase(&self) -> Option<Phase> {
        if self.leased.load(Relaxed) {
            return Some(Phase::Call);
        }
        self.is_direct().then_some(Phase::Open)
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.load(Relaxed)
    }

    pub(super) fn is_probe(&self) -> bool {
        self.permit.lock().as_ref().is_some_and(Permit::is_probe)
    }

    /// What two failed attempts come to. If the second had no effect, it is as if there had been the first alone.
    pub(super) fn of_both(&self, second: Failed) -> Error {
        let reached = matches!(
            second.failure,
            Some(CallFailure::Answered | CallFailure::Lost)
        );
        let unknown = self.unknown.lock().take().filter(|_| !reached);
        unknown.unwrap_or(second.error)
    }

    pub(super) fn record(&self, verdict: Verdict) {
        if let Some(permit) = self.permit.lock().take() {
            verdict.record(permit);
        }
    }
}
