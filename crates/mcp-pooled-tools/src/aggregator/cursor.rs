//! Cursors of merged lists. They are opaque, and good for the list that they were made for: after a change a client
//! begins again instead of missing items or seeing them twice.

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Fingerprint of the list. The same on every replica that has the same lists, and after a restart.
    pub(crate) generation: u64,
    pub(crate) offset: usize,
}

impl Cursor {
    pub(crate) fn encode(self) -> String {
        format!("{:016x}.{:x}", self.generation, self.offset)
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (generation, offset) = text.split_once('.')?;
        let cursor = Self {
            generation: u64::from_str_radix(generation, 16).ok()?,
            offset: usize::from_str_radix(offset, 16).ok()?,
        };
        // One spelling only.
        (cursor.encode() == text).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_was_encoded_and_nothing_else() {
        let cursor = Cursor {
            generation: u64::MAX - 1,
            offset: 1_000,
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        for text in [
            "",
            ".",
            "x.0",
            "1.2",
            "0000000000000001.+2",
            "0000000000000001.02",
        ] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }
}
