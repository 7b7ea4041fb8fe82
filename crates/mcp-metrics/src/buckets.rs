//! Bounds of the buckets of a histogram.
//!
//! 32 per decade, from 1 µs to 11 days: steps of a tenth up to twice a power of ten, of a quarter up to five times,
//! of a half up to ten times. So no bucket is wider than an eighth of its values, and the usual bounds of a Prometheus
//! configuration (0.0025, 0.05, 30) are bounds here, so that counts up to them are exact. Powers of two would be a little
//! faster to find and match no such bound. A bucket excludes its lower and includes its upper bound, like Prometheus' `le`.

/// The number of buckets, with one for everything shorter and one for everything longer.
pub(crate) const COUNT: usize = PER_DECADE * DECADES + 2;

const PER_DECADE: usize = 32;
const DECADES: usize = 12;
/// Durations up to 10 to this many nanoseconds share the first bucket.
const FIRST: u32 = 3;

/// The bucket of a duration in nanoseconds.
#[inline]
pub(crate) fn index(nanos: u64) -> usize {
    // A bound belongs to the bucket below it.
    let Some(nanos) = nanos.checked_sub(1).filter(|nanos| *nanos >= POWERS[3]) else {
        return 0;
    };
    let power = nanos.ilog10();
    let decade = (power - FIRST) as usize;
    if decade >= DECADES {
        return COUNT - 1;
    }
    // The first three digits.
    let lead = (nanos / POWERS[power as usize - 2]) as usize;
    let step = match lead {
        ..200 => (lead - 100) / 10,
        200..500 => 10 + (lead - 200) / 25,
        _ => 22 + (lead - 500) / 50,
    };
    1 + decade * PER_DECADE + step
}

/// What the durations of a bucket are longer than, in nanoseconds.
pub(crate) fn lower(index: usize) -> u64 {
    if index == 0 {
        return 0;
    }
    let (decade, step) = ((index - 1) / PER_DECADE, (index - 1) % PER_DECADE);
    let lead = match step {
        ..10 => 100 + step * 10,
        10..22 => 200 + (step - 10) * 25,
        _ => 500 + (step - 22) * 50,
    };
    lead as u64 * POWERS[decade + FIRST as usize - 2]
}

/// What the durations of a bucket are no longer than, in nanoseconds.
pub(crate) fn upper(index: usize) -> u64 {
    if index + 1 >= COUNT {
        u64::MAX
    } else {
        lower(index + 1)
    }
}

/// Powers of ten.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut power = 1;
    while power < 20 {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_lie_side_by_side_and_none_is_wider_than_an_eighth() {
        assert_eq!(lower(1), 1_000);
        assert_eq!(lower(COUNT - 1), 10_u64.pow(15));
        for index in 1..COUNT - 1 {
            assert!(lower(index) < upper(index), "{index}");
            assert!(upper(index) - lower(index) <= lower(index) / 8, "{index}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_is_in_the_bucket_it_is_counted_in(nanos in prop_oneof![any::<u64>(), 0..10_u64.pow(10)]) {
            let bucket = index(nanos);
            prop_assert!(lower(bucket) < nanos.max(1), "{nanos} in {bucket}");
            prop_assert!(nanos <= upper(bucket), "{nanos} in {bucket}");
        }

        #[test]
        fn a_bound_belongs_to_the_bucket_below(bucket in 0..COUNT - 1) {
            prop_assert_eq!(index(upper(bucket)), bucket);
            prop_assert_eq!(index(upper(bucket) + 1), bucket + 1);
        }
    }
}
