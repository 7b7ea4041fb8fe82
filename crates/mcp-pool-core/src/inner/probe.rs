//! Health probes: when a session is suspect, who probes it, and what a failed probe means.

use std::sync::Arc;

use tokio::time::Instant;

use super::Inner;
use crate::{
    error::Phase,
    event::PoolEvent,
    lifecycle::CloseReason,
    router::SessionKey,
    session::{Probing, Session},
};

impl Inner {
    /// A call on the session ran out of time. That alone is no fault: it may have been slow for one caller's limit. The
    /// session must answer a probe before its next lease.
    pub(crate) fn timed_out(&self, key: SessionKey, session: &Session) {
        session.timed_out();
        self.suspect(key, session);
    }

    /// Has the session answer a probe before its next lease.
    pub(crate) fn suspect(&self, key: SessionKey, session: &Session) {
        self.decide(|state| state.router.suspect(key));
        let session = session.id();
        self.emit(|| PoolEvent::Suspect { session });
        self.spawn_probe(key);
    }

    /// Probes a session in the background, and retires it if it does not answer.
    pub(crate) fn spawn_probe(&self, key: SessionKey) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        let runtime = self.state.lock().runtime.get().cloned();
        let generation = runtime.as_ref().map_or(0, |runtime| runtime.generation);
        let probe = ProbeUnderWay {
            inner: this,
            key,
            generation,
            over: false,
        };
        self.spawn(runtime.as_ref(), probe.run());
    }

    async fn probe(&self, key: SessionKey) {
        let Some(session) = self.state.lock().router.session(key) else {
            return;
        };
        // The one under way will do.
        let Some(turn) = session.begin_probe() else {
            return;
        };
        tokio::select! {
            _ = self.probe_in_turn(turn, key, &session) => {}
            () = session.dismissed() => {}
        }
    }

    /// Probes a session, after the probe that may be under way, and retires it if it does not answer. Returns whether it
    /// did.
    pub(crate) async fn probe_session(&self, key: SessionKey, session: &Session) -> bool {
        let turn = session.next_probe().await;
        self.probe_in_turn(turn, key, session).await
    }

    async fn probe_in_turn(&self, turn: Probing<'_>, key: SessionKey, session: &Session) -> bool {
        let within = self.options().probe_timeout;
        let (began, after_timeout) = (Instant::now(), session.has_timed_out());
        let alive = session.probe(within).await.is_ok();
        // Before its outcome is acted on: what makes the session suspect from here on must find another probe.
        drop(turn);
        self.emit(|| PoolEvent::Probed {
            session: session.id(),
            alive,
            took: began.elapsed(),
            after_timeout: after_timeout && !session.credentials_are_stale(),
        });
        self.conclude_probe(key, session, alive);
        alive
    }

    /// Acts on the outcome of a probe. The key may name another session by now.
    pub(crate) fn conclude_probe(&self, key: SessionKey, session: &Session, alive: bool) {
        let id = session.id();
        let silent = self.decide(|state| {
            // The session may have ended in the moment of its answer, and the key may name another one.
            if !state.names(key, session) {
                return false;
            }
            if alive {
                state.router.cleared(key);
            } else if session.credentials_are_stale() {
                self.retire_refused(state);
            } else {
                state.counts.error(Phase::Probe);
                // Other calls on the session are allowed to finish.
                return state.router.retire(key, CloseReason::ProbeFailed);
            }
            false
        });
        if silent {
            tracing::warn!(server = %self.name, session = %id, "health check timed out, closing session");
        }
        self.changed.notify_one();
    }
}

/// A probe that a suspect session waits for. Its runtime may drop it at any point.
struct ProbeUnderWay {
    inner: Arc<Inner>,
    key: SessionKey,
    generation: u64,
    over: bool,
}

impl ProbeUnderWay {
    async fn run(mut self) {
        self.inner.probe(self.key).await;
        self.over = true;
    }
}

impl Drop for ProbeUnderWay {
    fn drop(&mut self) {
        if !self.over && !std::thread::panicking() {
            self.inner.probe_dropped(self.key, self.generation);
        }
    }
}
