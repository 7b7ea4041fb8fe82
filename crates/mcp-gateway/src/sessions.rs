//! The sessions that are in use, and their limits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{forwarded::base, principal::Principal, session::Session};

/// Live sessions by their scopes.
#[derive(Debug)]
pub(crate) struct Sessions {
    limits: SessionLimits,
    live: Mutex<Live>,
}

/// What sessions are held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// After so long without a call or a stream it ends.
    pub(crate) idle: Duration,
    pub(crate) per_principal: usize,
    pub(crate) total: usize,
}

#[derive(Debug, Default)]
struct Live {
    sessions: HashMap<String, Arc<Session>>,
    /// Those that have ended here, whose ids still open.
    ended: HashSet<String>,
    order: VecDeque<String>,
    /// Those that were dropped, and are made again when their clients come back.
    dropped: HashSet<String>,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// It has ended.
    Ended,
    /// The principal has too many that are in use.
    PrincipalFull,
    /// All together have too many.
    Full,
}

impl Sessions {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            live: Mutex::default(),
        }
    }

    /// The live session of this scope, or one that is made now. `make` is given whether one was dropped before.
    pub(crate) fn get_or_make(
        &self,
        scope: &str,
        principal: &Principal,
        make: impl FnOnce(bool) -> Arc<Session>,
    ) -> Result<Arc<Session>, NoSession> {
        let mut live = self.live.lock();
        if let Some(session) = live.sessions.get(scope) {
            return Ok(Arc::clone(session));
        }
        if live.ended.contains(base(scope)) {
            return Err(NoSession::Ended);
        }
        let mut replaced = Vec::new();
        let of_principal = |session: &Session| session.principal == *principal;
        let held = live
            .sessions
            .values()
            .filter(|session| of_principal(session))
            .count();
        if held >= self.limits.per_principal {
            replaced.push(live.replace(of_principal).ok_or(NoSession::PrincipalFull)?);
        }
        if live.sessions.len() >= self.limits.total {
            replaced.push(live.replace(|_| true).ok_or(NoSession::Full)?);
        }
        let session = make(live.dropped.remove(scope));
        live.sessions.insert(scope.to_owned(), Arc::clone(&session));
        drop(live);
        for session in replaced {
            session.end();
        }
        Ok(session)
    }

    /// Ends a session, whose id opens no more in this process, with whatever headers.
    pub(crate) fn end(&self, scope: &str) {
        let mut live = self.live.lock();
        let ended = live
            .sessions
            .extract_if(|other, _| base(other) == base(scope));
        let ended: Vec<_> = ended.map(|(_, session)| session).collect();
        live.bury(base(scope));
        drop(live);
        for session in ended {
            session.end();
        }
    }

    /// Ends those of the modern clients of a connection. They are made again if these come back.
    pub(crate) fn end_connection(&self, connection: &str) {
        let mut live = self.live.lock();
        let ended = live
            .sessions
            .extract_if(|scope, _| base(scope) == connection);
        let ended: Vec<_> = ended.collect();
        for (scope, _) in &ended {
            live.drop_for_now(scope.clone());
        }
        drop(live);
        for (_, session) in ended {
            session.end();
        }
    }

    /// Ends those that are idle for too long.
    pub(crate) fn end_idle(&self) {
        let limit = self.limits.idle;
        let mut live = self.live.lock();
        let idle = live.sessions.iter().filter(|(_, session)| {
            session
                .idle_since()
                .is_some_and(|since| since.elapsed() >= limit)
        });
        let idle: Vec<_> = idle.map(|(scope, _)| scope.clone()).collect();
        let mut ended = Vec::new();
        for scope in idle {
            if let Some(session) = live.sessions.remove(&scope) {
                // With other values of forwarded headers it may be in use.
                let mut others = live.sessions.keys();
                let is_last = !others.any(|other| base(other) == base(&scope));
                if session.is_legacy && is_last {
                    live.bury(base(&scope));
                } else {
                    live.drop_for_now(scope);
                }
                ended.push(session);
            }
        }
        drop(live);
        for session in ended {
            session.end();
        }
    }

    pub(crate) fn end_all(&self) {
        let sessions = std::mem::take(&mut self.live.lock().sessions);
        for session in sessions.into_values() {
            session.end();
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.live.lock().sessions.values().cloned().collect()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.end_all();
    }
}

impl Live {
    /// Takes out the one that is idle for longest, first of those whose clients have left their streams. Its id stays good: it
    /// is rebuilt when its client comes back.
    fn replace(&mut self, eligible: impl Fn(&Session) -> bool) -> Option<Arc<Session>> {
        let now = Instant::now();
        let idle = self
            .sessions
            .iter()
            .filter(|(_, session)| eligible(session));
        let idle = idle.filter_map(|(scope, session)| {
            Some((!session.has_lost_stream(), session.idle_since()?, scope))
        });
        let (may_be_there, since, scope) = idle.min()?;
        if may_be_there && now.duration_since(since) < SHORTEST_IDLE {
            return None;
        }
        let scope = scope.clone();
        let session = self.sessions.remove(&scope);
        self.drop_for_now(scope);
        session
    }

    /// Remembers a scope whose client may come back.
    fn drop_for_now(&mut self, scope: String) {
        if self.dropped.len() >= MOST_ENDED {
            self.dropped.clear();
        }
        self.dropped.insert(scope);
    }

    fn bury(&mut self, scope: &str) {
        if self.ended.insert(scope.to_owned()) {
            self.order.push_back(scope.to_owned());
        }
        if self.order.len() > MOST_ENDED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

/// A session that was used within this time is not replaced by another, unless its stream is lost.
const SHORTEST_IDLE: Duration = Duration::from_secs(60);
/// Ended sessions that are remembered.
const MOST_ENDED: usize = 100_000;

#[cfg(test)]
mod tests {
    use mcp_pooled_tools::ConnectionManager;
    use tokio::time::advance;

    use super::*;
    use crate::{path::Path, principal::PrincipalKind, session::ClientIdentity};

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_used_with_other_headers_does_not_end_with_an_idle_one() {
        let manager = ConnectionManager::builder().build().await.unwrap();
        let idle = Duration::from_secs(100);
        let sessions = Sessions::new(SessionLimits {
            idle,
            per_principal: 10,
            total: 10,
        });
        let principal = Principal::new(PrincipalKind::Token, "ann");
        let use_one = |scope: &str| {
            let used = sessions.get_or_make(scope, &principal, |_| {
                let client = ClientIdentity {
                    name: String::new(),
                    version: String::new(),
                    protocol_version: String::new(),
                    capabilities: rmcp::model::ClientCapabilities::default(),
                };
                let view = |_: &_| manager.aggregator();
                Session::new(scope, true, principal.clone(), client, Path::All, view)
            });
            used.map(|session| drop(session.busy()))
        };
        use_one("id+morning").unwrap();
        advance(idle * 3 / 4).await;
        use_one("id+noon").unwrap();
        advance(idle * 3 / 4).await;
        sessions.end_idle();
        assert_eq!(sessions.all().len(), 1, "that of the morning has ended");
        use_one("id+noon").unwrap();
        use_one("id+evening").unwrap();
        use_one("id+morning").unwrap();
        advance(idle).await;
        sessions.end_idle();
        for scope in ["id+noon", "id+night", "id"] {
            assert_eq!(use_one(scope), Err(NoSession::Ended), "{scope}");
        }
    }
}
