//! What happens, as server-sent events.

#![allow(unused_qualifications, reason = "in what utoipa makes of the query")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures::stream;
use mcp_pooled_tools::{Event, EventStream};
use serde::Deserialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use utoipa::IntoParams;

use crate::{
    admin::Shared,
    params::{Params, text},
    problem::Problem,
    responses::BadQuery,
};

/// What of all events is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Only those of one server.
    server: Option<String>,
    /// Snapshots of everything, too: an event `snapshot` at once and every two seconds.
    #[serde(deserialize_with = "text")]
    snapshots: Option<bool>,
}

/// What happens to sessions, breakers and alerts, as it happens
///
/// Server-sent events: the name of each says what happened, its data is JSON. A reader that is too slow loses the oldest and
/// gets an event `missed` with their number. Nothing is kept for readers that come back.
#[utoipa::path(
    get,
    path = "/api/v1/mcp/events",
    tag = "watching",
    params(EventsQuery),
    responses(
        (status = 200, description = "A stream that ends with the program", content_type = "text/event-stream", body = String),
        (status = 404, description = "There is no such server", content_type = "application/problem+json", body = Problem),
        (status = 503, description = "Too many streams", content_type = "application/problem+json", body = Problem),
        BadQuery,
    ),
)]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<EventsQuery>,
) -> Result<Response, Problem> {
    let server = query.server.map(|name| shared.server_name(&name));
    let Ok(place) = Arc::clone(&shared.streams).try_acquire_owned() else {
        let detail = "there are too many event streams; close one";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let snapshots = query.snapshots.unwrap_or(false).then(|| {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    });
    let feed = Feed {
        events: shared.manager.events(),
        server: server.transpose()?,
        snapshots,
        greeted: false,
        told: None,
        shared,
        _place: place,
    };
    let stream = stream::unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies are not to collect them.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    Ok(([(unbuffered, HeaderValue::from_static("no"))], sse).into_response())
}

/// One reader's. It is asked for the next event when the last one has been written: what a slow reader has not read is kept
/// for all together, by the manager.
struct Feed {
    events: EventStream,
    server: Option<String>,
    snapshots: Option<Interval>,
    greeted: bool,
    /// When the last event was told: no snapshot after it is from before.
    told: Option<Instant>,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.greeted {
            self.greeted = true;
            // The reader learns at once that it is connected.
            return Some(sse::Event::default().retry(RETRY).comment("mcp-pool"));
        }
        loop {
            let ticks = &mut self.snapshots;
            let tick = async {
                match ticks {
                    Some(ticks) => ticks.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => return None,
                _ = tick => {
                    let snapshot = self.shared.snapshot(self.told);
                    return Some(sse::Event::default().event("snapshot").data(snapshot));
                }
                event = self.events.next() => {
                    let event = event?;
                    if self.server.as_deref().is_none_or(|server| concerns(&event, server)) {
                        self.told = Some(Instant::now());
                        return Some(written(&event));
                    }
                }
            }
        }
    }
}

fn written(event: &Event) -> sse::Event {
    let json = serde_json::to_value(event).unwrap_or_default();
    let name = json["event"].as_str().unwrap_or("event");
    sse::Event::default().event(name).data(json.to_string())
}

/// Whether it is of this server; that some were missed concerns everybody.
fn concerns(event: &Event, server: &str) -> bool {
    event.server().is_none_or(|of| of == server)
}

/// Between two snapshots.
const EVERY: Duration = Duration::from_secs(2);

/// Proxies tend to cut what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After how long a reader comes back whose stream was cut.
const RETRY: Duration = Duration::from_secs(2);
