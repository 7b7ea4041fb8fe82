//! Settings that are one of a few words.
//!
//! Enums and not booleans: `replay = "safe"` explains itself, and a third choice can be added.

macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every choice, the default first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that stands for this choice in a file or a variable.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(word: &str) -> Result<Self, UnknownChoice> {
                match word { $($word => Ok(Self::$variant),)+ _ => Err(UnknownChoice(&[$($word),+])) }
            }
        }

        impl $name {
            pub(crate) const WORDS: &'static str = choices!(@words $($word)+);
            pub(crate) const LIST: &'static [&'static str] = &[$($word),+];
        }
    )+};
    (@words $first:literal $($rest:literal)*) => { concat!("one of ", $first $(, ", ", $rest)*) };
}

/// A word that is none of the choices; it prints those that are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", .0.join(", "))]
pub struct UnknownChoice(&'static [&'static str]);

choices! {
    /// Who may use a session at the same time.
    Sharing {
        /// A session carries several calls at once, from any caller of the same identity.
        #[default]
        Multiplexed = "multiplexed",
        /// One call at a time on a session: for servers that break under concurrent requests.
        Exclusive = "exclusive",
        /// A session belongs to one scope and is closed, not reused, when the scope ends: for servers with state.
        Pinned = "pinned",
    }

    /// Which handshake a session begins with.
    Lifecycle {
        /// Find out which era the server speaks, and remember it.
        #[default]
        Auto = "auto",
        /// The handshake with `initialize`.
        Initialize = "initialize",
        /// The handshake without a session, by discovery.
        Discover = "discover",
    }

    /// Which version of the protocol a server is offered.
    OfferedVersion {
        /// The newest of the handshake that a session begins with.
        #[default]
        #[serde(rename = "newest")]
        Newest = "newest",
        /// 2024-11-05, by `initialize`.
        #[serde(rename = "2024-11-05")]
        V20241105 = "2024-11-05",
        /// 2025-03-26, by `initialize`.
        #[serde(rename = "2025-03-26")]
        V20250326 = "2025-03-26",
        /// 2025-06-18, by `initialize`.
        #[serde(rename = "2025-06-18")]
        V20250618 = "2025-06-18",
        /// 2025-11-25, by `initialize`.
        #[serde(rename = "2025-11-25")]
        V20251125 = "2025-11-25",
        /// 2026-07-28, by discovery.
        #[serde(rename = "2026-07-28")]
        V20260728 = "2026-07-28",
    }

    /// When sessions are opened.
    Initialization {
        /// The first use opens one session. The minimum is opened, in the background, once two calls have run at once.
        #[default]
        Lazy = "lazy",
        /// The minimum is opened at start; a server that fails does not stop the start.
        Eager = "eager",
        /// The minimum is opened at start, and a server that fails, or is configured wrongly, stops the start.
        FailFast = "fail_fast",
    }

    /// Whether a call whose answer was lost is sent again.
    Replay {
        /// Only if it was provably not sent, or its tool says that running it twice is harmless.
        #[default]
        Safe = "safe",
        /// Never.
        Never = "never",
        /// Always, for any tool: only for servers whose every tool may run twice.
        Always = "always",
    }

    /// What happens to a call that the pool has no room for.
    Fallback {
        /// It runs on a temporary session outside the pool, at most `max_direct` at once.
        #[default]
        Direct = "direct",
        /// The caller gets the pool's error.
        Error = "error",
    }

    /// Whether names of tools and prompts begin with the name of their server, where many servers are one.
    Prefix {
        /// `server__tool`. A server more or less changes no name.
        #[default]
        Always = "always",
        /// `tool`. A name that two servers have is refused: neither is listed, and a call says why.
        Never = "never",
    }

    /// What happens when a tool is not what it was at its first use.
    Pins {
        /// It is used as it is now, and the log shows the difference.
        #[default]
        Warn = "warn",
        /// It is used as it is now.
        Allow = "allow",
        /// It is neither listed nor called before it is approved.
        Block = "block",
    }

    /// What is held against a tool's schemas.
    Validate {
        /// Nothing: the server judges.
        #[default]
        Off = "off",
        /// Arguments, before anything is sent.
        Arguments = "arguments",
        /// Arguments, and structured results.
        Both = "both",
    }
}

/// A regular expression of a word in upper or lower case, with `between` after each letter.
pub(crate) fn any_spelling(word: &str, between: &str) -> String {
    word.chars()
        .map(|c| match c {
            '_' => "[-_]".to_owned(),
            c if c.is_ascii_alphabetic() => {
                format!(
                    "[{}{}]{between}",
                    c.to_ascii_lowercase(),
                    c.to_ascii_uppercase()
                )
            }
            c => format!("{c}{between}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_its_choice() {
        for choice in Initialization::ALL {
            assert_eq!(
                choice.to_string().parse::<Initialization>().as_ref(),
                Ok(choice)
            );
            assert_eq!(serde_json::to_value(choice).unwrap(), choice.as_str());
        }
        assert_eq!(Sharing::ALL[0], Sharing::default());
        assert_eq!(Sharing::WORDS, "one of multiplexed, exclusive, pinned");
    }

    #[test]
    fn an_unknown_word_is_told_the_known_ones() {
        assert_eq!(
            "shared".parse::<Sharing>().unwrap_err().to_string(),
            "expected one of multiplexed, exclusive, pinned"
        );
    }
}
