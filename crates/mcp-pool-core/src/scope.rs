//! Owners of pinned sessions.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{inner::Inner, router::ScopeId};

/// The owner of a pinned session. Clones are the same scope; it ends with the last of them.
#[derive(Clone)]
pub struct Scope(Arc<ScopeOwner>);

struct ScopeOwner {
    id: ScopeId,
    inner: Weak<Inner>,
}

impl Scope {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = ScopeId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self(Arc::new(ScopeOwner {
            id,
            inner: Arc::downgrade(inner),
        }))
    }

    pub(crate) fn id(&self) -> ScopeId {
        self.0.id
    }

    /// Whether it is a scope of this pool.
    pub(crate) fn is_of(&self, inner: &Arc<Inner>) -> bool {
        self.0.inner.as_ptr() == Arc::as_ptr(inner)
    }
}

impl Drop for ScopeOwner {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.decide(|state| state.router.end_scope(self.id));
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.0.id.0).finish()
    }
}
