//! The sessions that have room, ordered by how much they carry.
//!
//! One doubly linked list per load, threaded through the session entries by index, so that taking the least
//! loaded session and putting one back cost the same for ten sessions and for ten thousand, and nothing is
//! allocated on the way. Within one load the order is last in, first out: a sequential caller keeps meeting the
//! same warm session, and the ones nobody needs grow old at the far end, where the housekeeper finds them.

/// No neighbour, or an empty shelf.
const NONE: u32 = u32::MAX;

/// Neighbours of a session on its shelf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    prev: u32,
    next: u32,
    /// The load under which the session is filed; `NONE` while it is on no shelf.
    shelf: u32,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self {
            prev: NONE,
            next: NONE,
            shelf: NONE,
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

#[derive(Debug)]
pub(super) struct Shelves {
    by_load: Vec<Ends>,
    /// No shelf below this one holds anything.
    lowest: usize,
}

impl Shelves {
    pub(super) const fn new() -> Self {
        Self {
            by_load: Vec::new(),
            lowest: 0,
        }
    }

    /// Files a session under its load, unless it is filed there already.
    pub(super) fn put(&mut self, entries: &mut impl Linked, key: u32, load: u32) {
        let filed = entries.links(key).shelf;
        if filed == load {
            return;
        }
        if filed != NONE {
            self.remove(entries, key);
        }
        let shelf = load as usize;
        if shelf >= self.by_load.len() {
            self.by_load.resize(
                shelf + 1,
                Ends {
                    first: NONE,
                    last: NONE,
                },
            );
        }
        let first = self.by_load[shelf].first;
        *entries.links_mut(key) = Links {
            prev: NONE,
            next: first,
            shelf: load,
        };
        if first == NONE {
            self.by_load[shelf].last = key;
        } else {
            entries.links_mut(first).prev = key;
        }
        self.by_load[shelf].first = key;
        self.lowest = self.lowest.min(shelf);
    }

    /// Takes a session off its shelf; does nothing if it is on none.
    pub(super) fn remove(&mut self, entries: &mut impl Linked, key: u32) {
        let Links { prev, next, shelf } = entries.links(key);
        if shelf == NONE {
            return;
        }
        let ends = &mut self.by_load[shelf as usize];
        if prev == NONE {
            ends.first = next;
        } else {
            entries.links_mut(prev).next = next;
        }
        if next == NONE {
            ends.last = prev;
        } else {
            entries.links_mut(next).prev = prev;
        }
        *entries.links_mut(key) = Links::new();
    }

    /// The session that carries least, the last used one among equals.
    pub(super) fn least_loaded(&mut self) -> Option<u32> {
        while let Some(ends) = self.by_load.get(self.lowest) {
            if ends.first != NONE {
                return Some(ends.first);
            }
            self.lowest += 1;
        }
        self.lowest = 0;
        None
    }

    /// A session that carries nothing, the last used one first.
    pub(super) fn idle(&self) -> Option<u32> {
        self.by_load
            .first()
            .map(|ends| ends.first)
            .filter(|&key| key != NONE)
    }

    /// Idle sessions, the longest unused first.
    pub(super) fn idle_oldest_first<'a>(
        &self,
        entries: &'a impl Linked,
    ) -> impl Iterator<Item = u32> + 'a {
        let last = self.by_load.first().map_or(NONE, |ends| ends.last);
        std::iter::successors((last != NONE).then_some(last), |&key| {
            let prev = entries.links(key).prev;
            (prev != NONE).then_some(prev)
        })
    }
}
