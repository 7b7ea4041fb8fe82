//! Who a pinned session belongs to.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use mcp_config::Sharing;
use mcp_pool_core::Scope;
use parking_lot::Mutex;

use crate::server::Current;

/// The scope of a handle and its clones. It takes a scope of the pool when it first needs one, and another if the
/// pool is exchanged; it ends with its last clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeHandle(Arc<Mutex<Option<(u64, Scope)>>>);

impl ScopeHandle {
    /// The scope in this pool, if sessions of the pool belong to scopes.
    pub(crate) fn in_pool(&self, current: &Current) -> Option<Scope> {
        if current.settings.sharing != Sharing::Pinned {
            return None;
        }
        let mut scope = self.0.lock();
        match &*scope {
            Some((generation, scope)) if *generation == current.generation => Some(scope.clone()),
            _ => {
                let fresh = current.pool.scope();
                *scope = Some((current.generation, fresh.clone()));
                Some(fresh)
            }
        }
    }
}

type Slot = Mutex<Option<(u64, Scope)>>;

/// The scopes that have names.
#[derive(Debug, Default)]
pub(crate) struct ScopeRegistry(Mutex<HashMap<String, Weak<Slot>>>);

impl ScopeRegistry {
    /// The scope of this name, as long as anybody holds it.
    pub(crate) fn named(&self, name: String) -> ScopeHandle {
        let mut scopes = self.0.lock();
        if let Some(scope) = scopes.get(&name).and_then(Weak::upgrade) {
            return ScopeHandle(scope);
        }
        scopes.retain(|_, scope| scope.strong_count() > 0);
        let scope = ScopeHandle::default();
        scopes.insert(name, Arc::downgrade(&scope.0));
        scope
    }
}
