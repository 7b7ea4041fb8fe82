//! Whether the daemon is in use: it is as long as a request is under way, and `connect` holds one as long as it runs.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::{sync::watch, time::sleep};

/// Requests under way. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Activity(watch::Sender<usize>);

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(watch::Sender<usize>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn begin(&self) -> Busy {
        self.0.send_modify(|under_way| *under_way += 1);
        Busy(self.0.clone())
    }

    /// Completes when no request has been under way for so long.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the time then begins again.
    pub(super) async fn rests_for(&self, limit: Duration) {
        let mut under_way = self.0.subscribe();
        loop {
            if *under_way.borrow_and_update() == 0 {
                tokio::select! {
                    () = sleep(limit) => return,
                    _ = under_way.changed() => continue,
                }
            }
            // The sender is this.
            let _ = under_way.changed().await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// A body that is under way until it is dropped.
pub(super) fn counted(body: Body, busy: Busy) -> Body {
    Body::new(Counted { body, _busy: busy })
}

struct Counted {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rest_begins_again_with_each_request() {
        let activity = Activity::new();
        let began = tokio::time::Instant::now();
        let busy = activity.begin();
        let rest = activity.rests_for(Duration::from_secs(60));
        let work = async {
            sleep(Duration::from_secs(100)).await;
            drop(busy);
            sleep(Duration::from_secs(59)).await;
            drop(activity.begin());
        };
        tokio::join!(rest, work);
        assert_eq!(began.elapsed(), Duration::from_secs(100 + 59 + 60));
    }
}
