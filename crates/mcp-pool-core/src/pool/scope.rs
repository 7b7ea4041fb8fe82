//! Owners of pinned sessions.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::SessionPool;
use crate::{options::Sharing, router::ScopeId, shared::Shared};

/// The owner of a pinned session. Clones are the same scope; it ends with the last of them.
#[derive(Clone)]
pub struct Scope(pub(super) Arc<ScopeOwner>);

pub(super) struct ScopeOwner {
    pub(super) id: ScopeId,
    shared: std::sync::Weak<Shared>,
}

impl SessionPool {
    /// A new scope of this pool.
    #[must_use]
    pub fn scope(&self) -> Scope {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = ScopeId(NEXT.fetch_add(1, Ordering::Relaxed));
        Scope(Arc::new(ScopeOwner {
            id,
            shared: Arc::downgrade(&self.0.0),
        }))
    }

    pub(super) fn lane(&self, scope: &Scope) -> Option<ScopeId> {
        (self.shared().options().sharing == Sharing::Pinned).then_some(scope.0.id)
    }
}

impl Drop for ScopeOwner {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.decide(|state| state.router.end_scope(self.id));
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.0.id.0).finish()
    }
}
