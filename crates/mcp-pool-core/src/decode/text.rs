//! Repairs text that is not valid UTF-8, or not alone on its line.

use std::borrow::Cow;

/// The message in a line: trimmed, and as UTF-8.
pub(super) fn plain(line: &[u8]) -> Cow<'_, [u8]> {
    let text = trim(line);
    from_utf16(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The text without what shells and terminals put around it: white space, a byte order mark, NUL bytes and escape
/// sequences. None of them can begin or end a message.
fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    match text.last() {
        None | Some(b'}' | b']') => text,
        _ => match memchr::memrchr2(b'}', b']', text) {
            Some(last) if trim_start(&text[last + 1..]).is_empty() => &text[..=last],
            _ => text,
        },
    }
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    const BOM: &[u8] = b"\xEF\xBB\xBF";
    loop {
        text = text.trim_ascii_start();
        let rest = match text {
            [0, rest @ ..] => Some(rest),
            [0x1b, b'[', rest @ ..] => {
                let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
                end.map(|end| &rest[end + 1..])
            }
            _ => text.strip_prefix(BOM),
        };
        match rest {
            Some(rest) => text = rest,
            None => return text,
        }
    }
}

/// The message as UTF-8, if it is written in UTF-16 as Windows does. A line of it may begin with the second byte of the
/// newline before, which [`trim`] has taken away, and end with the first half of a character.
fn from_utf16(text: &[u8]) -> Option<Vec<u8>> {
    const BOM: &[u8] = b"\xFF\xFE";
    let text = text.strip_prefix(BOM).unwrap_or(text);
    matches!(text, [b'{' | b'[', 0, ..]).then_some(())?;
    let units = text.chunks(2).map(|unit| match unit {
        [low, high] => u16::from_le_bytes([*low, *high]),
        // The second half of the last character was taken for a NUL byte.
        last => last.first().copied().unwrap_or_default().into(),
    });
    let characters = char::decode_utf16(units);
    let text: String = characters
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Some(text.trim().into())
}

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

/// Puts JSON on one line. A line break in it in JSON stands between its tokens, where a space does as well.
pub(crate) fn unbreak(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &json[at..]) {
        json[at + found] = b' ';
        at += found + 1;
    }
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
    fn what_terminals_add_to_a_line_is_no_part_of_it() {
        for line in [
            "{}",
            " \t{}\r",
            "\u{feff}{}",
            "\0{}\0",
            "\u{1b}[0m{}",
            "\u{1b}[1;32m\u{1b}[K {}\u{1b}[0m\r",
        ] {
            assert_eq!(trim(line.as_bytes()), b"{}", "{line:?}");
        }
        for line in ["\u{1b}[", "\u{1b}]0;title", "ready {}.", "{} more"] {
            assert_eq!(trim(line.as_bytes()), line.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn utf_16_is_read_wherever_its_line_was_cut() {
        let text = "{\"a\":\"é 漢 🎉\"}";
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let newline = b"\r\0".as_slice();
        for line in [
            bytes.clone(),
            [&bytes, newline].concat(),
            [b"\0", bytes.as_slice()].concat(),
            [b"\xFF\xFE", bytes.as_slice()].concat(),
        ] {
            let utf8 = from_utf16(trim(&line)).unwrap();
            assert_eq!(String::from_utf8(utf8).unwrap(), text);
        }
        assert_eq!(from_utf16(b"{\"a\":1}"), None);
    }

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
