//! The stream on which a session receives server messages.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    client::{Headers, SessionClient},
    failure::HttpFailure,
    link::Listening,
    stream::Refused,
};
use crate::backoff::doubled_with_jitter;

/// Streams that end too early, or cannot be opened, before a session does without.
const MOST_FAILURES: u32 = 8;

/// Between one stream and the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    first: Duration,
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
        }
    }
}

impl Pauses {
    /// The pause after so many failures in a row. The server may want another, but only the first failures are repeated
    /// sooner for its sake.
    pub(super) fn after(self, failures: u32, wanted: Option<Duration>) -> Duration {
        const FIRST_FAILURES: u32 = 2;
        let pause = doubled_with_jitter(self.first, failures.saturating_sub(1), self.longest);
        let least = match failures <= FIRST_FAILURES {
            true => self.first / 10,
            false => pause,
        };
        wanted.map_or(pause, |wanted| wanted.clamp(least, self.longest))
    }
}

impl SessionClient {
    /// Listens to server messages until it is certain that there will be none. Returns the reason if it is a
    /// failure.
    ///
    /// A server or a proxy may end such a stream as often as it likes; streams that end at once and brought nothing are
    /// given up after a few.
    pub(super) async fn listen(
        &self,
        uri: &Arc<str>,
        session: Option<&Arc<str>>,
        headers: &Headers,
    ) -> Option<HttpFailure> {
        /// A stream that lived for so long was worth opening.
        const STEADY: Duration = Duration::from_secs(30);
        let (mut failures, mut last_id, mut retry) = (0, None::<String>, None);
        loop {
            let began = Instant::now();
            let opened = self.open_stream(uri, session, headers, last_id.as_ref());
            let mut why = None;
            let mut received = false;
            match opened.await {
                Ok(mut stream) => {
                    self.set_listening(Listening::Open);
                    stream.last_id = last_id.take();
                    loop {
                        match stream.next(self).await {
                            Ok(Some(event)) => {
                                received |= self.take_event(event, None).await.is_some();
                            }
                            Ok(None) => break,
                            Err(failure) => {
                                why = Some(failure);
                                break;
                            }
                        }
                    }
                    (last_id, retry) = (stream.last_id, stream.retry.or(retry));
                }
                Err(Refused { failure, is_final }) if is_final => return Some(failure),
                Err(Refused { failure, .. }) => why = Some(failure),
            }
            failures = match received || began.elapsed() >= STEADY {
                true => 0,
                false => failures + 1,
            };
            if failures == MOST_FAILURES {
                return why;
            }
            sleep(self.pauses.after(failures, retry)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_testkit::scripted_http::{Answer, ScriptedHttp};
    use tokio::time::timeout;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{
        connect::http::{
            HttpClient,
            client::{LastError, Opened},
            credentials::Credentials,
            exchange::Target,
            link::Link,
            stream::EventStream,
        },
        redact::Redactor,
        transport_report::TransportReport,
    };

    fn client() -> SessionClient {
        SessionClient {
            http: HttpClient::new().unwrap(),
            link: Link::new(&Arc::default()).0,
            report: Arc::new(TransportReport::default()),
            opened: Opened::default(),
            tasks: TaskTracker::new(),
            max_message_size: 1_000,
            issued: None,
            credentials: Credentials::default(),
            redactor: Redactor::default(),
            last_error: LastError::default(),
            initialized: Arc::default(),
            pauses: Pauses {
                first: Duration::from_millis(1),
                longest: Duration::from_millis(8),
            },
        }
    }

    #[test]
    fn pauses_between_streams_grow_and_heed_the_server_within_the_limit() {
        let pauses = Pauses::default();
        assert!(pauses.after(0, None) < Duration::from_secs(2));
        assert!(pauses.after(4, None) >= Duration::from_secs(8));
        assert_eq!(pauses.after(20, None), Duration::from_secs(30));
        for wanted in [Duration::from_millis(500), Duration::from_secs(9)] {
            assert_eq!(pauses.after(0, Some(wanted)), wanted);
        }
        let none = pauses.after(1, Some(Duration::ZERO));
        assert_eq!(none, Duration::from_millis(100));
        assert!(pauses.after(4, Some(Duration::ZERO)) >= Duration::from_secs(8));
        let too_long = pauses.after(0, Some(Duration::from_secs(3_600)));
        assert_eq!(too_long, Duration::from_secs(30));
    }

    #[tokio::test]
    async fn streams_that_end_at_once_are_given_up_after_a_few() {
        for answer in [
            Answer::events().bytes(": hi\n\n"),
            Answer::status(500, "oops"),
            Answer::events().bytes("data: {").cut(),
        ] {
            let server = ScriptedHttp::start(move |_| Some(answer.clone())).await;
            let client = client();
            let (url, headers) = (server.url().into(), Headers::new());
            let listening = client.listen(&url, None, &headers);
            let gave_up = timeout(Duration::from_secs(20), listening).await;
            assert!(gave_up.is_ok());
            assert_eq!(server.count("GET"), MOST_FAILURES as usize);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn replies_cost_nothing_of_the_rate_at_which_a_server_may_speak_unasked() {
        let reply = serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
        let text = format!("id: 1\ndata:\n\ndata: {reply}\n\n");
        let client = client();
        let target = Target::new(&"http://unused".into(), None, Headers::new());
        let began = Instant::now();
        for _ in 0..20_000 {
            let response = http::Response::new(text.clone()).into();
            let stream = EventStream::new(response, 1_000);
            let replied = client.reply_among_events(stream, 1, &target);
            assert!(replied.await.is_ok());
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_stream_that_brings_messages_is_taken_up_again_as_often_as_it_ends() {
        let message =
            serde_json::json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        let server = ScriptedHttp::start(move |_| Some(Answer::events().event(&message))).await;
        let (link, mut inbox) = Link::new(&Arc::default());
        let client = SessionClient { link, ..client() };
        let url = server.url().into();
        let headers = Headers::new();
        let received = async {
            for _ in 0..MOST_FAILURES * 2 {
                inbox.recv().await.unwrap();
            }
        };
        tokio::select! {
            why = client.listen(&url, None, &headers) => panic!("given up: {why:?}"),
            () = received => {}
        }
    }
}
