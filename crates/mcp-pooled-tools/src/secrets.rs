//! Secrets of a server, redacted in every message about it.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;

/// The secrets of a server's configuration, to be kept out of messages that quote the server. Clones learn together.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    /// Of the configuration, in the order in which they were learnt.
    lasting: Vec<String>,
    /// Values of sources, which may be exchanged every few minutes, in the same order.
    passing: Vec<String>,
    /// The longest first: a secret that is part of another must not leave the other's rest.
    longest_first: Arc<[String]>,
}

impl Secrets {
    /// Shorter values (a port, a flag) would take ordinary words with them.
    const SHORTEST: usize = 6;

    /// Of each kind. Those learnt first are forgotten first: their sessions are long gone.
    const MOST: usize = 1_024;

    pub(crate) fn new(values: impl IntoIterator<Item = String>) -> Self {
        let secrets = Self::default();
        secrets.extend(values);
        secrets
    }

    /// Keeps these out of messages too, beside those before them: sessions opened with those may still be in use.
    pub(crate) fn extend(&self, values: impl IntoIterator<Item = String>) {
        self.add(values, |known| &mut known.lasting);
    }

    /// The same with a value of a source. However many follow it, they displace none of the configuration.
    #[cfg(any(test, feature = "http"))]
    pub(crate) fn extend_passing(&self, values: impl IntoIterator<Item = String>) {
        self.add(values, |known| &mut known.passing);
    }

    fn add(
        &self,
        values: impl IntoIterator<Item = String>,
        kind: fn(&mut Known) -> &mut Vec<String>,
    ) {
        let values = values
            .into_iter()
            .flat_map(forms)
            .filter(|value| value.len() >= Self::SHORTEST);
        let mut known = self.0.write();
        let kept = kind(&mut known);
        for value in values {
            kept.retain(|other| *other != value);
            kept.push(value);
        }
        let too_many = kept.len().saturating_sub(Self::MOST);
        kept.drain(..too_many);
        let mut longest_first = [&known.lasting[..], &known.passing].concat();
        longest_first.sort_by_key(|value| std::cmp::Reverse(value.len()));
        known.longest_first = longest_first.into();
    }

    /// Those of the other, too.
    pub(crate) fn extend_from(&self, other: &Self) {
        self.extend(other.known().iter().cloned());
    }

    fn known(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read().longest_first)
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        self.known()
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// Text of the server as a message may quote it: without secrets, on one line, escaped and of bounded length.
    pub(crate) fn clean(&self, text: &str) -> String {
        mcp_pool_core::sanitize(text, |text| self.redact(text))
    }
}

/// A secret and, if it has several lines, each of them: a log quotes them one by one.
fn forms(secret: String) -> Vec<String> {
    let lines: Vec<_> = if secret.contains(['\n', '\r']) {
        secret.lines().map(|line| line.trim().to_owned()).collect()
    } else {
        Vec::new()
    };
    std::iter::once(secret).chain(lines).collect()
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.known().len())
    }
}

#[cfg(test)]
mod tests {
    use mcp_config::Secret;

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
    fn a_secret_is_kept_out_in_every_form_in_which_it_is_quoted() {
        let headers = ["ApiKey key-1234567", "Basic bWU6aHVudGVyMi1sb25n"];
        let forms = headers.into_iter().flat_map(Secret::of_header);
        let secrets = Secrets::new(forms.map(Secret::into_exposed));
        secrets.extend(["-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n".to_owned()]);
        for (said, shown) in [
            ("bad key-1234567", "bad ***"),
            ("bad Basic bWU6aHVudGVyMi1sb25n", "bad ***"),
            ("bad bWU6aHVudGVyMi1sb25n", "bad ***"),
            ("no user me:hunter2-long", "no user ***"),
            ("bad password hunter2-long", "bad password ***"),
            ("line 2: BgkqhkiG9w0B", "line 2: ***"),
            ("a Basic fact about ApiKey", "a Basic fact about ApiKey"),
        ] {
            assert_eq!(secrets.redact(said), shown, "{said}");
        }
    }

    #[test]
    fn tokens_that_are_exchanged_again_and_again_displace_no_secret_of_the_configuration() {
        let secrets = Secrets::new(["fixed-api-key".into()]);
        for number in 0..2 * Secrets::MOST {
            secrets.extend_passing([format!("token-{number:06}")]);
        }
        assert_eq!(
            secrets.redact("fixed-api-key, token-002047"),
            "***, ***",
            "the first and the last"
        );
        assert_eq!(secrets.known().len(), 1 + Secrets::MOST);
    }

    #[test]
    fn a_secret_that_was_exchanged_for_another_is_kept_out_still() {
        let secrets = Secrets::new(["first-token".into()]);
        let elsewhere = secrets.clone();
        secrets.extend_from(&Secrets::new(["second-token".into()]));
        assert_eq!(elsewhere.redact("first-token, second-token"), "***, ***");
    }
}
