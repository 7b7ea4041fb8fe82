//! Streams of the daemon that stay open: they are opened again when they end, as soon as there is a daemon.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use tokio::time::sleep;

use super::{Bridge, SESSION_ID, sse};
use crate::daemon::{Dial, http_request};

/// Writes the messages that belong to no request, for as long as the client is there.
pub(super) async fn run(bridge: &Bridge) {
    let mut session = bridge.session.subscribe();
    let mut pause = SHORTEST;
    loop {
        let id = session.borrow_and_update().clone();
        let Some(id) = id else {
            // The sender lives as long as this.
            let _ = session.changed().await;
            continue;
        };
        let listening = async {
            let connection = bridge.dial.socket.connect().await.ok()?;
            let get = bridge
                .request(Method::GET)
                .header(header::ACCEPT, "text/event-stream")
                .header(SESSION_ID, &id)
                .body(Full::default());
            let mut answer = connection.send(get.ok()?).await.ok()?;
            let status = answer.response.status();
            if status.is_success() {
                let mut events = sse::Events::new(answer.response.body_mut());
                while let Ok(Some(message)) = events.next().await {
                    bridge.write(message).await;
                }
            }
            Some(status)
        };
        let ended = tokio::select! {
            ended = listening => ended,
            _ = session.changed() => {
                session.mark_changed();
                continue;
            }
        };
        pause = next_pause(pause, ended.is_some_and(|status| status.is_success()));
        tokio::select! {
            // The next request has it made again.
            () = sleep(pause), if ended != Some(StatusCode::NOT_FOUND) => {}
            () = bridge.dial.started.notified() => {}
            _ = session.changed() => session.mark_changed(),
        }
    }
}

/// Keeps a response of the daemon open: it knows then that this process is there. `answered` gets the headers of each.
pub(crate) async fn hold(dial: &Dial, path: &str, answered: impl Fn(&HeaderMap)) {
    let mut pause = SHORTEST;
    loop {
        let holding = async {
            let connection = dial.socket.connect().await.ok()?;
            let get = http_request(Method::GET, path).body(Full::default()).ok()?;
            let mut answer = connection.send(get).await.ok()?;
            answered(answer.response.headers());
            while let Some(Ok(_)) = answer.response.body_mut().frame().await {}
            Some(())
        };
        pause = next_pause(pause, holding.await.is_some());
        tokio::select! {
            () = sleep(pause) => {}
            () = dial.started.notified() => {}
        }
    }
}

fn next_pause(last: Duration, was_open: bool) -> Duration {
    match was_open {
        true => SHORTEST,
        false => (last * 2).min(LONGEST),
    }
}

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
