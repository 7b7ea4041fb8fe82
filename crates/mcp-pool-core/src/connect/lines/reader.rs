//! Lines out of a stream, in a buffer of their own.
//!
//! Two kinds of servers do not write a message a line. JSON that is indented is one line here, from `{` to `}`. A whole
//! object without a newline is one as soon as the server pauses behind it.
//!
//! The reader keeps what has been read between calls, so that a cancelled wait for a line loses nothing.
//! A session at rest holds [`AT_REST`] bytes of buffer, whatever it has read before.

use std::{io, ops::Range};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::yield_now,
    time::{Duration, timeout},
};

use super::unended::Unended;
use crate::decode::{LONG, unbreak};

/// Bytes of buffer that a session keeps while it waits: an ordinary reply fits, and so takes one read.
const AT_REST: usize = 4 * 1024;
/// Bytes of buffer that it keeps in the middle of a line, when the one before was longer.
const BETWEEN_LINES: usize = 64 * 1024;
/// How long a server pauses before a line without its end is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no further line.
#[derive(Debug)]
pub(super) enum Broken {
    /// The line under way is longer than it may be.
    TooLong,
    /// The stream could not be read.
    Unreadable(io::Error),
}

/// A stream, and what has been read of it.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// The line that was returned last.
    last: Range<usize>,
    /// Where what will be returned next begins.
    start: usize,
    /// Where its last line begins: indented JSON has several.
    line: usize,
    /// How far there is no newline in it: no byte is looked at twice.
    searched: usize,
    unended: Unended,
    longest: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `longest` bytes, their newline not counted.
    pub(super) fn new(stream: R, longest: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            last: 0..0,
            start: 0,
            line: 0,
            searched: 0,
            unended: Unended::default(),
            longest,
        }
    }

    /// The next line, without its newline; `None` at the end of the stream. What follows the last newline is no line, unless
    /// it is a whole object.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped: the line is found, or read on, by the next call.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Some(&self.buffer[line]));
            }
            self.make_room();
            let may_be_whole = self.may_be_whole();
            // The bytes and the count of them come together: there is no await in between.
            let reading = self.stream.read_buf(&mut self.buffer);
            let read = match may_be_whole {
                true => timeout(PAUSE, reading).await.ok(),
                false => Some(reading.await),
            };
            match read {
                Some(Ok(1..)) => continue,
                Some(Err(error)) => return Err(Broken::Unreadable(error)),
                // The end, or a pause.
                Some(Ok(0)) | None => {}
            }
            if let Some(line) = self.take_unended().await {
                return Ok(Some(&self.buffer[line]));
            }
            if read.is_some() {
                return Ok(None);
            }
        }
    }

    /// Takes the line that [`next`](Self::next) has just returned, without copying it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let rest = self.buffer.split_off(self.start);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(self.last.end);
        line.drain(..self.last.start);
        (self.last, self.start, self.line, self.searched) = (0..0, 0, 0, 0);
        line
    }

    fn take_line(&mut self) -> Result<Option<Range<usize>>, Broken> {
        loop {
            let newline = memchr::memchr(b'\n', &self.buffer[self.searched..]);
            let end = newline.map_or(self.buffer.len(), |after| self.searched + after);
            if end - self.start > self.longest {
                return Err(Broken::TooLong);
            }
            self.searched = end;
            if newline.is_none() {
                return Ok(None);
            }
            let is_first = self.line == self.start;
            match &self.buffer[self.line..end] {
                b"{" | b"{\r" if is_first => {}
                [b' ' | b'\t' | b'"', ..] if !is_first => {}
                [b'}', ..] if !is_first => {
                    unbreak(&mut self.buffer[self.start..end]);
                    return Ok(Some(self.end_at(end, end + 1)));
                }
                _ if is_first => return Ok(Some(self.end_at(end, end + 1))),
                // What began with `{` was no JSON. This line may be a message.
                _ => return Ok(Some(self.end_at(self.line - 1, self.line))),
            }
            self.line = end + 1;
            self.searched = self.line;
        }
    }

    /// The line under way, which ends at `end`. The next one begins at `next`.
    fn end_at(&mut self, end: usize, next: usize) -> Range<usize> {
        self.last = self.start..end;
        (self.start, self.line, self.searched) = (next, next, next);
        self.unended = Unended::default();
        self.last.clone()
    }

    /// Whether an object is under way that has not been looked at to its end.
    fn may_be_whole(&self) -> bool {
        self.buffer.get(self.start) == Some(&b'{')
            && self.start + self.unended.looked < self.buffer.len()
    }

    /// The line under way, if it is a whole object without a newline.
    async fn take_unended(&mut self) -> Option<Range<usize>> {
        let end = self.buffer.len();
        while self.may_be_whole() {
            let from = self.start + self.unended.looked;
            self.unended.look(&self.buffer[from..end.min(from + LONG)]);
            yield_now().await;
        }
        let object = &self.buffer[self.start..];
        let is_whole =
            object.starts_with(b"{") && object.ends_with(b"}") && self.unended.is_whole();
        is_whole.then(|| {
            unbreak(&mut self.buffer[self.start..end]);
            self.end_at(end, end)
        })
    }

    /// Moves the line under way to the front, lets go of what a long one before it has needed, and leaves room.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.line -= self.start;
            self.start = 0;
            let busy = !self.buffer.is_empty();
            self.buffer
                .shrink_to(if busy { BETWEEN_LINES } else { AT_REST });
        }
        // Doubles as a line grows, so that a long one is read in few and large pieces.
        self.buffer.reserve(AT_REST);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        pin::{Pin, pin},
        sync::LazyLock,
        task::{Context, Poll, Waker},
    };

    use proptest::prelude::*;
    use tokio::{
        io::{AsyncWriteExt, ReadBuf},
        runtime::Runtime,
    };

    use super::*;

    /// Gives one piece at a read, or as much of it as is asked for, and is not ready before each.
    struct Pieces {
        left: VecDeque<Vec<u8>>,
        ready: bool,
        reads: usize,
    }

    impl Pieces {
        fn new(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
            let left = pieces.into_iter().filter(|piece| !piece.is_empty());
            Self {
                left: left.collect(),
                ready: false,
                reads: 0,
            }
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.ready = !self.ready;
            if self.ready {
                return Poll::Pending;
            }
            self.reads += 1;
            if let Some(mut piece) = self.left.pop_front() {
                let rest = piece.split_off(piece.len().min(into.remaining()));
                into.put_slice(&piece);
                if !rest.is_empty() {
                    self.left.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    type Read = Result<Option<Vec<u8>>, Broken>;

    /// Asks for the next line as rmcp does: with a new future each time, and the one before dropped wherever it was.
    fn next(reader: &mut LineReader<Pieces>) -> (Read, usize) {
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
        let _entered = RUNTIME.enter();
        for dropped in 0.. {
            let next = pin!(reader.next());
            if let Poll::Ready(read) = next.poll(&mut Context::from_waker(Waker::noop())) {
                return (read.map(|line| line.map(<[u8]>::to_vec)), dropped);
            }
        }
        unreachable!("a stream that ends")
    }

    fn all(pieces: Pieces) -> Vec<Vec<u8>> {
        let mut reader = LineReader::new(pieces, usize::MAX - 1);
        let lines = std::iter::from_fn(|| next(&mut reader).0.unwrap());
        lines.collect()
    }

    #[test]
    fn lines_split_at_any_byte_come_out_whole() {
        let text = b"{\"a\":1}\n\n{\"b\":\"\xC3\xA9\"}\r\nlast\n";
        let whole: Vec<&[u8]> = vec![b"{\"a\":1}", b"", b"{\"b\":\"\xC3\xA9\"}\r", b"last"];
        for at in 0..=text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(
                all(Pieces::new([left.to_vec(), right.to_vec()])),
                whole,
                "split at {at}"
            );
        }
        assert_eq!(all(Pieces::new(text.map(|byte| vec![byte]))), whole);
    }

    #[test]
    fn many_lines_of_one_read_take_no_other() {
        let lines: Vec<Vec<u8>> = (0..200).map(|i| format!("line {i}").into_bytes()).collect();
        let text = lines.join(&b'\n');
        assert!(text.len() < AT_REST);
        let mut reader = LineReader::new(Pieces::new([text, b"\n".to_vec()]), 100);
        for line in &lines[..lines.len() - 1] {
            assert_eq!(next(&mut reader).0.unwrap().as_ref(), Some(line));
            assert_eq!(reader.stream.reads, 1);
        }
        assert_eq!(next(&mut reader).0.unwrap().as_ref(), lines.last());
    }

    #[test]
    fn a_dropped_wait_loses_nothing() {
        let pieces = [b"fir".to_vec(), b"st\nsec".to_vec(), b"ond\n".to_vec()];
        let mut reader = LineReader::new(Pieces::new(pieces), 100);
        let (line, dropped) = next(&mut reader);
        assert_eq!((line.unwrap().unwrap(), dropped), (b"first".to_vec(), 2));
        let (line, dropped) = next(&mut reader);
        assert_eq!((line.unwrap().unwrap(), dropped), (b"second".to_vec(), 1));
        assert_eq!(next(&mut reader).0.unwrap(), None);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for longest in [1, 10, AT_REST - 1, AT_REST, AT_REST + 1, 3 * AT_REST] {
            let line = |length: usize| [vec![b'x'; length], b"\nnext\n".to_vec()].concat();
            let mut reader = LineReader::new(Pieces::new([line(longest)]), longest);
            let read = next(&mut reader).0.unwrap().unwrap();
            assert_eq!(read.len(), longest);
            let mut reader = LineReader::new(Pieces::new([line(longest + 1)]), longest);
            let read = next(&mut reader).0;
            assert!(matches!(read, Err(Broken::TooLong)), "{longest}: {read:?}");
        }
    }

    #[test]
    fn a_line_that_never_ends_is_given_up_before_it_is_held() {
        let endless = (0..).map(|_| vec![b'x'; 1024]).take(1024);
        let mut reader = LineReader::new(Pieces::new(endless), 100_000);
        assert!(matches!(next(&mut reader).0, Err(Broken::TooLong)));
        assert!(reader.buffer.capacity() <= 2 * (100_000 + AT_REST));
    }

    #[test]
    fn a_session_at_rest_holds_little_whatever_it_has_read() {
        let long = [vec![b'x'; 1024 * 1024], b"\n".to_vec()].concat();
        let pieces = [long.clone(), b"short\n".to_vec(), long];
        let mut reader = LineReader::new(Pieces::new(pieces), usize::MAX - 1);
        while next(&mut reader).0.unwrap().is_some() {}
        assert!(
            reader.buffer.capacity() <= AT_REST,
            "{}",
            reader.buffer.capacity()
        );
    }

    #[test]
    fn half_a_line_after_a_long_one_does_not_hold_its_memory() {
        let text = [vec![b'x'; 1024 * 1024], b"\nhalf".to_vec()].concat();
        let mut reader = LineReader::new(Pieces::new([text]), usize::MAX - 1);
        assert!(next(&mut reader).0.unwrap().is_some());
        assert!(reader.buffer.capacity() > 1024 * 1024);
        assert!(next(&mut reader).0.unwrap().is_none());
        assert!(reader.buffer.capacity() <= BETWEEN_LINES);
    }

    #[test]
    fn a_long_line_is_read_in_few_pieces() {
        let length = 1024 * 1024;
        let line = [vec![b'x'; length], b"\n".to_vec()].concat();
        let mut reader = LineReader::new(Pieces::new([line]), length);
        assert!(next(&mut reader).0.unwrap().is_some());
        assert!(reader.stream.reads < 20, "{} reads", reader.stream.reads);
    }

    #[test]
    fn a_line_that_is_taken_leaves_the_others() {
        let mut reader = LineReader::new(
            Pieces::new([b"first\nsecond\nth".to_vec(), b"ird\n".to_vec()]),
            100,
        );
        assert_eq!(next(&mut reader).0.unwrap().unwrap(), b"first");
        assert_eq!(next(&mut reader).0.unwrap().unwrap(), b"second");
        assert_eq!(reader.take(), b"second");
        assert_eq!(next(&mut reader).0.unwrap().unwrap(), b"third");
        assert_eq!(reader.take(), b"third");
        assert!(next(&mut reader).0.unwrap().is_none());
    }

    #[test]
    fn indented_json_is_one_line() {
        let text = "{\n  \"a\": {\n    \"b\": []\n  }\n}\n";
        let one = text.trim_end().replace('\n', " ").into_bytes();
        let whole = vec![one, b"next".to_vec()];
        let text = [text.as_bytes(), b"next\n"].concat();
        for at in 0..=text.len() {
            let (left, right) = text.split_at(at);
            let pieces = Pieces::new([left.to_vec(), right.to_vec()]);
            assert_eq!(all(pieces), whole, "split at {at}");
        }
        let windows = b"{\r\n  \"a\": 1\r\n}\r\n".to_vec();
        assert_eq!(all(Pieces::new([windows])), [b"{    \"a\": 1  } "]);
    }

    #[test]
    fn a_brace_alone_holds_no_message_back() {
        let text = b"{\n{\"a\":1}\n{\nlog\n}\n{\n \"b\": 1,\n{\"c\":1}\n".to_vec();
        let lines: [&[u8]; 7] = [
            b"{",
            b"{\"a\":1}",
            b"{",
            b"log",
            b"}",
            b"{\n \"b\": 1,",
            b"{\"c\":1}",
        ];
        assert_eq!(all(Pieces::new([text])), lines);
    }

    #[test]
    fn indented_json_may_be_as_long_as_a_line_and_no_longer() {
        let text = b"{\n  \"a\": 1\n}\n".to_vec();
        let longest = text.len() - 1;
        let mut reader = LineReader::new(Pieces::new([text.clone()]), longest);
        assert_eq!(next(&mut reader).0.unwrap().unwrap().len(), longest);
        let mut reader = LineReader::new(Pieces::new([text]), longest - 1);
        assert!(matches!(next(&mut reader).0, Err(Broken::TooLong)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_object_is_a_line_when_the_server_pauses_behind_it() {
        let (mut server, client) = tokio::io::duplex(64);
        let mut reader = LineReader::new(client, 200_000);
        let long = format!("{{\"a\":\"{}\"}}", "}".repeat(100_000));
        for object in [
            "{}",
            r#"{"a":"}"}"#,
            "{\n  \"a\": 1\n}",
            r#"{}{"b":[]}"#,
            &long,
        ] {
            for at in [object.len() / 2, object.len()] {
                let writing = async {
                    let (left, right) = object.split_at(at);
                    server.write_all(left.as_bytes()).await.unwrap();
                    tokio::time::sleep(10 * PAUSE).await;
                    server.write_all(right.as_bytes()).await.unwrap();
                };
                let (line, ()) = tokio::join!(reader.next(), writing);
                assert_eq!(line.unwrap().unwrap(), object.replace('\n', " ").as_bytes());
            }
        }
        // The newline that comes after all is an empty line.
        server.write_all(b"\n{\"half\":\nnext\n").await.unwrap();
        for line in [b"".as_slice(), b"{\"half\":", b"next"] {
            assert_eq!(reader.next().await.unwrap().unwrap(), line);
        }
    }

    #[test]
    fn a_whole_object_at_the_end_is_a_line() {
        assert_eq!(
            all(Pieces::new([b"a\n{}".to_vec()])),
            [b"a".as_slice(), b"{}"]
        );
        assert_eq!(all(Pieces::new([b"a\n{\"b\"".to_vec()])), [b"a"]);
    }

    proptest! {
        /// However a text is cut into reads, its lines are those between its newlines.
        #[test]
        fn lines_do_not_depend_on_reads(
            lines in prop::collection::vec(prop::collection::vec(prop::num::u8::ANY, 0..6000), 0..8),
            cuts in prop::collection::vec(0..40_000_usize, 0..12),
        ) {
            let lines: Vec<Vec<u8>> = lines
                .into_iter()
                .map(|line| line.into_iter().filter(|byte| *byte != b'\n').collect())
                .collect();
            prop_assume!(!lines.iter().any(|line| line.starts_with(b"{") && line.len() <= 2));
            let mut text: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            let mut pieces = Vec::new();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            for cut in cuts.into_iter().rev() {
                pieces.insert(0, text.split_off(cut));
            }
            pieces.insert(0, text);
            prop_assert_eq!(all(Pieces::new(pieces)), lines);
        }
    }
}
