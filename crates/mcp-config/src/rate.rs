//! A share of the calls.

use serde_json::Value;

/// A share of all calls, from none to all, to the millionth. In a file it is a number such as `0.5`, or a text such as
/// `50%`.
///
/// ```
/// use mcp_config::Rate;
///
/// assert_eq!(Rate::percent(50), Rate::of(0.5));
/// assert_eq!(Rate::percent(50).part(), 0.5);
/// assert!(Rate::OFF.is_off());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

impl Rate {
    /// No rate: off.
    pub const OFF: Self = Self(0);

    const ALL: u32 = 1_000_000;

    /// A rate in hundredths. Above 100 it is one that no setting allows.
    pub const fn percent(hundredths: u32) -> Self {
        Self(hundredths.saturating_mul(Self::ALL / 100))
    }

    /// A rate from 0 to 1. Anything else is one that no setting allows.
    pub fn of(part: f64) -> Self {
        if (0.0..=1.0).contains(&part) {
            Self((part * f64::from(Self::ALL)).round() as u32)
        } else {
            Self(u32::MAX)
        }
    }

    /// From 0 to 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL)
    }

    /// Whether it is none at all.
    pub fn is_off(self) -> bool {
        self == Self::OFF
    }

    pub(crate) fn is_allowed(self) -> bool {
        self.0 <= Self::ALL
    }

    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        value.as_f64().map(Self::of)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("off") {
            return Some(Self::OFF);
        }
        let (number, unit) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 100.0),
            None => (text, 1.0),
        };
        let number: f64 = number.parse().ok()?;
        Some(Self::of(number / unit))
    }

    pub(crate) fn to_json(self) -> Value {
        match self.0 {
            0 => 0.into(),
            Self::ALL => 1.into(),
            _ => self.part().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_read_as_people_write_it() {
        for (text, rate) in [
            ("50%", Rate::percent(50)),
            ("12.5 %", Rate::of(0.125)),
            ("0.5", Rate::percent(50)),
            ("off", Rate::OFF),
            ("1", Rate::percent(100)),
        ] {
            assert_eq!(Rate::from_text(text), Some(rate), "{text}");
        }
        assert_eq!(Rate::from_text("half"), None);
        assert_eq!(
            Rate::from_json(&json!("50%")),
            None,
            "a text is read as one"
        );
    }

    #[test]
    fn what_is_no_part_of_a_whole_is_not_allowed() {
        for wrong in [
            Rate::of(50.0),
            Rate::of(-0.1),
            Rate::of(f64::NAN),
            Rate::percent(101),
        ] {
            assert!(!wrong.is_allowed(), "{wrong:?}");
        }
    }

    #[test]
    fn every_rate_comes_back_from_what_is_written() {
        for millionths in (0..=Rate::ALL).step_by(997).chain([1, 999_999, Rate::ALL]) {
            let rate = Rate(millionths);
            assert_eq!(Rate::from_json(&rate.to_json()), Some(rate));
        }
    }
}
