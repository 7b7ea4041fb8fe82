//! Two sides in turn, and what the pairs say.

/// What the pairs say of one side against the other.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The median of the pairs' ratios, measured over reference.
    pub ratio: f64,
    /// The quartiles about it.
    pub low: f64,
    pub high: f64,
    /// The medians of both sides, for orientation.
    pub measured: f64,
    pub reference: f64,
}

/// Takes both sides in turn. Every other pair begins with the other side, so that neither gains from a machine that
/// becomes faster or slower meanwhile, nor from coming second.
pub fn in_turn(
    pairs: usize,
    mut measured: impl FnMut() -> f64,
    mut reference: impl FnMut() -> f64,
) -> Comparison {
    let pairs = (0..pairs.max(1)).map(|pair| {
        if pair % 2 == 0 {
            let m = measured();
            (m, reference())
        } else {
            let r = reference();
            (measured(), r)
        }
    });
    Comparison::of(pairs)
}

impl Comparison {
    /// Of pairs of measured and reference.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let (mut measured, mut reference): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let pairs = measured.iter().zip(&reference);
        let mut ratios: Vec<_> = pairs.map(|(m, r)| m / r).collect();
        Self {
            ratio: median(&mut ratios),
            low: quantile(&mut ratios, 0.25),
            high: quantile(&mut ratios, 0.75),
            measured: median(&mut measured),
            reference: median(&mut reference),
        }
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// # Panics
/// If there are no values.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_in_one_pair_does_not_move_the_ratio() {
        let mut slow = [1.0, 1.1, 90.0, 1.1, 1.1].into_iter();
        let comparison = in_turn(5, || slow.next().unwrap(), || 1.0);
        assert_eq!(comparison.ratio, 1.1);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<_> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.99), 99.0);
        assert_eq!(quantile(&mut values, 1.0), 100.0);
    }
}
