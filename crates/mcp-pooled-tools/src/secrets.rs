//! What must not be shown.

use std::{error::Error as StdError, fmt, sync::Arc};

use parking_lot::RwLock;

/// The secrets of a server's configuration, to be kept out of messages that quote the server. Clones learn together.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    /// In the order in which they were learnt.
    values: Vec<String>,
    /// The longest first: a secret that is part of another must not leave the other's rest.
    longest_first: Arc<[String]>,
}

impl Secrets {
    /// Shorter values (a port, a flag) would take ordinary words with them.
    const SHORTEST: usize = 6;

    /// Those learnt first are forgotten first: their sessions are long gone.
    const MOST: usize = 1_024;

    pub(crate) fn new(values: impl IntoIterator<Item = String>) -> Self {
        let secrets = Self::default();
        secrets.learn(values);
        secrets
    }

    /// Keeps these out of messages too, beside those before them: sessions opened with those may still be in use.
    pub(crate) fn learn(&self, values: impl IntoIterator<Item = String>) {
        let values = values
            .into_iter()
            .filter(|value| value.len() >= Self::SHORTEST);
        let mut known = self.0.write();
        for value in values {
            known.values.retain(|other| *other != value);
            known.values.push(value);
        }
        let too_many = known.values.len().saturating_sub(Self::MOST);
        known.values.drain(..too_many);
        let mut longest_first = known.values.clone();
        longest_first.sort_by_key(|value| std::cmp::Reverse(value.len()));
        known.longest_first = longest_first.into();
    }

    /// Those of the other, too.
    pub(crate) fn learn_from(&self, other: &Self) {
        self.learn(other.known().iter().cloned());
    }

    fn known(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read().longest_first)
    }

    /// Whether an error, or what lies beneath it, shows one of them.
    pub(crate) fn are_in(&self, error: &(dyn StdError + 'static)) -> bool {
        let known = self.known();
        let mut level = Some(error);
        while let Some(error) = level {
            let shown = format!("{error} {error:?}");
            if known.iter().any(|secret| shown.contains(secret)) {
                return true;
            }
            level = error.source();
        }
        false
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        self.known()
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.known().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_out_of_what_the_server_said() {
        let secrets = Secrets::new(["hunter2-long".into(), "hunter2".into(), "80".into()]);
        assert_eq!(
            secrets.redact("no hunter2-long, no hunter2, but port 80"),
            "no ***, no ***, but port 80"
        );
    }

    #[test]
    fn a_secret_that_was_exchanged_for_another_is_kept_out_still() {
        let secrets = Secrets::new(["first-token".into()]);
        let elsewhere = secrets.clone();
        secrets.learn_from(&Secrets::new(["second-token".into()]));
        assert_eq!(elsewhere.redact("first-token, second-token"), "***, ***");
    }
}
