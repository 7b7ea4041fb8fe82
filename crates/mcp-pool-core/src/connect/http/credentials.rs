//! The headers of a connector whose values come from sources.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::Headers;
use crate::{
    credentials::{IssuedCredentials, Refusal, RefusalTracker},
    error::{OpenError, OpenErrorKind, Phase},
    redact::Redactor,
    source::{Asked, SourceError, ValueSource},
};

/// Sources, what they last gave, and what the server said to it. Clones share the latter.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    sources: Vec<(HeaderName, Arc<dyn ValueSource>)>,
    book: Arc<Book>,
}

#[derive(Default)]
struct Book {
    tracker: Arc<RefusalTracker>,
    newest: Mutex<Newest>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Newest {
    issue: Option<Issue>,
    /// Times that the sources have answered.
    rounds: u64,
    /// Ended sessions, with their headers, of which the server is notified once there are valid credentials.
    ended: Vec<(Arc<str>, Headers)>,
}

/// What the sources gave at one time.
#[derive(Clone)]
pub(super) struct Issue {
    headers: Arc<Headers>,
    pub(super) issued: IssuedCredentials,
}

impl Credentials {
    /// These, with a source for one more header. Nothing was given out of them yet.
    pub(super) fn with(&self, name: HeaderName, source: Arc<dyn ValueSource>) -> Self {
        let mut with = self.without(&name);
        with.sources.push((name, source));
        with
    }

    /// These, without a source for this header. Nothing was given out of them yet.
    pub(super) fn without(&self, name: &HeaderName) -> Self {
        let mut sources = self.sources.clone();
        sources.retain(|(other, _)| other != name);
        Self {
            sources,
            book: Arc::default(),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources.iter().map(|(name, _)| name)
    }

    pub(super) fn are_none(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether a source can give a value with more scope.
    pub(super) fn can_step_up(&self) -> bool {
        self.sources.iter().any(|(_, source)| source.can_step_up())
    }

    /// Completes when a source has another value to give.
    pub(super) async fn changed(&self) {
        if self.sources.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.sources.iter().map(|(_, source)| source.changed());
        futures::future::select_all(changes).await;
    }

    /// What a session is to be opened with, asked for now. Also why the sources were asked.
    ///
    /// An opening that comes while another is asking takes what that one is given.
    pub(super) async fn ask(&self) -> Result<(Issue, Asked), OpenError> {
        let rounds = self.book.newest.lock().rounds;
        let _alone = self.book.asking.lock().await;
        let (newest, asked_meanwhile) = {
            let newest = self.book.newest.lock();
            (newest.issue.clone(), newest.rounds > rounds)
        };
        let refusal = newest.as_ref().and_then(|issue| issue.issued.refusal());
        if let Some(issue) = newest
            .clone()
            .filter(|_| asked_meanwhile && refusal.is_none())
        {
            return Ok((issue, Asked::Open));
        }
        let why = refusal
            .as_ref()
            .map_or(Asked::Open, |refusal| refusal.asked);
        let headers = self.values(why, refusal.as_ref()).await?;
        let issue = match newest {
            Some(issue) if refusal.is_none() && *issue.headers == headers => issue,
            before => Issue {
                headers: Arc::new(headers),
                issued: {
                    let number = before.map_or(0, |issue| issue.issued.number()) + 1;
                    IssuedCredentials::new(Arc::clone(&self.book.tracker), number, refusal)
                },
            },
        };
        let mut newest = self.book.newest.lock();
        newest.issue = Some(issue.clone());
        newest.rounds += 1;
        Ok((issue, why))
    }

    /// The newest values, for what belongs to sessions that were opened with older ones.
    pub(super) fn newest(&self) -> Option<Arc<Headers>> {
        let newest = self.book.newest.lock();
        newest
            .issue
            .as_ref()
            .map(|issue| Arc::clone(&issue.headers))
    }

    /// Notes the end of a session if the server cannot be notified yet, because it refuses all credentials.
    pub(super) fn keep_if_refused(&self, ended: &Arc<str>, headers: &Headers) -> bool {
        /// Beyond that, the server's own clean-up has to do.
        const MOST: usize = 256;
        let mut newest = self.book.newest.lock();
        let issue = newest.issue.as_ref();
        let refused = issue.is_some_and(|issue| issue.issued.is_refused());
        if refused && newest.ended.len() < MOST {
            newest.ended.push((Arc::clone(ended), headers.clone()));
        }
        refused
    }

    /// The sessions whose end was kept back.
    pub(super) fn take_ended(&self) -> Vec<(Arc<str>, Headers)> {
        std::mem::take(&mut self.book.newest.lock().ended)
    }

    async fn values(&self, why: Asked, refusal: Option<&Refusal>) -> Result<Headers, OpenError> {
        let challenge = refusal.and_then(|refusal| refusal.challenge.as_ref());
        let none = |name, error| none(name, error).with_challenge(challenge.cloned());
        let mut headers = Headers::new();
        for (name, source) in &self.sources {
            let value = match source.value_for(why, challenge).await {
                // The server's challenge will say what the source needs to know.
                Err(error) if error.is_none_yet() && why == Asked::Open => continue,
                value => value.map_err(|error| none(name, error))?,
            };
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                let message = "its source gave characters that HTTP does not allow";
                none(name, SourceError::new(message))
            })?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }
}

impl Issue {
    pub(super) fn headers(&self) -> &Headers {
        &self.headers
    }

    pub(super) fn differs_from(&self, other: &Self) -> bool {
        self.headers != other.headers
    }
}

/// What takes the values of headers out of what a server says.
pub(super) fn redactor_of(headers: &Headers) -> Redactor {
    /// Shorter values would take ordinary words with them.
    const SHORTEST: usize = 6;
    let values: Vec<_> = headers
        .values()
        .filter_map(|value| value.to_str().ok())
        // A token is often quoted without the word in front of it.
        .map(|value| value.rsplit(' ').next().unwrap_or(value).to_owned())
        .filter(|value| value.len() >= SHORTEST)
        .collect();
    Redactor::new(move |text| {
        values
            .iter()
            .fold(text.to_owned(), |text, value| text.replace(value, "***"))
    })
}

fn none(header: &HeaderName, mut error: SourceError) -> OpenError {
    let message = format!("no value for header `{header}`: {error}");
    let stderr = error.take_stderr();
    OpenError::new(OpenErrorKind::Credentials, Phase::Open, message)
        .with_stderr(stderr)
        .with_source(error)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.sources.iter().map(|(name, source)| (name, source)))
            .finish()
    }
}
