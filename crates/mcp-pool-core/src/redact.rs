//! Secrets stay out of what is shown: errors, status, log.
//!
//! A server may say back what it was given, on stderr or in its refusal. What it says is cleaned once, where it
//! enters the pool, so that nobody who shows it has to remember.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

type Redact = dyn Fn(&str) -> String + Send + Sync;

/// What takes secrets out of a text; by default nothing does.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Option<Arc<Redact>>);

impl Redactor {
    pub(crate) fn new(redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(redact)))
    }

    pub(crate) fn apply(&self, text: String) -> String {
        let Some(redact) = &self.0 else {
            return text;
        };
        // One that panics must not stop the draining of stderr, nor let the text pass.
        catch_unwind(AssertUnwindSafe(|| redact(&text))).unwrap_or_else(|_| "[redacted]".into())
    }

    /// Whether an error or one beneath it shows a secret, to users or to developers.
    pub(crate) fn finds_any_in(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        self.0.is_some()
            && std::iter::successors(Some(error), |error| error.source()).any(|error| {
                [error.to_string(), format!("{error:?}")]
                    .into_iter()
                    .any(|text| self.apply(text.clone()) != text)
            })
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redactor").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redactor_that_panics_lets_nothing_pass() {
        let redactor = Redactor::new(|_| panic!("as the test wants it"));
        assert_eq!(redactor.apply("secret".into()), "[redacted]");
    }
}
