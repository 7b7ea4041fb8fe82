//! A response body that keeps a guard until it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body with a guard that is dropped with it, such as the count of a request that is under way until its response is
    /// written. Its size is known where that of the body is.
    #[derive(Debug)]
    pub struct GuardedBody<B, G> {
        #[pin]
        body: B,
        _guard: G,
    }
}

impl<B, G> GuardedBody<B, G> {
    /// The body, which keeps `guard`.
    pub fn new(body: B, guard: G) -> Self {
        Self {
            body,
            _guard: guard,
        }
    }
}

impl<B: Body, G> Body for GuardedBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
