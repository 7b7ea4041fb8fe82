//! Estimates the memory of a parsed message.
//!
//! Small values take far more memory than text: `{"":0}` has 6 bytes on the wire and over 600 in a tree of values. The
//! limit on a message's size alone would let 16 MiB grow to gigabytes.

use super::envelope::after_string;

/// Messages up to this many bytes are not weighed: at the worst they take some megabytes.
const LIGHT: usize = 64 * 1024;

/// Bytes of a value beside its text, of an array, and of an object, as `serde_json` keeps them.
const VALUE: usize = 64;
const ARRAY: usize = 128;
const OBJECT: usize = 640;

/// Whether the parsed form would take more than twice the largest message and 32 MiB.
pub(super) fn is_too_heavy(bytes: &[u8], max_message_size: usize) -> bool {
    const ALLOWANCE: usize = 32 * 1024 * 1024;
    bytes.len() > LIGHT
        && exceeds(
            bytes,
            max_message_size.saturating_mul(2).saturating_add(ALLOWANCE),
        )
}

fn exceeds(bytes: &[u8], limit: usize) -> bool {
    let mut weight = bytes.len();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = after_string(bytes, at).unwrap_or(bytes.len());
                continue;
            }
            b',' => weight += VALUE,
            b'[' => weight += ARRAY,
            b'{' => weight += OBJECT,
            _ => {}
        }
        if weight > limit {
            return true;
        }
        at += 1;
    }
    weight > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn many_small_values_are_heavy_and_long_text_is_not() {
        let objects = format!("[{}0]", r#"{"":0},"#.repeat(MIB));
        assert!(is_too_heavy(objects.as_bytes(), 16 * MIB));
        let text = format!("[\"{}\"]", "{,[".repeat(5 * MIB));
        assert!(!is_too_heavy(text.as_bytes(), 16 * MIB));
        let numbers = format!("[{}0]", "0.123456789,".repeat(MIB / 2));
        assert!(!is_too_heavy(numbers.as_bytes(), 16 * MIB));
    }
}
