//! Durations, counted by atomics.
//!
//! A record is two additions on one cache line, without lock, allocation or clock. The buckets of metrics-util keep every
//! value in allocated blocks until they are drained, and `hdrhistogram` takes `&mut self`. A bucket keeps the sum of its
//! durations beside their number, so that sums and means are exact and a quantile is within the width of its bucket.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::buckets;

/// Allocated at the first duration: most histograms of most servers stay empty.
#[derive(Debug, Default)]
pub(crate) struct Histogram(OnceLock<Box<[Bucket]>>);

#[derive(Debug, Default)]
struct Bucket {
    count: AtomicU64,
    /// In nanoseconds.
    sum: AtomicU64,
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let buckets = self.0.get_or_init(empty);
        let bucket = &buckets[buckets::index(nanos)];
        bucket.sum.fetch_add(nanos, Ordering::Relaxed);
        // After the sum: a reader that sees the count sees the sum.
        bucket.count.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn read(&self) -> Distribution {
        let mut read = Distribution::default();
        for (index, bucket) in self.0.get().into_iter().flatten().enumerate() {
            let count = bucket.count.load(Ordering::Acquire);
            if count > 0 {
                let sum = bucket.sum.load(Ordering::Relaxed);
                read.0.push(Part { index, count, sum });
            }
        }
        read
    }

    pub(crate) fn reset(&self) {
        for bucket in self.0.get().into_iter().flatten() {
            bucket.count.store(0, Ordering::Relaxed);
            bucket.sum.store(0, Ordering::Relaxed);
        }
    }
}

#[cold]
fn empty() -> Box<[Bucket]> {
    (0..buckets::COUNT).map(|_| Bucket::default()).collect()
}

/// The contents of a histogram at one moment: its buckets that are not empty, from the shortest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution(pub(crate) Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) count: u64,
    /// In nanoseconds.
    pub(crate) sum: u64,
}

impl Part {
    /// The mean of these durations in nanoseconds, kept within their bucket: a sum may be read a moment after its count.
    pub(crate) fn mean(&self) -> u64 {
        let mean = self.sum / self.count.max(1);
        mean.clamp(
            buckets::lower(self.index).saturating_add(u64::from(self.index > 0)),
            buckets::upper(self.index),
        )
    }
}

impl Distribution {
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|part| part.count).sum()
    }

    pub(crate) fn sum(&self) -> Duration {
        self.0
            .iter()
            .map(|part| Duration::from_nanos(part.sum))
            .sum()
    }

    /// The duration that a share of all, from 0 to 1, does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among durations"
        )]
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        self.0
            .iter()
            .find(|part| {
                seen += part.count;
                seen >= rank
            })
            .map(|part| Duration::from_nanos(part.mean()))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for part in &other.0 {
            match self.0.binary_search_by_key(&part.index, |own| own.index) {
                Ok(at) => {
                    self.0[at].count += part.count;
                    self.0[at].sum = self.0[at].sum.saturating_add(part.sum);
                }
                Err(at) => self.0.insert(at, *part),
            }
        }
    }

    /// What was recorded after `earlier`. If there is less than before, all of it came after a reset.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |index| {
            let found = earlier.0.binary_search_by_key(&index, |part| part.index);
            found.map_or((0, 0), |at| (earlier.0[at].count, earlier.0[at].sum))
        };
        let mut later = Vec::new();
        for part in &self.0 {
            let (count, sum) = before(part.index);
            let Some(count) = part.count.checked_sub(count) else {
                return self.clone();
            };
            if count > 0 {
                let (index, sum) = (part.index, part.sum.saturating_sub(sum));
                later.push(Part { index, count, sum });
            }
        }
        Self(later)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(durations: &[u64]) -> Distribution {
        let histogram = Histogram::default();
        for nanos in durations {
            histogram.record(Duration::from_nanos(*nanos));
        }
        histogram.read()
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(of(&[]).quantile(0.5), None);
    }

    #[test]
    fn a_lone_duration_is_every_quantile_of_itself() {
        let lone = of(&[123_456_789]);
        for share in [0.0, 0.5, 0.99, 1.0] {
            assert_eq!(
                lone.quantile(share),
                Some(Duration::from_nanos(123_456_789))
            );
        }
    }

    #[test]
    fn a_reset_is_not_taken_for_a_negative_number_of_durations() {
        let (before, after) = (of(&[5_000, 5_000, 70_000]), of(&[5_000]));
        assert_eq!(after.since(&before), after);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_an_eighth_of_the_truth(
            mut durations in vec(1_000..10_u64.pow(12), 1..300),
            share in 0.0..=1.0,
        ) {
            let found = of(&durations).quantile(share).unwrap().as_nanos() as f64;
            durations.sort_unstable();
            let rank = ((durations.len() as f64 * share).ceil() as usize).max(1);
            let truth = durations[rank - 1] as f64;
            prop_assert!((found - truth).abs() <= truth / 8.0 + 1.0, "{found} for {truth}");
        }

        #[test]
        fn sums_and_counts_are_exact(durations in vec(0..10_u64.pow(12), 0..300)) {
            let read = of(&durations);
            prop_assert_eq!(read.count(), durations.len() as u64);
            prop_assert_eq!(read.sum(), Duration::from_nanos(durations.iter().sum()));
        }

        #[test]
        fn what_was_and_what_came_since_is_what_is(
            early in vec(0..10_u64.pow(12), 0..100),
            late in vec(0..10_u64.pow(12), 0..100),
        ) {
            let (before, now) = (of(&early), of(&[&early[..], &late[..]].concat()));
            let mut sum = before.clone();
            sum.add(&now.since(&before));
            prop_assert_eq!(sum, now);
        }
    }
}
