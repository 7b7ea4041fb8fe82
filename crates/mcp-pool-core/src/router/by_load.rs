//! The sessions of the shared queue that are not reserved, ordered by how much they carry.
//!
//! One doubly linked list per load, threaded through the session entries by index, so that taking the least
//! loaded session and putting one back cost the same for ten sessions and for ten thousand, and nothing is
//! allocated on the way. Within one load the order is last in, first out: a sequential caller keeps meeting the
//! same warm session, and unused ones collect at the far end, where maintenance finds them.

/// No neighbour, or an empty list.
const NONE: u32 = u32::MAX;

/// The list of sessions that one caller has to itself. They come after all others.
pub(super) const WHOLE: u32 = u32::MAX - 1;

/// Neighbours of a session in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    prev: u32,
    next: u32,
    /// The list that the session is in; `NONE` while it is in none.
    load: u32,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self {
            prev: NONE,
            next: NONE,
            load: NONE,
        }
    }
}

/// Where the links live: the router's slab of entries.
pub(super) trait Linked {
    fn links(&self, key: u32) -> Links;
    fn links_mut(&mut self, key: u32) -> &mut Links;
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

impl Ends {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };
}

#[derive(Debug)]
pub(super) struct ByLoad {
    lists: Vec<Ends>,
    whole: Ends,
    /// All lists below this one are empty.
    lowest: usize,
}

impl ByLoad {
    pub(super) const fn new() -> Self {
        Self {
            lists: Vec::new(),
            whole: Ends::EMPTY,
            lowest: 0,
        }
    }

    /// Files a session under its load, or [`WHOLE`], unless it is filed there already.
    pub(super) fn put(&mut self, entries: &mut impl Linked, key: u32, load: u32) {
        let filed = entries.links(key).load;
        if filed == load {
            return;
        }
        if filed != NONE {
            self.remove(entries, key);
        }
        if load != WHOLE {
            let at = load as usize;
            if at >= self.lists.len() {
                self.lists.resize(at + 1, Ends::EMPTY);
            }
            self.lowest = self.lowest.min(at);
        }
        let ends = self.ends_mut(load);
        let first = std::mem::replace(&mut ends.first, key);
        if first == NONE {
            ends.last = key;
        } else {
            entries.links_mut(first).prev = key;
        }
        *entries.links_mut(key) = Links {
            prev: NONE,
            next: first,
            load,
        };
    }

    /// Takes a session out of its list; does nothing if it is in none.
    pub(super) fn remove(&mut self, entries: &mut impl Linked, key: u32) {
        let Links { prev, next, load } = entries.links(key);
        if load == NONE {
            return;
        }
        let ends = self.ends_mut(load);
        if prev == NONE {
            ends.first = next;
        }
        if next == NONE {
            ends.last = prev;
        }
        if prev != NONE {
            entries.links_mut(prev).next = next;
        }
        if next != NONE {
            entries.links_mut(next).prev = prev;
        }
        *entries.links_mut(key) = Links::new();
    }

    fn ends_mut(&mut self, load: u32) -> &mut Ends {
        match load {
            WHOLE => &mut self.whole,
            load => &mut self.lists[load as usize],
        }
    }

    /// The session that carries least, the last used one among equals, if it carries less than `limit`.
    pub(super) fn least_loaded(&mut self, limit: u32) -> Option<u32> {
        while let Some(ends) = self.lists.get(self.lowest) {
            if ends.first != NONE {
                return (self.lowest < limit as usize).then_some(ends.first);
            }
            self.lowest += 1;
        }
        // What is filed next is below the end, which has been reached.
        None
    }

    /// A session that one caller has to itself.
    pub(super) fn whole(&self) -> Option<u32> {
        Some(self.whole.first).filter(|&key| key != NONE)
    }

    /// A session that carries nothing, the last used one first.
    pub(super) fn idle(&self) -> Option<u32> {
        self.lists
            .first()
            .map(|ends| ends.first)
            .filter(|&key| key != NONE)
    }

    /// The session that has carried nothing for longest.
    pub(super) fn oldest_idle(&self) -> Option<u32> {
        self.lists
            .first()
            .map(|ends| ends.last)
            .filter(|&key| key != NONE)
    }

    /// Idle sessions, the longest unused first.
    pub(super) fn idle_oldest_first<'a>(
        &self,
        entries: &'a impl Linked,
    ) -> impl Iterator<Item = u32> + 'a {
        std::iter::successors(self.oldest_idle(), |&key| {
            let prev = entries.links(key).prev;
            (prev != NONE).then_some(prev)
        })
    }

    /// The load and the key of every session in a list, which must hold together in both directions.
    #[cfg(test)]
    pub(super) fn filed(&self, entries: &impl Linked) -> Vec<(u32, u32)> {
        let mut filed = Vec::new();
        for (load, ends) in (0..).zip(&self.lists).chain([(WHOLE, &self.whole)]) {
            let (mut prev, mut key) = (NONE, ends.first);
            while key != NONE {
                let links = entries.links(key);
                assert_eq!((links.prev, links.load), (prev, load));
                filed.push((load, key));
                (prev, key) = (key, links.next);
            }
            assert_eq!(ends.last, prev);
            let below = (load as usize) < self.lowest;
            assert!(
                !below || prev == NONE,
                "a list below the lowest has a session"
            );
        }
        filed
    }
}
