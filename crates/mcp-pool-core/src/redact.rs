//! Sanitizes text of a server for errors, status and log: no secrets, one line, bounded length.
//!
//! A server may repeat the secrets it was given, on stderr or in an error. Its text may also hold line breaks, terminal
//! escapes, and megabytes. It is cleaned once, where it enters the pool, so that later readers need not.

use std::{
    error::Error,
    fmt, iter,
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

    /// This one, and then another.
    #[cfg(feature = "http")]
    pub(crate) fn and(&self, other: &Self) -> Self {
        let (first, second) = (self.clone(), other.clone());
        Self::new(move |text| second.apply(first.apply(text.to_owned())))
    }

    pub(crate) fn apply(&self, text: String) -> String {
        let Some(redact) = &self.0 else {
            return text;
        };
        // One that panics must not stop the draining of stderr, nor let the text pass.
        catch_unwind(AssertUnwindSafe(|| redact(&text))).unwrap_or_else(|_| "[redacted]".into())
    }

    /// [`sanitize`] with this redactor.
    pub(crate) fn sanitize(&self, text: &str) -> String {
        sanitize(text, |text| self.apply(text.to_owned()))
    }

    /// An error fit for a message, with all that is beneath it. What does not need it stays as it is, of the rest the
    /// words are kept. `None` if one of them shows a secret, to users or to developers.
    pub(crate) fn clean(
        &self,
        error: Box<dyn Error + Send + Sync>,
    ) -> Option<Box<dyn Error + Send + Sync>> {
        let shows = |text: String| self.apply(text.clone()) != text;
        if chain(&*error).any(|error| shows(error.to_string()) || shows(format!("{error:?}"))) {
            return None;
        }
        let texts: Vec<_> = chain(&*error).map(ToString::to_string).collect();
        let clean: Vec<_> = texts.iter().map(|text| self.sanitize(text)).collect();
        if clean == texts {
            return Some(error);
        }
        let cleaned = clean.into_iter().rev().fold(None, |beneath, message| {
            Some(Box::new(Cleaned { message, beneath }))
        });
        cleaned.map(|cleaned| cleaned as _)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redactor").field(&self.0.is_some()).finish()
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

/// The words of an error that were not fit for a message.
#[derive(Debug)]
struct Cleaned {
    message: String,
    beneath: Option<Box<Cleaned>>,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Cleaned {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.beneath.as_deref().map(|beneath| beneath as _)
    }
}

/// Bytes of a server's text that a message quotes.
pub const MAX_QUOTED: usize = 1_024;

/// Makes text from a server fit for a message.
///
/// Takes secrets out by `redact`, joins lines, escapes control and bidirectional characters (`\u{1b}`), and cuts the text
/// at [`MAX_QUOTED`] bytes; a cut text ends in its original length. The time it takes does not grow with the text.
///
/// `redact` is called before and after lines are joined, so that a secret is found in either form.
pub fn sanitize(text: &str, redact: impl Fn(&str) -> String) -> String {
    /// Bytes that are looked at.
    const CONSIDERED: usize = 64 * 1024;
    /// Bytes before a cut that may be the first part of a secret.
    const LONGEST_SECRET: usize = 16 * 1024;
    let considered = prefix(text, CONSIDERED);
    let clean = redact(&one_line(&redact(considered)));
    let mut kept = clean.as_str();
    if considered.len() < text.len() {
        kept = prefix(kept, kept.len().saturating_sub(LONGEST_SECRET));
    }
    kept = prefix(kept, MAX_QUOTED);
    if considered.len() == text.len() && kept.len() == clean.len() {
        return clean;
    }
    format!("{kept}… ({} bytes)", text.len())
}

/// The text on one line: each run of white space becomes one space.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    escape(&words.join(" "))
}

/// The text with the characters escaped that a terminal obeys or does not show; tabs stay.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if must_be_escaped(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Control characters, and those that change the direction of text or cannot be seen.
fn must_be_escaped(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    );
    invisible || c.is_control() && c != '\t'
}

/// The longest part from the start that has at most `bytes` bytes.
fn prefix(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rfind(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        sanitize(text, str::to_owned)
    }

    #[test]
    fn text_that_a_terminal_obeys_is_escaped_and_on_one_line() {
        assert_eq!(plain("it broke"), "it broke");
        assert_eq!(
            plain("\u{1b}[2Jfirst\r\n\tsecond\0 \u{202e}third\u{85}end\u{2028}\n"),
            r"\u{1b}[2Jfirst second\u{0} \u{202e}third end"
        );
    }

    #[test]
    fn a_long_text_is_cut_and_says_how_long_it_was() {
        let text = "é".repeat(8 * 1024 * 1024);
        let shown = plain(&text);
        assert!(shown.ends_with("é… (16777216 bytes)"), "{shown}");
        assert!(shown.len() < MAX_QUOTED + 32, "{}", shown.len());
        assert_eq!(plain(&"x".repeat(MAX_QUOTED)).len(), MAX_QUOTED);
    }

    #[test]
    fn a_secret_is_found_across_lines_and_at_every_cut() {
        let secret = "one two";
        let redact = |text: &str| text.replace(secret, "***");
        assert_eq!(sanitize("a one\n two b", redact), "a *** b");
        for length in [MAX_QUOTED, 64 * 1024] {
            for before in length - 8..=length {
                let text = "x".repeat(before) + secret + &"y".repeat(100);
                assert!(!sanitize(&text, redact).contains("one"), "{before}");
            }
        }
        // Redaction makes the text so short that the end of what was looked at comes into sight.
        let text = secret.repeat(64 * 1024 / secret.len()) + secret;
        assert!(!sanitize(&text, |text| text.replace(secret, "")).contains("one"));
    }

    #[test]
    fn a_chain_is_cleaned_where_it_needs_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Level(&'static str, #[source] Option<Box<Level>>);

        let chain_of = |redactor: &Redactor, upper, lower| {
            let lower = Some(Box::new(Level(lower, None)));
            let cleaned = redactor.clean(Box::new(Level(upper, lower)))?;
            let is_same = cleaned.is::<Level>();
            let texts: Vec<_> = chain(&*cleaned).map(ToString::to_string).collect();
            Some((texts.join("; "), is_same))
        };
        let none = Redactor::default();
        assert_eq!(
            chain_of(&none, "it broke", "no route"),
            Some(("it broke; no route".into(), true))
        );
        assert_eq!(
            chain_of(&none, "it broke", "\u{1b}[2Jno\nroute"),
            Some((r"it broke; \u{1b}[2Jno route".into(), false))
        );
        let redactor = Redactor::new(|text| text.replace("secret", "***"));
        assert_eq!(chain_of(&redactor, "it broke", "with secret"), None);
    }

    #[test]
    fn a_redactor_that_panics_lets_nothing_pass() {
        let redactor = Redactor::new(|_| panic!("as the test wants it"));
        assert_eq!(redactor.apply("secret".into()), "[redacted]");
    }
}
