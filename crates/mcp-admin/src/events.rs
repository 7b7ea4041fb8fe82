//! The event stream: what happens to sessions, breakers and alerts, as server-sent events.

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

const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);

/// Proxies tend to close connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a reader whose stream broke off waits before it reconnects.
const RETRY: Duration = Duration::from_secs(2);

/// Which events are sent.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Only those of one server.
    server: Option<String>,
    /// Also sends an event `snapshot` with the state of all servers, at once and every two seconds.
    #[serde(deserialize_with = "text")]
    snapshots: Option<bool>,
}

/// Events of sessions, breakers and alerts
///
/// Server-sent events with JSON data. A reader that is too slow loses the oldest events and gets an event `missed` with their
/// number. Nothing is kept for readers that reconnect.
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
        let mut ticks = interval(SNAPSHOT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    });
    let reader = Reader {
        events: shared.manager.events(),
        server: server.transpose()?,
        snapshots,
        greeted: false,
        last_event: None,
        shared,
        _place: place,
    };
    let stream = stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Keeps proxies from buffering.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    Ok(([(unbuffered, HeaderValue::from_static("no"))], sse).into_response())
}

/// The reader of a stream. The next event is taken when the last one has been written: events that a slow reader has not
/// read are kept once for all, by the manager.
struct Reader {
    events: EventStream,
    server: Option<String>,
    snapshots: Option<Interval>,
    greeted: bool,
    /// When the last event was sent: later snapshots are no older.
    last_event: Option<Instant>,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.greeted {
            self.greeted = true;
            // Shows the reader at once that it is connected.
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
                () = self.shared.shutdown.stopping() => return None,
                _ = tick => {
                    let snapshot = self.shared.snapshot(self.last_event);
                    return Some(sse::Event::default().event("snapshot").data(snapshot));
                }
                event = self.events.next() => {
                    let event = event?;
                    if self.server.as_deref().is_none_or(|server| concerns(&event, server)) {
                        self.last_event = Some(Instant::now());
                        return Some(encode(&event));
                    }
                }
            }
        }
    }
}

fn encode(event: &Event) -> sse::Event {
    let json = serde_json::to_value(event).unwrap_or_default();
    let name = json["event"].as_str().unwrap_or("event");
    sse::Event::default().event(name).data(json.to_string())
}

/// Whether an event is of this server. That some were missed concerns all readers.
fn concerns(event: &Event, server: &str) -> bool {
    event.server().is_none_or(|of| of == server)
}
