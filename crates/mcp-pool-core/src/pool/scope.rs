//! Owners of pinned sessions.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::SessionPool;
use crate::{
    error::AcquireError,
    inner::Inner,
    lease::Lease,
    router::{Caller, Claim, ScopeId},
};

/// The owner of a pinned session. Clones are the same scope; it ends with the last of them.
#[derive(Clone)]
pub struct Scope(pub(super) Arc<ScopeOwner>);

pub(super) struct ScopeOwner {
    pub(super) id: ScopeId,
    inner: std::sync::Weak<Inner>,
}

impl SessionPool {
    /// A new scope of this pool.
    #[must_use]
    pub fn scope(&self) -> Scope {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = ScopeId(NEXT.fetch_add(1, Ordering::Relaxed));
        Scope(Arc::new(ScopeOwner {
            id,
            inner: Arc::downgrade(&self.0.0),
        }))
    }

    /// A lease for a scope. That of another pool is none of this one: nobody would end its session.
    pub(super) async fn checkout_in(
        &self,
        scope: &Scope,
        claim: Claim,
        caller: Caller,
    ) -> Result<Lease, AcquireError> {
        let ours = scope.0.inner.as_ptr() == Arc::as_ptr(self.inner());
        if self.inner().pinned && ours {
            self.checkout((Some(scope.0.id), claim, caller)).await
        } else {
            self.checkout_alone(claim, caller).await
        }
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
