//! The live sessions of a pool, in bb8.
//!
//! A session is added to bb8 when it is open and is checked out until its process is dead. So bb8 owns the count of what
//! is alive, and a checkout that is dropped, at whatever point of whichever task, takes its session off that count.
//!
//! bb8 neither opens sessions nor hands them to callers. It sets no limit on `connect`, cannot change its size, wakes
//! waiters out of order, and has no notion of a session that carries several calls (see `docs/libraries.md`): all
//! that is for the router to decide.

use std::{fmt, sync::Arc};

use bb8::{ManageConnection, PooledConnection};
use tokio::sync::Mutex;

use crate::session::Session;

/// How bb8 judges sessions.
struct LiveSessions;

impl ManageConnection for LiveSessions {
    type Connection = Arc<Session>;
    type Error = NotOpenedHere;

    async fn connect(&self) -> Result<Arc<Session>, NotOpenedHere> {
        Err(NotOpenedHere)
    }

    async fn is_valid(&self, _: &mut Arc<Session>) -> Result<(), NotOpenedHere> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Arc<Session>) -> bool {
        session.close_reason().is_some() || session.has_ended()
    }
}

/// Sessions are added when they are open.
#[derive(Debug)]
struct NotOpenedHere;

/// The place of a live session. Dropped when the session is dead.
pub(crate) struct Slot {
    /// `None` if the session had ended by the time it was added.
    _checkout: Option<PooledConnection<'static, LiveSessions>>,
}

pub(crate) struct Slots {
    pool: bb8::Pool<LiveSessions>,
    /// Held from the adding of a session to its checkout, so that no other checks it out.
    adding: Mutex<()>,
}

impl Slots {
    pub(crate) fn new() -> Self {
        // How many sessions there may be is for the router, which can change its mind.
        let pool = bb8::Pool::builder()
            .max_size(u32::MAX)
            .min_idle(None)
            .test_on_check_out(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .retry_connection(false);
        Self {
            pool: pool.build_unchecked(LiveSessions),
            adding: Mutex::default(),
        }
    }

    /// Holds a session that has been opened. Never waits for more than another call of this.
    pub(crate) async fn hold(&self, session: &Arc<Session>) -> Slot {
        let _adding = self.adding.lock().await;
        let checkout = match self.pool.add(Arc::clone(session)) {
            Ok(()) => self.pool.get_owned().await.ok(),
            Err(_) => None,
        };
        Slot {
            _checkout: checkout,
        }
    }

    /// Sessions that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u32 {
        self.pool.state().connections
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("held", &self.pool.state().connections)
            .finish()
    }
}
