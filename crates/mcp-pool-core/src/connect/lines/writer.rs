//! The writing half of a pair of pipes, which every caller of a session shares.
//!
//! A line is written by the one who has it, at once, as long as the pipe takes it. When the pipe is full, or many requests
//! are under way, a task writes on: several lines in one go, so that neither side is woken for each. Nothing waits for room
//! in the pipe: a caller waits for the reply alone, and may go away at any time without leaving half a line behind.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::AsyncWrite,
    sync::{Notify, oneshot},
};

use crate::exchange::{Exchange, QueuedMessage, Wire};

/// Lines that are written in one go.
const AT_ONCE: usize = 32;

pub(super) struct LineWriter<W> {
    state: Mutex<State<W>>,
    /// The task has something to do.
    work: Notify,
}

struct State<W> {
    /// `None` when it is closed.
    sink: Option<W>,
    queue: VecDeque<Line>,
    /// Bytes of the first line that have been written.
    written: usize,
    /// Written, and perhaps kept back by the sink.
    unflushed: bool,
    /// The task writes, until nothing is left.
    by_task: bool,
    /// What broke it.
    broken: Option<(io::ErrorKind, String)>,
}

struct Line {
    bytes: Vec<u8>,
    sender: Sender,
}

/// Who is notified of a written line.
enum Sender {
    /// The caller of a raw request, if it cannot be sent.
    Request(i64, Arc<Exchange>),
    /// rmcp, in any case.
    Service(oneshot::Sender<io::Result<()>>),
    /// Nothing: it counts until it is written.
    Detached { _message: QueuedMessage },
}

impl<W> LineWriter<W> {
    pub(super) fn new(sink: W) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                sink: Some(sink),
                queue: VecDeque::new(),
                written: 0,
                unflushed: false,
                by_task: false,
                broken: None,
            }),
            work: Notify::new(),
        })
    }

    /// Closes the pipe. What has not been written is given up.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        let (sink, queue) = (state.sink.take(), std::mem::take(&mut state.queue));
        drop(state);
        drop(sink);
        fail(queue, &io::ErrorKind::BrokenPipe.into());
    }
}

impl<W: AsyncWrite + Unpin> LineWriter<W> {
    /// Leaves a message of rmcp's service. The future completes when it is written, and need not be polled for that.
    pub(super) fn send(&self, bytes: Vec<u8>) -> impl Future<Output = io::Result<()>> + use<W> {
        let (sender, sent) = oneshot::channel();
        let pushed = self.push(bytes, Sender::Service(sender), false);
        async move {
            pushed?;
            sent.await
                .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    /// Writes what the callers leave to it, as long as it is polled.
    pub(super) async fn write_on(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            std::future::poll_fn(|cx| {
                let mut state = self.state.lock();
                let written = ready!(state.write(cx));
                state.by_task = false;
                if let Err(error) = written {
                    let queue = state.give_up(&error);
                    drop(state);
                    fail(queue, &error);
                }
                Poll::Ready(())
            })
            .await;
        }
    }

    fn push(&self, bytes: Vec<u8>, sender: Sender, later: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some((kind, message)) = &state.broken {
            return Err(io::Error::new(*kind, message.clone()));
        }
        if state.sink.is_none() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.queue.push_back(Line { bytes, sender });
        if state.by_task {
            return Ok(());
        }
        let written = match later {
            true => Poll::Pending,
            false => state.write(&mut Context::from_waker(Waker::noop())),
        };
        match written {
            Poll::Pending => {
                state.by_task = true;
                drop(state);
                self.work.notify_one();
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                let queue = state.give_up(&error);
                drop(state);
                fail(queue, &error);
            }
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> State<W> {
    /// Writes all lines that wait.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            sink: Some(sink),
            queue,
            written: begun,
            unflushed,
            ..
        } = self
        else {
            return Poll::Ready(Ok(()));
        };
        let mut sink = Pin::new(sink);
        while let Some(first) = queue.front() {
            let first = &first.bytes[*begun..];
            let written = if queue.len() > 1 && sink.is_write_vectored() {
                let rest = queue.iter().skip(1).take(AT_ONCE - 1);
                let lines: Vec<_> = std::iter::once(first)
                    .chain(rest.map(|line| &*line.bytes))
                    .map(IoSlice::new)
                    .collect();
                sink.as_mut().poll_write_vectored(cx, &lines)
            } else {
                sink.as_mut().poll_write(cx, first)
            };
            let written = match ready!(written) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                written => written,
            };
            *unflushed = true;
            *begun += written?;
            while let Some(first) = queue.front()
                && *begun >= first.bytes.len()
            {
                *begun -= first.bytes.len();
                if let Some(Sender::Service(sender)) = queue.pop_front().map(|line| line.sender) {
                    let _ = sender.send(Ok(()));
                }
            }
        }
        if *unflushed {
            ready!(sink.poll_flush(cx))?;
            *unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the pipe, which is broken. Returns what has not been written.
    fn give_up(&mut self, error: &io::Error) -> VecDeque<Line> {
        self.broken = Some((error.kind(), error.to_string()));
        self.sink = None;
        std::mem::take(&mut self.queue)
    }
}

/// Fails the queued lines: they will not be written.
fn fail(queue: VecDeque<Line>, error: &io::Error) {
    for line in queue {
        let error = io::Error::new(error.kind(), error.to_string());
        match line.sender {
            Sender::Request(id, exchange) => exchange.not_sent(id, Some(error)),
            Sender::Service(sender) => drop(sender.send(Err(error))),
            Sender::Detached { .. } => {}
        }
    }
}

impl<W: AsyncWrite + Unpin + Send> Wire for LineWriter<W> {
    fn request(
        &self,
        id: i64,
        line: Vec<u8>,
        later: bool,
        exchange: &Arc<Exchange>,
    ) -> io::Result<()> {
        self.push(line, Sender::Request(id, Arc::clone(exchange)), later)
    }

    fn notify(&self, line: Vec<u8>, held: QueuedMessage) {
        // If it cannot be written, the session has ended.
        let _ = self.push(line, Sender::Detached { _message: held }, false);
    }

    fn withdraw(&self, id: i64) -> bool {
        let mut state = self.state.lock();
        let is_it = |line: &Line| matches!(line.sender, Sender::Request(other, _) if other == id);
        let Some(place) = state.queue.iter().position(is_it) else {
            return false;
        };
        if place == 0 && state.written > 0 {
            return false;
        }
        let line = state.queue.remove(place);
        drop(state);
        drop(line);
        true
    }
}

impl<W> std::fmt::Debug for LineWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineWriter").finish_non_exhaustive()
    }
}
