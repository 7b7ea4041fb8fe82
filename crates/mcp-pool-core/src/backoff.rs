//! Exponential backoff with jitter, so that pools that failed together do not retry together.

use std::time::Duration;

/// `first` doubled `times` times and lengthened by up to half at random, at most `limit`.
pub(crate) fn doubled_with_jitter(first: Duration, times: u32, limit: Duration) -> Duration {
    let factor =
        2f64.powi(i32::try_from(times.min(32)).unwrap_or(32)) * (1.0 + fastrand::f64() / 2.0);
    Duration::try_from_secs_f64(first.as_secs_f64() * factor)
        .map_or(limit, |pause| pause.min(limit))
}

/// When a pool may open sessions again after openings that failed and servers that died at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    flaps: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);

    /// An opening failed for good: no other for so long.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failures += 1;
        self.pause()
    }

    /// A session died by itself, before anybody had called it. Once may be chance.
    pub(crate) fn flapped(&mut self) -> Option<Duration> {
        self.flaps += 1;
        (self.flaps > 1).then(|| self.pause())
    }

    /// Sessions open, and the server refuses their credentials at the first call, this many times in a row.
    #[cfg(feature = "http")]
    pub(crate) fn refused(times: u32) -> Duration {
        doubled_with_jitter(Self::FIRST, times.saturating_sub(1), Self::LONGEST)
    }

    pub(crate) fn opened(&mut self) {
        self.failures = 0;
    }

    /// A session has served a caller: the server is healthy.
    pub(crate) fn served(&mut self) {
        self.flaps = 0;
    }

    fn pause(&self) -> Duration {
        doubled_with_jitter(
            Self::FIRST,
            (self.failures + self.flaps).saturating_sub(1),
            Self::LONGEST,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_200_ms_to_30_s_and_start_anew_after_success() {
        let mut backoff = Backoff::default();
        for n in 0..40 {
            let pause = backoff.failed();
            let least = Duration::from_millis(200)
                .saturating_mul(1 << n.min(20))
                .min(Backoff::LONGEST);
            assert!(
                pause >= least && pause <= Backoff::LONGEST,
                "pause {n} is {pause:?}"
            );
            assert!(pause <= least.mul_f64(1.5), "pause {n} is {pause:?}");
        }
        backoff.opened();
        assert!(backoff.failed() <= Duration::from_millis(300));
    }

    #[test]
    fn a_single_flap_is_forgiven() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.flapped(), None);
        assert!(backoff.flapped().is_some());
        backoff.served();
        assert_eq!(backoff.flapped(), None);
    }
}
