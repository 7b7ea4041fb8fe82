//! Text that is not quite Unicode.

use std::borrow::Cow;

/// The JSON with what is no Unicode in it replaced by U+FFFD: bytes that are not UTF-8, and escapes of half a surrogate
/// pair. Borrowed if there is nothing of this kind.
pub(super) fn mend(json: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = match String::from_utf8_lossy(json) {
        Cow::Borrowed(_) => Cow::Borrowed(json),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', mended.get(at..).unwrap_or_default()) {
        at += found;
        match surrogate(&mended, at) {
            None => at += 2,
            Some(Surrogate::High) if matches!(surrogate(&mended, at + 6), Some(Surrogate::Low)) => {
                at += 12;
            }
            Some(_) => {
                mended.to_mut()[at + 2..at + 6].copy_from_slice(b"fffd");
                at += 6;
            }
        }
    }
    mended
}

enum Surrogate {
    High,
    Low,
}

/// The half of a pair that the escape at `at` stands for, if it is one.
fn surrogate(json: &[u8], at: usize) -> Option<Surrogate> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Surrogate::High),
        0xdc00..=0xdfff => Some(Surrogate::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unicode_stays_as_it_is() {
        for text in [r#""a \ud83d\ude00 \\ud83d \n é""#, "", "\\", "\\u", "\\ud8"] {
            assert!(matches!(mend(text.as_bytes()), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn half_a_pair_and_wrong_bytes_are_replaced() {
        let mended = |text: &[u8]| String::from_utf8(mend(text).into_owned()).unwrap();
        assert_eq!(mended(br#""a\ud83d b""#), r#""a\ufffd b""#);
        assert_eq!(
            mended(br#""\ude00\ud83d\ud83d\ude00""#),
            r#""\ufffd\ufffd\ud83d\ude00""#
        );
        assert_eq!(mended(b"\"caf\xe9\""), "\"caf\u{fffd}\"");
    }
}
