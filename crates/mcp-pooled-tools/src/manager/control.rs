//! Actions of an operator: drain, reset, silence.

use std::{sync::Arc, time::Duration};

use mcp_metrics::AlertKind;
use serde::Serialize;

use super::ConnectionManager;
use crate::{error::Error, server::ServerPool};

/// What [`ConnectionManager::reset`] found to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reset {
    /// Circuit breakers that let calls through only in part, or not at all, and do again.
    pub breakers_closed: usize,
    /// Sessions under suspicion that close when their calls have ended.
    pub sessions_retired: usize,
}

/// What [`ConnectionManager::drain`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Drained {
    /// Sessions that were open and have ended.
    pub sessions: usize,
}

impl ConnectionManager {
    /// Gives a server a fresh start, for all identities: circuit breakers are closed and forget what they have seen,
    /// openings are tried again at once, and sessions that are under suspicion close, those with calls as soon as the calls
    /// have ended. Totals stay.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a server that is not known, or disabled;
    /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown).
    pub fn reset(&self, server: &str) -> Result<Reset, Error> {
        let mut done = Reset::default();
        for pool in self.pools_of(server)? {
            let current = pool.snapshot();
            let breaker = current.circuit.breaker();
            done.breakers_closed += usize::from(!breaker.state().passes_all());
            breaker.reset();
            current.pool.end_backoff();
            done.sessions_retired += current.pool.evict_suspects();
        }
        tracing::info!(server, ?done, "reset by hand");
        Ok(done)
    }

    /// Replaces all sessions of a server, for all identities, without failing a call: each closes when its calls have
    /// ended, and later calls meet fresh ones. Returns when all that were open have ended.
    ///
    /// # Errors
    /// As [`ConnectionManager::reset`].
    ///
    /// # Cancel safety
    /// May be dropped at any point. Once polled, the sessions are replaced all the same.
    pub async fn drain(&self, server: &str) -> Result<Drained, Error> {
        let open: Vec<_> = self
            .pools_of(server)?
            .iter()
            .flat_map(|pool| {
                let pool = pool.snapshot().pool.clone();
                let sessions = pool.sessions();
                for session in &sessions {
                    pool.drain_session(session.id());
                }
                sessions
            })
            .collect();
        tracing::info!(server, sessions = open.len(), "drained by hand");
        for session in &open {
            session.closed().await;
        }
        Ok(Drained {
            sessions: open.len(),
        })
    }

    /// Silences alerts of this kind for a server: for so long they are neither logged nor sent to
    /// [`on_alert`](crate::ConnectionManagerBuilder::on_alert). It stays among the [`alerts`](Self::alerts), with
    /// `silenced_until`, and in the events. If it is active when the time is over, it is reported again. No time at all ends a
    /// silence.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a server that is not known.
    pub fn silence_alert(
        &self,
        server: &str,
        kind: AlertKind,
        time: Duration,
    ) -> Result<(), Error> {
        let server = self.server(server)?;
        self.0.monitor.silence(&server.name, kind, time);
        Ok(())
    }

    /// The last lines that the server wrote to stderr, oldest first: those of its youngest session, or else of the last
    /// process that did not open.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a server that is not known.
    pub fn stderr_tail(&self, server: &str) -> Result<Vec<String>, Error> {
        let pools = self.server(server)?.pools();
        let tails = pools.iter().map(|pool| pool.snapshot().pool.stderr_tail());
        Ok(tails
            .max_by_key(|(youngest, _)| *youngest)
            .map(|(_, lines)| lines)
            .unwrap_or_default())
    }

    fn pools_of(&self, server: &str) -> Result<Vec<Arc<ServerPool>>, Error> {
        let server = self.server(server)?;
        server.check_usable()?;
        Ok(server.pools())
    }
}
