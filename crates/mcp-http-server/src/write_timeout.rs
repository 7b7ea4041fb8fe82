//! Write timeout: closes a connection whose peer does not read.
//!
//! Neither hyper nor axum has one, and a peer that sends requests and reads no responses would keep a connection for as long
//! as it likes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The limit once the server stops: a sleeping laptop's page must not hold it up.
const WHILE_STOPPING: Duration = Duration::from_secs(1);

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] when nothing is taken for the limit.
pub(crate) struct WriteTimeout<IO> {
    io: IO,
    limit: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// Completes when the server stops, which shortens the limit; `None` afterwards.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<IO> WriteTimeout<IO> {
    pub(crate) fn new(io: IO, limit: Duration, stopping: CancellationToken) -> Self {
        Self {
            io,
            limit,
            timer: None,
            stopping: Some(Box::pin(stopping.cancelled_owned())),
        }
    }

    /// The outcome of a write, or an error if it has waited for too long.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(context).is_ready()
        {
            self.stopping = None;
            self.limit = self.limit.min(WHILE_STOPPING);
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(Instant::now() + self.limit);
            }
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for WriteTimeout<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.bounded(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.bounded(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Both ends of a pipe that holds 16 bytes.
    fn pipe(stopping: &CancellationToken) -> (WriteTimeout<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(16);
        (WriteTimeout::new(ours, LIMIT, stopping.clone()), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_not_waited_for() {
        let (mut ours, _theirs) = pipe(&CancellationToken::new());
        let began = Instant::now();
        let error = ours.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_now_and_then_is_waited_for() {
        let (mut ours, mut theirs) = pipe(&CancellationToken::new());
        let reading = async {
            for _ in 0..10 {
                sleep(LIMIT - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 160]), reading);
        written.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_shortens_the_limit_of_writes_under_way_too() {
        let stopping = CancellationToken::new();
        let (mut ours, _theirs) = pipe(&stopping);
        let began = Instant::now();
        let end = async {
            sleep(Duration::from_secs(10)).await;
            stopping.cancel();
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 17]), end);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_secs(10) + WHILE_STOPPING);
    }
}
