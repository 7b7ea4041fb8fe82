//! Event streams: reading one, and going on with one that broke off.

use std::{sync::Arc, time::Duration};

use http::{Method, header::ACCEPT};
use reqwest::Response;
use tokio::{
    task::coop::consume_budget,
    time::{sleep, timeout},
};

use super::{
    client::{Headers, SessionClient},
    exchange::{LAST_EVENT_ID, Outcome, Target, in_place_of_reply, with_headers},
    failure::{FailureKind, HttpFailure, innermost},
    link::Routed,
    response::{EVENTS, MediaType, media_type, refusal},
    sse::{Event, EventParser},
};

/// An event stream, and where to take it up again.
pub(super) struct EventStream {
    response: Response,
    parser: EventParser,
    limit: usize,
    is_over: bool,
    pub(super) last_id: Option<String>,
    pub(super) retry: Option<Duration>,
}

impl EventStream {
    pub(super) fn new(response: Response, limit: usize) -> Self {
        Self {
            response,
            parser: EventParser::new(limit),
            limit,
            is_over: false,
            last_id: None,
            retry: None,
        }
    }

    /// The next event; `None` at the end.
    pub(super) async fn next(
        &mut self,
        client: &SessionClient,
    ) -> Result<Option<Event>, HttpFailure> {
        loop {
            // Events that have been read already cost no wait: without this a server that writes without end would keep
            // the worker.
            consume_budget().await;
            client.link.pace.ready(client.report.server()).await;
            if let Some(event) = self.parser.next() {
                return Ok(Some(self.note(event)));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => {
                    self.parser.push(&chunk).map_err(|_| self.too_large())?;
                    client.link.pace.count_bytes(self.parser.take_ignored());
                }
                Ok(None) => {
                    self.is_over = true;
                    if let Some(event) = self.parser.finish() {
                        return Ok(Some(self.note(event)));
                    }
                }
                Err(error) => {
                    let message = format!("the event stream broke off: {}", innermost(&error));
                    return Err(HttpFailure::no_reply(message));
                }
            }
        }
    }

    fn note(&mut self, event: Event) -> Event {
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        self.retry = event.retry.or(self.retry);
        event
    }

    fn too_large(&self) -> HttpFailure {
        let message = format!(
            "the server sent an event of more than {} bytes (max_message_size)",
            self.limit
        );
        HttpFailure::new(FailureKind::NotMcp, message)
    }

    /// Reads what little is left, so that the connection can serve the next request.
    async fn drain(mut self) {
        const WITHIN: Duration = Duration::from_millis(50);
        const MOST: usize = 64 * 1024;
        let rest = async {
            let mut read = 0;
            while let Ok(Some(chunk)) = self.response.chunk().await {
                read += chunk.len();
                if read > MOST {
                    break;
                }
            }
        };
        let _ = timeout(WITHIN, rest).await;
    }
}

impl SessionClient {
    /// The stream from the last event on, if the server names its events; else what broke it off.
    async fn resume(
        &self,
        target: &Target,
        broken: &EventStream,
        why: HttpFailure,
    ) -> Result<EventStream, HttpFailure> {
        let Some(last_id) = &broken.last_id else {
            return Err(why);
        };
        /// Tries at opening, for a server that is gone has most often lost the call, too.
        const MOST_FAILURES: u32 = 3;
        let mut failures = 0;
        loop {
            sleep(self.pauses.after(failures, broken.retry)).await;
            let (uri, session) = (&target.uri, target.session.as_ref());
            let opened = self.open_stream(uri, session, &target.headers, Some(last_id));
            match opened.await {
                Ok(mut stream) => {
                    stream.last_id = Some(last_id.clone());
                    stream.retry = broken.retry;
                    return Ok(stream);
                }
                Err(Refused { failure, is_final }) => {
                    failures += 1;
                    if is_final || failures == MOST_FAILURES {
                        let message = format!("{why}; it could not be resumed: {failure}");
                        return Err(HttpFailure::no_reply(message));
                    }
                }
            }
        }
    }
}

/// A stream that was not opened.
pub(super) struct Refused {
    pub(super) failure: HttpFailure,
    /// Asking again would not help.
    pub(super) is_final: bool,
}

impl SessionClient {
    /// The reply on the stream that answers its request. What comes before it is passed on.
    ///
    /// A server may end the stream and have it resumed as often as it likes: that is how it is polled for a slow reply.
    /// The call's own limit bounds it.
    pub(super) async fn reply_among_events(
        &self,
        mut stream: EventStream,
        id: i64,
        target: &Target,
    ) -> Result<Outcome, HttpFailure> {
        let mut stray = None;
        let mut passed = false;
        loop {
            let why = match stream.next(self).await {
                Ok(Some(event)) => {
                    match self.take_event(event, Some(id)).await {
                        Some(Routed::Reply(reply)) => {
                            if passed {
                                self.link.passed().await;
                            }
                            if !stream.is_over {
                                self.tasks.spawn(stream.drain());
                            }
                            return Ok(reply);
                        }
                        Some(Routed::Stray(other, reply)) => stray = Some((other, reply)),
                        Some(Routed::Passed) => passed = true,
                        None => {}
                    }
                    continue;
                }
                Ok(None) => match stray.take().filter(|_| stream.last_id.is_none()) {
                    Some((other, reply)) => return in_place_of_reply(other, reply, id),
                    None => {
                        HttpFailure::no_reply("the server ended its event stream without a reply")
                    }
                },
                Err(failure) if failure.kind() == FailureKind::NotMcp => return Err(failure),
                Err(failure) => failure,
            };
            stream = self.resume(target, &stream, why).await?;
        }
    }

    pub(super) async fn open_stream(
        &self,
        uri: &Arc<str>,
        session: Option<&Arc<str>>,
        headers: &Headers,
        last_id: Option<&String>,
    ) -> Result<EventStream, Refused> {
        let headers = self.with_newest(headers.clone());
        let request = self.http.request(Method::GET, uri);
        let mut request = with_headers(request, session, &headers).header(ACCEPT, EVENTS);
        if let Some(last_id) = last_id {
            request = request.header(LAST_EVENT_ID, last_id);
        }
        let response = self.http.send(request).await;
        let response = response.map_err(|failure| Refused {
            failure,
            is_final: false,
        })?;
        match (response.status().as_u16(), media_type(response.headers())) {
            (200..=299, MediaType::Events) => Ok(EventStream::new(response, self.max_message_size)),
            (200..=299, _) => Err(Refused {
                failure: HttpFailure::new(FailureKind::NotMcp, "GET is answered without events"),
                is_final: true,
            }),
            (status, _) => Err(Refused {
                failure: refusal(response).await,
                is_final: status < 500 && status != 429 || status == 501,
            }),
        }
    }

    /// Takes in an event; `None` if it is no message.
    pub(super) async fn take_event(&self, event: Event, own: Option<i64>) -> Option<Routed> {
        if event.data.is_empty() {
            return None;
        }
        if !event.is_message {
            self.link.pace.count(event.data.len());
            return None;
        }
        let routed = self.take(event.data, own).await;
        match &routed {
            None => self.report.noise(),
            Some(Routed::Stray(..)) => {
                tracing::debug!("the server sent a reply that nothing waits for");
            }
            Some(_) => {}
        }
        routed
    }
}
