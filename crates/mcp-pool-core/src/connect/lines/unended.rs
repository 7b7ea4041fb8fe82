//! Messages whose line has no end.

/// How much of the message under way has been looked at, and how deep it was nested there. No byte is looked at twice.
#[derive(Debug, Default)]
pub(super) struct Unended {
    pub(super) looked: usize,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Unended {
    /// Looks at the next bytes.
    pub(super) fn look(&mut self, bytes: &[u8]) {
        self.looked += bytes.len();
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether nothing is open where the bytes end.
    pub(super) fn is_whole(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_whole_at_its_end_alone() {
        let text = br#"{"a":"}\"\\","b":[{"c":"\\\"]}"}]}"#;
        for end in 1..text.len() {
            let mut unended = Unended::default();
            unended.look(&text[..end]);
            assert!(!unended.is_whole(), "{end}");
            unended.look(&text[end..]);
            assert!(unended.is_whole(), "{end}");
            assert_eq!(unended.looked, text.len());
        }
    }
}
