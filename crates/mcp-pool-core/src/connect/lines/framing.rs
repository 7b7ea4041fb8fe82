//! Messages behind headers, as the Language Server Protocol writes them.
//!
//! MCP has one message a line. Such a server may still answer, but its messages have no newline: the header of the next one
//! stands on the same line. Its replies are refused with the reason, which says more than that they break off.

/// Why a reply is refused.
pub(super) const FRAMED: &str =
    "it has Content-Length headers, and MCP over stdio has one message a line";

/// What the headers have announced.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Bytes of the message to come.
    length: Option<usize>,
}

impl Framing {
    /// How many bytes of a line are a message that its header has announced, if it is one. A server that only logs such a
    /// header goes on with messages of another length.
    pub(super) fn announced(&mut self, line: &[u8]) -> Option<usize> {
        if line.first() != Some(&b'{') {
            let text = line.trim_ascii();
            // There may be other headers, and an empty line before the message.
            if !text.is_empty() {
                self.length = content_length(text).or(self.length.filter(|_| is_header(text)));
            }
            return None;
        }
        let length = self.length.take()?;
        let end = line.get(..length)?.last()?;
        let rest = line[length..].trim_ascii();
        let next = content_length(rest);
        if *end != b'}' || !(rest.is_empty() || next.is_some()) {
            return None;
        }
        self.length = next;
        Some(length)
    }
}

fn is_header(text: &[u8]) -> bool {
    text.starts_with(b"Content-")
}

fn content_length(text: &[u8]) -> Option<usize> {
    /// Longer than any such header.
    const LONGEST: usize = 64;
    let text = std::str::from_utf8(text.get(..text.len().min(LONGEST))?).ok()?;
    let (name, value) = text.split_once(':')?;
    let is_it = name.eq_ignore_ascii_case("content-length");
    is_it.then(|| value.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is announced of each line.
    fn announced(lines: &[&str]) -> Vec<Option<usize>> {
        let mut framing = Framing::default();
        lines
            .iter()
            .map(|line| framing.announced(line.as_bytes()))
            .collect()
    }

    #[test]
    fn a_message_behind_its_header_is_known() {
        for lines in [
            ["Content-Length: 7\r", "\r", r#"{"a":1}"#],
            ["content-length:7", "", r#"{"a":1}"#],
            ["Content-Length: 7\r", "Content-Type: x\r", r#"{"a":1}"#],
        ] {
            assert_eq!(announced(&lines), [None, None, Some(7)], "{lines:?}");
        }
    }

    #[test]
    fn the_header_of_the_next_message_may_follow_on_the_line() {
        let lines = [
            "Content-Length: 7\r",
            "\r",
            "{\"a\":1}Content-Length: 2\r",
            "\r",
            "{}",
        ];
        let expected = [None, None, Some(7), None, Some(2)];
        assert_eq!(announced(&lines), expected);
    }

    #[test]
    fn a_header_in_a_log_says_nothing_of_the_messages_behind_it() {
        for lines in [
            ["Content-Length: 9", "", r#"{"a":1}"#],
            ["Content-Length: 5", "", r#"{"a":1}"#],
            ["Content-Length: 7", "received", r#"{"a":1}"#],
            ["Content-Length: 0", "", r#"{"a":1}"#],
            ["Content-Length: x", "", r#"{"a":1}"#],
        ] {
            assert_eq!(announced(&lines), [None; 3], "{lines:?}");
        }
    }
}
