//! Messages for the causes of an error.
//!
//! Errors of transports quote the server, and each level quotes the one beneath it. So the chain is written out once, when
//! the error is made: cleaned like a message, and without the levels that the one above quotes. A chain printed with
//! `{:#}` says nothing twice.

use std::{error::Error as StdError, fmt};

use crate::secrets::Secrets;

/// One level of the chain.
pub(super) struct Cause {
    text: String,
    beneath: Option<Box<Cause>>,
}

impl Cause {
    /// The first level from `error` on that `above` does not quote, with those beneath it.
    pub(super) fn beneath(
        above: &str,
        error: Option<&(dyn StdError + 'static)>,
        secrets: &Secrets,
    ) -> Option<Self> {
        let (mut levels, mut last, mut next) = (Vec::new(), above.to_owned(), error);
        while let Some(error) = next.filter(|_| levels.len() < DEEPEST) {
            let text = secrets.clean(&error.to_string());
            if !text.is_empty() && !last.contains(&text) {
                levels.push(text.clone());
                last = text;
            }
            next = error.source();
        }
        levels.into_iter().rev().fold(None, |beneath, text| {
            Some(Self {
                text,
                beneath: beneath.map(Box::new),
            })
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cause").field(&self.text).finish()
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.beneath.as_deref().map(|cause| cause as _)
    }
}

/// Levels that are kept.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Level(&'static str, Option<Box<Level>>);

    impl fmt::Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Level {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|level| level as _)
        }
    }

    #[test]
    fn a_level_that_is_quoted_above_is_left_out_and_a_secret_is_not_shown() {
        let error = Level(
            "transport: broken pipe",
            Some(Box::new(Level(
                "broken pipe",
                Some(Box::new(Level(
                    "token s3cret-token\n\u{1b}[2J refused",
                    None,
                ))),
            ))),
        );
        let secrets = Secrets::new(["s3cret-token".to_owned()]);
        let cause = Cause::beneath("not sent: transport: broken pipe", Some(&error), &secrets);
        let cause = cause.expect("the last level is new");
        assert_eq!(cause.to_string(), r"token *** \u{1b}[2J refused");
        assert!(cause.source().is_none());
        let quoted = io::Error::other("refused");
        assert!(Cause::beneath("it was refused", Some(&quoted), &secrets).is_none());
    }
}
