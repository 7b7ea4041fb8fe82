//! Server-sent events, as far as the daemon makes use of them: the data of each is a message.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Whether a response is a stream of events.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The messages of a body.
pub(super) struct Events<'a> {
    body: &'a mut Incoming,
    buffer: Buffer,
}

impl<'a> Events<'a> {
    pub(super) fn new(body: &'a mut Incoming) -> Self {
        Self {
            body,
            buffer: Buffer::default(),
        }
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream broke off.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(super) async fn next(&mut self) -> hyper::Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.buffer.next() {
                return Ok(Some(message));
            }
            match self.body.frame().await.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.text.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// What was received and not yet taken out.
#[derive(Default)]
struct Buffer {
    text: BytesMut,
    /// Bytes that hold no line end.
    searched: usize,
    /// Of the event that has begun.
    data: BytesMut,
}

impl Buffer {
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let unsearched = &self.text[self.searched..];
            let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.text.len();
                return None;
            };
            let mut line = self.text.split_to(self.searched + at);
            self.text.advance(1);
            self.searched = 0;
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if line.is_empty() {
                let data = self.data.split().freeze();
                if !data.is_empty() {
                    return Some(data);
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                let data = data.strip_prefix(b" ").unwrap_or(data);
                if self.data.is_empty() {
                    let blank = line.len() - data.len();
                    self.data = line.split_off(blank);
                } else {
                    self.data.extend_from_slice(b"\n");
                    self.data.extend_from_slice(data);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_the_text_is_cut() {
        let text = b": keep-alive\n\nevent: message\ndata: {\ndata: \"a\": 1}\n\ndata:{}\r\n\r\n";
        for at in 0..text.len() {
            let (mut buffer, mut found) = (Buffer::default(), Vec::new());
            for part in [&text[..at], &text[at..]] {
                buffer.text.extend_from_slice(part);
                found.extend(std::iter::from_fn(|| buffer.next()));
            }
            assert_eq!(found, ["{\n\"a\": 1}", "{}"], "cut at {at}");
        }
    }
}
