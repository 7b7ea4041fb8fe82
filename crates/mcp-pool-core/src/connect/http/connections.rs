//! The connections to one server, which all its sessions share.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::stall::{Route, StallWatch};
use crate::error::{OpenError, OpenErrorKind, Phase};

/// The connections to one server. Clones share them.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    kept: reqwest::Client,
    fresh: reqwest::Client,
    watch: Mutex<StallWatch>,
}

impl HttpClient {
    pub(super) fn new() -> Result<Self, OpenError> {
        let build = |builder: reqwest::ClientBuilder| {
            builder
                .tcp_nodelay(true)
                .redirect(within_origin())
                .build()
                .map_err(|error| {
                    OpenError::new(
                        OpenErrorKind::Config,
                        Phase::Open,
                        "no HTTP client could be made",
                    )
                    .with_source(error)
                })
        };
        Ok(Self(Arc::new(Inner {
            kept: build(reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(90)))?,
            fresh: build(reqwest::Client::builder().pool_max_idle_per_host(0))?,
            watch: Mutex::new(StallWatch::new()),
        })))
    }

    /// For requests whose speed does not matter.
    pub(super) fn kept(&self) -> &reqwest::Client {
        &self.0.kept
    }

    /// For a request, with the watch over how long its reply takes.
    pub(super) fn choose(&self) -> (&reqwest::Client, Timing) {
        let route = self.0.watch.lock().route();
        let client = match route {
            Route::Kept => &self.0.kept,
            Route::Fresh => &self.0.fresh,
        };
        let timing = Timing {
            client: self.clone(),
            route,
            began: Instant::now(),
        };
        (client, timing)
    }
}

/// The time of one request, from before it is sent.
#[derive(Debug)]
pub(super) struct Timing {
    client: HttpClient,
    route: Route,
    began: Instant,
}

impl Timing {
    /// The reply has begun to come in. The head of an answer is never held back, so it does not count.
    pub(super) fn answered(self) {
        let mut watch = self.client.0.watch.lock();
        let before = watch.is_stalled();
        watch.answered(self.route, self.began.elapsed());
        if watch.is_stalled() && !before {
            tracing::info!(
                "the server stalls on kept connections (no TCP_NODELAY on its side): each call gets a fresh one"
            );
        }
    }
}

/// Follows `/mcp` to `/mcp/`, as many servers want it, but carries no header, and no secret in it, to another host. A
/// redirect that turns a POST into a GET is not followed: the message would be lost.
fn within_origin() -> reqwest::redirect::Policy {
    const MOST: usize = 10;
    reqwest::redirect::Policy::custom(|attempt| {
        let from = attempt.previous().first().map(reqwest::Url::origin);
        if attempt.previous().len() > MOST {
            attempt.error("too many redirects")
        } else if from == Some(attempt.url().origin())
            && matches!(attempt.status().as_u16(), 307 | 308)
        {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("watch", &self.0.watch.lock())
            .finish_non_exhaustive()
    }
}
