//! Values of headers that repeat a part of a message (SEP-2243).

const BEFORE: &str = "=?base64?";
const AFTER: &str = "?=";

/// Text as the value of a header: in Base64 with a mark where it could not stand there as it is.
pub(super) fn encoded(text: String) -> String {
    let bytes = text.as_bytes();
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let has_mark = text.starts_with(BEFORE) && text.ends_with(AFTER);
    let has_blank_end = is_blank(bytes.first()) || is_blank(bytes.last());
    let is_printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if is_printable && !has_blank_end && !has_mark {
        text
    } else {
        format!("{BEFORE}{}{AFTER}", base64(bytes))
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit > group.len() {
                text.push('=');
            } else {
                let at = (bits >> (18 - 6 * digit)) & 63;
                text.push(char::from(DIGITS[at as usize]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_stand_in_a_header_is_wrapped() {
        for (text, value) in [
            ("plain name", "plain name"),
            ("", ""),
            ("caf\u{e9}", "=?base64?Y2Fmw6k=?="),
            (" a", "=?base64?IGE=?="),
            ("a\n", "=?base64?YQo=?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(encoded(text.to_owned()), value);
        }
    }
}
