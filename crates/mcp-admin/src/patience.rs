//! Connections whose other side has stopped reading.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A connection that breaks when nothing of what is written is taken for a while: neither hyper nor axum has a limit for
/// that, and whoever asks and does not read would keep a place for ever.
pub(crate) struct Impatient<IO> {
    io: IO,
    /// Runs while a write waits.
    limit: Option<Pin<Box<Sleep>>>,
    /// The end, at which less patience is left; gone once it has come.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    patience: Duration,
}

impl<IO> Impatient<IO> {
    pub(crate) fn new(io: IO, ending: CancellationToken) -> Self {
        Self {
            io,
            limit: None,
            ending: Some(Box::pin(ending.cancelled_owned())),
            patience: PATIENCE,
        }
    }

    /// What has become of a write, unless it has waited for too long.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.limit = None;
            return written;
        }
        if let Some(ending) = &mut self.ending
            && ending.as_mut().poll(context).is_ready()
        {
            self.ending = None;
            self.patience = PATIENCE_AT_THE_END;
            if let Some(limit) = &mut self.limit {
                limit.as_mut().reset(Instant::now() + PATIENCE_AT_THE_END);
            }
        }
        let patience = self.patience;
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(limit.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Impatient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Impatient<IO> {
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

impl<IO> fmt::Debug for Impatient<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impatient").finish_non_exhaustive()
    }
}

/// A slow network takes something in this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The page of a laptop that sleeps is not to hold up the end.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_not_waited_for() {
        let (ours, _theirs) = duplex(16);
        let mut ours = Impatient::new(ours, CancellationToken::new());
        let began = Instant::now();
        let error = ours.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_now_and_then_is() {
        let (ours, mut theirs) = duplex(16);
        let mut ours = Impatient::new(ours, CancellationToken::new());
        let reading = async {
            for _ in 0..10 {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 160]), reading);
        written.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_there_is_less_patience_for_writes_under_way_too() {
        let (ours, _theirs) = duplex(16);
        let ending = CancellationToken::new();
        let mut ours = Impatient::new(ours, ending.clone());
        let began = Instant::now();
        let end = async {
            sleep(Duration::from_secs(10)).await;
            ending.cancel();
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 17]), end);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(10) + PATIENCE_AT_THE_END
        );
    }
}
