//! A session that a call has.

use std::sync::Arc;

use mcp_pool_core::{CallGuard, Lease, Session};

use super::Clock;

/// A session in hand, shared or whole.
pub(crate) trait Held {
    fn session(&self) -> &Arc<Session>;
    fn begin_call(&self, clock: &Clock) -> CallGuard<'_>;
}

impl Held for Lease {
    fn session(&self) -> &Arc<Session> {
        Lease::session(self)
    }

    fn begin_call(&self, clock: &Clock) -> CallGuard<'_> {
        Lease::begin_call(self, clock.deadline())
    }
}

impl Held for mcp_pool_core::PinnedSession {
    fn session(&self) -> &Arc<Session> {
        mcp_pool_core::PinnedSession::session(self)
    }

    fn begin_call(&self, clock: &Clock) -> CallGuard<'_> {
        mcp_pool_core::PinnedSession::begin_call(self, clock.deadline())
    }
}
