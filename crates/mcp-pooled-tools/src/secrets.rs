//! What must not be shown.

use std::{error::Error as StdError, fmt, sync::Arc};

/// The secrets of a server's configuration, to be kept out of messages that quote the server.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<[String]>);

impl Secrets {
    /// Shorter values (a port, a flag) would take ordinary words with them.
    const SHORTEST: usize = 6;

    pub(crate) fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<_> = values
            .into_iter()
            .filter(|value| value.len() >= Self::SHORTEST)
            .collect();
        // A secret that is part of another must not leave the other's rest.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values.into())
    }

    /// Whether an error, or what lies beneath it, shows one of them.
    pub(crate) fn are_in(&self, error: &(dyn StdError + 'static)) -> bool {
        let mut level = Some(error);
        while let Some(error) = level {
            let shown = format!("{error} {error:?}");
            if self.0.iter().any(|secret| shown.contains(secret)) {
                return true;
            }
            level = error.source();
        }
        false
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
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
}
