//! The pools of one server, by identity. Past the limit the least recently used ones are let go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{PoolKey, ServerPool};
use crate::identity::Identity;

/// Finding a pool, and finding the one to let go, cost the same for ten identities and nearly so for ten thousand.
#[derive(Debug, Default)]
pub(super) struct Pools {
    by_identity: HashMap<Arc<PoolKey>, Kept>,
    /// All but the pool of those without an identity, the least recently used first.
    by_use: BTreeMap<u64, Arc<PoolKey>>,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    pool: Arc<ServerPool>,
    used: u64,
}

impl Pools {
    /// The pool, without counting that as a use.
    pub(super) fn get(&self, key: &PoolKey) -> Option<Arc<ServerPool>> {
        self.by_identity.get(key).map(|kept| Arc::clone(&kept.pool))
    }

    /// The pool, which is the most recently used one from now on.
    pub(super) fn get_for_use(&mut self, key: &PoolKey) -> Option<Arc<ServerPool>> {
        let kept = self.by_identity.get_mut(key)?;
        if let Some(key) = self.by_use.remove(&kept.used) {
            self.uses += 1;
            kept.used = self.uses;
            self.by_use.insert(kept.used, key);
        }
        Some(Arc::clone(&kept.pool))
    }

    pub(super) fn insert(&mut self, key: PoolKey, pool: Arc<ServerPool>) {
        let key = Arc::new(key);
        self.uses += 1;
        let used = self.uses;
        if *key != PoolKey::default() {
            self.by_use.insert(used, Arc::clone(&key));
        }
        self.by_identity.insert(key, Kept { pool, used });
    }

    /// The pools of an identity, whatever their sessions declare.
    pub(super) fn of(&self, identity: Option<&Identity>) -> Vec<Arc<ServerPool>> {
        let all = self.by_identity.iter();
        let of = all.filter(|(key, _)| key.identity.as_ref() == identity);
        of.map(|(_, kept)| Arc::clone(&kept.pool)).collect()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<ServerPool>> {
        self.by_identity.values().map(|kept| &kept.pool)
    }

    /// Takes out what no handle holds.
    pub(super) fn remove_unused(&mut self) {
        self.by_identity
            .retain(|_, kept| Arc::strong_count(&kept.pool) > 1);
        let known = &self.by_identity;
        self.by_use.retain(|_, key| known.contains_key(key));
    }

    /// Takes out the least recently used pool if there are more than `limit`. A pool that is held or busy is in use, and
    /// stays. `None` too if that is all there is at the old end: each look is a short one.
    pub(super) fn evict_one(&mut self, limit: usize) -> Option<Arc<ServerPool>> {
        const LOOKS: usize = 16;
        for _ in 0..LOOKS {
            if self.by_use.len() <= limit {
                return None;
            }
            let key = Arc::clone(self.by_use.first_key_value()?.1);
            // Held here, and now in the hand.
            let pool = self.get_for_use(&key)?;
            if Arc::strong_count(&pool) == 2 && pool.is_idle() {
                let kept = self.by_identity.remove(&key)?;
                self.by_use.remove(&kept.used);
                return Some(pool);
            }
        }
        None
    }
}
