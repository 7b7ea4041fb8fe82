//! Server-sent events out of a stream of bytes (HTML standard, section 9.2.6).
//!
//! Line ends may be LF, CR or CRLF, and fall anywhere between two chunks. One event is bounded while it comes in. An event
//! that the stream ends in the middle of counts: servers forget the last blank line.

use std::{collections::VecDeque, time::Duration};

/// One event. Its data is empty where only an id or a delay was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Whether it carries a message: other events are heartbeats and the like.
    pub(super) is_message: bool,
    pub(super) data: Vec<u8>,
    pub(super) id: Option<String>,
    pub(super) retry: Option<Duration>,
}

/// An event is larger than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

#[derive(Debug)]
pub(super) struct EventParser {
    /// Most bytes of one event.
    limit: usize,
    line: Vec<u8>,
    is_comment: bool,
    after_cr: bool,
    at_start: bool,
    name: Vec<u8>,
    data: Option<Vec<u8>>,
    id: Option<String>,
    retry: Option<Duration>,
    events: VecDeque<Event>,
    /// Bytes that were no data, and [`PER_LINE`] for each line.
    ignored: usize,
}

/// What reading a line costs beside its bytes, in bytes: most floods are of short lines.
const PER_LINE: usize = 64;

impl EventParser {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            is_comment: false,
            after_cr: false,
            at_start: true,
            name: Vec::new(),
            data: None,
            id: None,
            retry: None,
            events: VecDeque::new(),
            ignored: 0,
        }
    }

    /// Takes in a chunk; [`next`](Self::next) gives the events that it completes.
    pub(super) fn push(&mut self, mut chunk: &[u8]) -> Result<(), TooLarge> {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && chunk[0] == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            if self.line.is_empty() && !self.is_comment {
                self.is_comment = chunk[0] == b':';
            }
            let end = memchr::memchr2(b'\n', b'\r', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if self.is_comment {
                self.ignored += part.len();
            } else {
                self.line.extend_from_slice(part);
                let held = self.data.as_ref().map_or(0, Vec::len);
                if self.line.len() + held > self.limit.saturating_add("data: ".len()) {
                    return Err(TooLarge);
                }
            }
            let Some(end) = end else { break };
            self.after_cr = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            self.end_line();
        }
        Ok(())
    }

    /// What has been read beside data since the last call, in bytes: comments, blank lines, other fields.
    pub(super) fn take_ignored(&mut self) -> usize {
        std::mem::take(&mut self.ignored)
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The event in the middle of which the stream has ended.
    pub(super) fn finish(&mut self) -> Option<Event> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dispatch();
        self.next()
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        self.ignored += PER_LINE;
        if std::mem::take(&mut self.is_comment) {
            return;
        }
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xEF\xBB\xBF") {
            line.drain(..3);
        }
        if line.is_empty() {
            self.dispatch();
            return;
        }
        let colon = memchr::memchr(b':', &line);
        let (field, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if field != b"data" {
            self.ignored += line.len();
        }
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.name = value.to_vec(),
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                let millis = std::str::from_utf8(value).ok();
                let millis = millis.and_then(|millis| millis.parse().ok());
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let (data, id, retry) = (self.data.take(), self.id.take(), self.retry.take());
        if data.is_none() && id.is_none() && retry.is_none() {
            return;
        }
        self.events.push_back(Event {
            is_message: name.is_empty() || name == b"message",
            data: data.unwrap_or_default(),
            id,
            retry,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<Event> {
        let mut parser = EventParser::new(1_000);
        for chunk in chunks {
            parser.push(chunk).unwrap();
        }
        let mut events: Vec<_> = std::iter::from_fn(|| parser.next()).collect();
        events.extend(parser.finish());
        events
    }

    fn data_of(chunks: &[&[u8]]) -> Vec<String> {
        let messages = parse(chunks).into_iter().filter(|event| event.is_message);
        let data = messages.map(|event| String::from_utf8(event.data).unwrap());
        data.filter(|data| !data.is_empty()).collect()
    }

    #[test]
    fn all_line_ends_are_the_same_wherever_the_chunks_are_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("event: message{end}data: a{end}data: b{end}{end}data:c{end}{end}");
            assert_eq!(data_of(&[text.as_bytes()]), ["a\nb", "c"], "{end:?}");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(data_of(&bytes), ["a\nb", "c"], "{end:?}");
        }
    }

    #[test]
    fn comments_other_events_and_a_byte_order_mark_are_no_messages() {
        let text = b"\xEF\xBB\xBF: hi\n\n:\n\ndata: a\n\nevent: ping\ndata: b\n\nretry: 10\n\nid: 7\ndata:\n\n";
        assert_eq!(data_of(&[text]), ["a"]);
        let text = b"\xEF\xBB\xBFdata: a\n\n";
        assert_eq!(data_of(&[text]), ["a"]);
        let events = parse(&[b"retry: 10\nid: 7\ndata\n\n"]);
        assert_eq!(events[0].retry, Some(Duration::from_millis(10)));
        assert_eq!(events[0].id.as_deref(), Some("7"));
    }

    #[test]
    fn all_that_is_no_data_counts_as_ignored() {
        let long = "x".repeat(100_000);
        for (text, kept) in [
            (format!(": {long}"), 0),
            (format!("other: {long}\n\n"), 0),
            (format!("event: {long}\n\n"), 0),
            ("\n".repeat(10_000), 0),
            (format!("data: {long}\n\n"), 100_000),
        ] {
            let mut parser = EventParser::new(1_000_000);
            parser.push(text.as_bytes()).unwrap();
            let ignored = parser.take_ignored();
            assert!(
                ignored + kept >= text.len() - 10,
                "{}: {ignored}",
                &text[..7]
            );
            assert_eq!(ignored > 1_000, kept == 0, "{}", &text[..7]);
            assert_eq!(parser.take_ignored(), 0);
        }
    }

    #[test]
    fn an_event_counts_though_the_stream_ends_before_its_blank_line() {
        assert_eq!(data_of(&[b"data: a\n\ndata: b\n"]), ["a", "b"]);
        assert_eq!(data_of(&[b"data: a\n\ndata: b"]), ["a", "b"]);
    }

    #[test]
    fn an_event_is_bounded_over_all_its_lines_and_a_comment_is_not() {
        let mut parser = EventParser::new(100);
        assert_eq!(parser.push(&[b':'; 10_000]), Ok(()));
        assert_eq!(parser.push(b"\ndata: "), Ok(()));
        assert_eq!(parser.push(&[b'x'; 100]), Ok(()));
        assert_eq!(parser.push(b"\ndata: yyyyyyyy\n"), Err(TooLarge));
        let mut endless = EventParser::new(100);
        assert_eq!(endless.push(&[b'x'; 200]), Err(TooLarge));
    }
}
