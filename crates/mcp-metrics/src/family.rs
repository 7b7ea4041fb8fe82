//! A cell for each value of a label, found without a lock.
//!
//! The table has a fixed size, so that unexpected label values cannot grow it. A cell stays where it was made, so that
//! threads that make the same one at once find the same one.

use std::{borrow::Cow, sync::OnceLock};

type Place<T> = OnceLock<(Cow<'static, str>, T)>;

/// Allocated at the first value.
#[derive(Debug)]
pub(crate) struct Family<T> {
    places: OnceLock<Box<[Place<T>]>>,
    size: usize,
}

impl<T: Default> Family<T> {
    pub(crate) const fn new(size: usize) -> Self {
        Self {
            places: OnceLock::new(),
            size,
        }
    }

    /// The cell of a value, made on first use; `None` if the table is full.
    pub(crate) fn cell(&self, value: &str, own: impl FnOnce() -> Cow<'static, str>) -> Option<&T> {
        let places = self
            .places
            .get_or_init(|| (0..self.size).map(|_| OnceLock::new()).collect());
        let mut own = Some(own);
        let start = hash(value) % places.len();
        for place in places[start..].iter().chain(&places[..start]) {
            let (found, cell) = match (place.get(), &mut own) {
                (Some(taken), _) => taken,
                (None, own) => {
                    let mut make = || {
                        own.take()
                            .map_or_else(|| value.to_owned().into(), |own| own())
                    };
                    place.get_or_init(|| (make(), T::default()))
                }
            };
            if found == value {
                return Some(cell);
            }
        }
        None
    }

    /// The cell of a value known beforehand.
    pub(crate) fn named(&self, value: &'static str) -> Option<&T> {
        self.cell(value, || Cow::Borrowed(value))
    }

    /// All values with their cells, in the order of the values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Cow<'static, str>, &T)> {
        let places = self.places.get().into_iter().flatten();
        let mut met: Vec<_> = places.filter_map(OnceLock::get).collect();
        met.sort_by_key(|(value, _)| value);
        met.into_iter().map(|(value, cell)| (value, cell))
    }
}

/// FNV-1a: strings are short, and collisions do no harm in a table of fixed size.
fn hash(value: &str) -> usize {
    let hash = value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    #[allow(
        clippy::cast_possible_truncation,
        reason = "any part of a hash will do"
    )]
    let hash = hash as usize;
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_value_keeps_its_cell_and_the_table_its_size() {
        let family = Family::<AtomicU64>::new(3);
        for value in ["a", "b", "a", "c", "d", "a", "e"] {
            if let Some(cell) = family.cell(value, || value.into()) {
                cell.fetch_add(1, Ordering::Relaxed);
            }
        }
        let counts: Vec<_> = family
            .iter()
            .map(|(value, cell)| (value.as_ref(), cell.load(Ordering::Relaxed)))
            .collect();
        assert_eq!(counts, [("a", 3), ("b", 1), ("c", 1)]);
    }

    #[test]
    fn threads_that_make_cells_at_once_make_each_once() {
        const THREADS: u64 = 8;
        let names: Vec<String> = (0..32).map(|name| format!("tool-{name}")).collect();
        let family = Family::<AtomicU64>::new(32);
        std::thread::scope(|scope| {
            for thread in 0..THREADS as usize {
                let (family, names) = (&family, &names);
                scope.spawn(move || {
                    for step in 0..names.len() {
                        let name = &names[(step + thread * 4) % names.len()];
                        let cell = family.cell(name, || name.clone().into());
                        cell.expect("room for all").fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let counts: Vec<_> = family
            .iter()
            .map(|(_, cell)| cell.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts, [THREADS; 32]);
    }
}
