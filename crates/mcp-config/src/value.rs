//! Reading and validating one setting.
//!
//! Files hold JSON values, variables hold text, code has the type itself. All end at the same [`Rule`], so that a limit holds
//! for every source.

use std::time::Duration;

use serde_json::{Value, json};

use crate::duration;
use crate::enums::{
    Fallback, Initialization, Lifecycle, OfferedVersion, Pins, Prefix, Replay, Sharing, Validate,
    any_spelling,
};
use crate::rate::Rate;

/// A type a setting may have.
pub(crate) trait SettingValue: Sized + Copy {
    fn from_json(value: &Value) -> Option<Self>;
    fn from_text(text: &str) -> Option<Self>;
    fn to_json(self) -> Value;
}

/// Which values of the type are allowed, and how to say so to a person and to an editor.
#[derive(Debug)]
pub(crate) struct Rule<T> {
    pub(crate) expects: &'static str,
    pub(crate) allows: fn(&T) -> bool,
    pub(crate) shape: Shape,
}

/// What a value looks like in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Count { least: u32 },
    NameLength,
    Time,
    Size,
    Flag,
    Rate,
    Words(&'static [&'static str]),
}

impl Shape {
    /// What a person needs to know to write one.
    pub(crate) fn unit(self) -> String {
        match self {
            Self::Count { .. } => "count".to_owned(),
            Self::NameLength => "characters".to_owned(),
            Self::Time => "seconds".to_owned(),
            Self::Size => "bytes".to_owned(),
            Self::Rate => "0 to 1".to_owned(),
            Self::Flag => "true, false".to_owned(),
            Self::Words(words) => words.join(", "),
        }
    }

    /// As a JSON Schema. A variable and a careful hand write everything as text, and it is read as that.
    pub(crate) fn schema(self) -> Value {
        let text = |pattern: &str| json!({"type": "string", "pattern": format!("^\\s*(?:{pattern})\\s*$")});
        let words = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| any_spelling(word, "")).collect();
            text(&words.join("|"))
        };
        match self {
            Self::Count { least } => json!({"anyOf": [
                {"type": "integer", "minimum": least, "maximum": u32::MAX},
                text(if least == 0 { "\\+?[0-9]+" } else { "\\+?0*[1-9][0-9]*" }),
            ]}),
            Self::NameLength => json!({"anyOf": [
                {"type": "integer", "minimum": 24, "maximum": 128},
                text("\\+?0*(?:2[4-9]|[3-9][0-9]|1[01][0-9]|12[0-8])"),
            ]}),
            Self::Time => json!({"anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": LONGEST + 1},
                {"type": "string", "pattern": TIME_TEXT, "examples": ["500ms", "5m", "1h"]},
            ]}),
            Self::Size => {
                let mut size = text("[0-9]+\\s*(?:[kKmMgG](?:[iI]?[bB])?|[bB])?");
                size["examples"] = json!(["16MiB"]);
                json!({"anyOf": [
                    {"type": "integer", "minimum": SMALLEST, "maximum": LARGEST},
                    size,
                ]})
            }
            Self::Flag => json!({"anyOf": [{"type": "boolean"}, words(&[YES, NO].concat())]}),
            Self::Rate => {
                let mut rate = text("[oO][fF][fF]|[+-]?[0-9.][0-9.eE+-]*\\s*%?");
                rate["examples"] = json!(["50%", "off"]);
                json!({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, rate]})
            }
            Self::Words(list) => json!({"anyOf": [{"enum": list}, words(list)]}),
        }
    }
}

impl<T: SettingValue> Rule<T> {
    /// The value, or the sentence that says why not. The sentence quotes what was found, cut to a sane length.
    pub(crate) fn read(&self, value: &Value) -> Result<T, String> {
        let read = match value {
            Value::String(text) => T::from_text(text.trim()),
            other => T::from_json(other),
        };
        read.filter(self.allows).ok_or_else(|| self.refusal(value))
    }

    /// The sentence for a value that code gave and the rule refuses.
    pub(crate) fn check(&self, value: T) -> Result<(), String> {
        if (self.allows)(&value) {
            Ok(())
        } else {
            Err(self.refusal(&value.to_json()))
        }
    }

    fn refusal(&self, value: &Value) -> String {
        format!("{} is not allowed, expected {}", shown(value), self.expects)
    }
}

pub(crate) const COUNT: Rule<u32> = Rule {
    expects: "a whole number",
    allows: |_| true,
    shape: Shape::Count { least: 0 },
};

pub(crate) const COUNT_FROM_1: Rule<u32> = Rule {
    expects: "a whole number of at least 1",
    allows: |count| *count >= 1,
    shape: Shape::Count { least: 1 },
};

pub(crate) const NAME_LENGTH: Rule<u32> = Rule {
    expects: "a whole number from 24 to 128",
    allows: |length| (24..=128).contains(length),
    shape: Shape::NameLength,
};

/// Timers add durations to the clock, which overflows long before the type does: hence an upper end.
pub(crate) const TIME: Rule<Duration> = Rule {
    expects: "a time above zero and of at most 10 years: seconds as a number, or a text such as 500ms, 5m, 1h",
    allows: |time| !time.is_zero() && time.as_secs() <= LONGEST,
    shape: Shape::Time,
};

pub(crate) const SIZE: Rule<u64> = Rule {
    expects: "a size from 1KiB to 4GiB: bytes as a number, or a text such as 16MiB",
    allows: |size| (SMALLEST..=LARGEST).contains(size),
    shape: Shape::Size,
};

pub(crate) const FLAG: Rule<bool> = Rule {
    expects: "true or false",
    allows: |_| true,
    shape: Shape::Flag,
};

pub(crate) const RATE: Rule<Rate> = Rule {
    expects: "a part of the calls from 0 (off) to 1: a number such as 0.5, or a text such as 50%",
    allows: |rate| rate.is_allowed(),
    shape: Shape::Rate,
};

macro_rules! choice_rules {
    ($($name:ident: $choice:ident,)+) => {$(
        pub(crate) const $name: Rule<$choice> =
            Rule { expects: $choice::WORDS, allows: |_| true, shape: Shape::Words($choice::LIST) };
    )+};
}

choice_rules! {
    SHARING: Sharing,
    LIFECYCLE: Lifecycle,
    OFFERED_VERSION: OfferedVersion,
    INITIALIZATION: Initialization,
    REPLAY: Replay,
    FALLBACK: Fallback,
    VALIDATE: Validate,
    PREFIX: Prefix,
    PINS: Pins,
}

impl SettingValue for u32 {
    fn from_json(value: &Value) -> Option<Self> {
        u32::try_from(value.as_u64()?).ok()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_json(self) -> Value {
        self.into()
    }
}

impl SettingValue for u64 {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_u64()
    }

    fn from_text(text: &str) -> Option<Self> {
        duration::parse_size(text)
    }

    fn to_json(self) -> Value {
        self.into()
    }
}

impl SettingValue for bool {
    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        if YES.contains(&word.as_str()) {
            Some(true)
        } else {
            NO.contains(&word.as_str()).then_some(false)
        }
    }

    fn to_json(self) -> Value {
        self.into()
    }
}

impl SettingValue for Duration {
    fn from_json(value: &Value) -> Option<Self> {
        duration::from_json(value)
    }

    fn from_text(text: &str) -> Option<Self> {
        duration::parse(text)
    }

    fn to_json(self) -> Value {
        duration::to_json(self)
    }
}

impl SettingValue for Rate {
    fn from_json(value: &Value) -> Option<Self> {
        Rate::from_json(value)
    }

    fn from_text(text: &str) -> Option<Self> {
        Rate::from_text(text)
    }

    fn to_json(self) -> Value {
        Rate::to_json(self)
    }
}

macro_rules! choice_values {
    ($($choice:ty)+) => {$(
        impl SettingValue for $choice {
            fn from_json(_: &Value) -> Option<Self> {
                None
            }

            fn from_text(text: &str) -> Option<Self> {
                let word = text.to_ascii_lowercase();
                // A date has hyphens.
                word.replace('-', "_").parse().or_else(|_| word.parse()).ok()
            }

            fn to_json(self) -> Value {
                self.as_str().into()
            }
        }
    )+};
}

choice_values! { Sharing Lifecycle OfferedVersion Initialization Replay Fallback Validate Prefix Pins }

/// A value as an error may quote it: short, on one line, and lists and tables by their kind only.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::String(text) if text.chars().count() > LONGEST_QUOTE => {
            format!(
                "{:?}…",
                text.chars().take(LONGEST_QUOTE).collect::<String>()
            )
        }
        other => other.to_string(),
    }
}

/// What switches on and off, in lower case.
const YES: &[&str] = &["true", "1", "yes", "on"];
const NO: &[&str] = &["false", "0", "no", "off"];

/// What a time that is written as a text looks like from afar.
pub(crate) const TIME_TEXT: &str = r"^\s*[+-]?[0-9.][0-9A-Za-zµ.+\s-]*$";

/// The longest time a setting may have.
pub(crate) const LONGEST_TIME: Duration = Duration::from_secs(LONGEST);

/// Ten years, in seconds.
const LONGEST: u64 = 10 * 366 * 24 * 3600;

/// Sizes in bytes.
const SMALLEST: u64 = 1 << 10;
const LARGEST: u64 = 1 << 32;

const LONGEST_QUOTE: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_found_and_what_is_allowed() {
        assert_eq!(
            COUNT_FROM_1.read(&json!(0)).unwrap_err(),
            "0 is not allowed, expected a whole number of at least 1"
        );
        assert_eq!(
            SHARING.read(&json!("shared")).unwrap_err(),
            "\"shared\" is not allowed, expected one of multiplexed, exclusive, pinned"
        );
        assert!(TIME.check(Duration::ZERO).is_err());
        assert!(TIME.check(Duration::MAX).is_err());
    }

    #[test]
    fn text_is_read_as_variables_write_it() {
        assert_eq!(COUNT.read(&json!(" 7 ")), Ok(7));
        assert_eq!(FLAG.read(&json!("Yes")), Ok(true));
        assert_eq!(FLAG.read(&json!("0")), Ok(false));
        assert_eq!(SIZE.read(&json!("2MiB")), Ok(2 << 20));
        assert_eq!(
            INITIALIZATION.read(&json!("fail-fast")),
            Ok(Initialization::FailFast)
        );
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        assert!(shown(&json!("x".repeat(10_000))).len() < 60);
        assert_eq!(shown(&json!({"a": 1})), "a table");
    }
}
