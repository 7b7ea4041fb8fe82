//! Where the values of headers come from, when they do not stay what they are: tokens that expire, files that are
//! rewritten, programs that hand out secrets.
//!
//! A source is asked when a session is opened, and once more when the server has answered 401 to what it gave, or 403
//! `insufficient_scope`. It is never asked on the path of a call that meets a live session.
//!
//! ```
//! use mcp_pool_core::{
//!     connect::BoxFuture,
//!     source::{Asked, SourceError, ValueSource},
//! };
//!
//! /// Asks a vault, and keeps what it said until a server refuses it.
//! #[derive(Debug)]
//! struct Vault {
//!     kept: tokio::sync::Mutex<Option<String>>,
//! }
//!
//! impl Vault {
//!     async fn fetch(&self) -> Result<String, SourceError> {
//!         Ok("Bearer …".to_owned())
//!     }
//! }
//!
//! impl ValueSource for Vault {
//!     fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
//!         Box::pin(async move {
//!             let mut kept = self.kept.lock().await;
//!             match &*kept {
//!                 Some(value) if asked == Asked::Open => Ok(value.clone()),
//!                 _ => Ok(kept.insert(self.fetch().await?).clone()),
//!             }
//!         })
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let vault = Vault { kept: None.into() };
//! assert_eq!(vault.value(Asked::Open).await?, "Bearer …");
//! # #[cfg(feature = "http")]
//! let server = mcp_pool_core::connect::http::Http::new("http://localhost:8931/mcp")?
//!     .header_from("Authorization", std::sync::Arc::new(vault))?;
//! # Ok(())
//! # }
//! ```

mod command;
mod env;
mod file;
#[cfg(feature = "oauth")]
mod oauth;

use std::{error::Error as StdError, fmt, sync::Arc};

pub use command::Command;
pub use env::Env;
pub use file::File;
#[cfg(feature = "oauth")]
pub use oauth::{AuthorizationCode, ConsentRequest, OAuth, Redirect};

use crate::{challenge::AuthChallenge, future::BoxFuture};

/// Gives the value of a header, for one identity.
///
/// Its `Debug` must not show a secret: it appears where connectors are printed.
pub trait ValueSource: fmt::Debug + Send + Sync + 'static {
    /// The value for sessions opened from now on.
    ///
    /// Called for one opening at a time, within its `connection_timeout`; an opening that waited for another's answer
    /// takes that.
    ///
    /// # Errors
    /// Why there is none. The opening fails with it and is not tried again by itself.
    ///
    /// # Cancel safety
    /// The pool drops the future when the opening is given up: whatever was started by then must end with it.
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>>;

    /// The value for sessions opened from now on, after a server has refused the last one. `challenge` is what the server
    /// said with its refusal, where it said anything. This is what the pool calls; by default it is [`value`](Self::value).
    ///
    /// # Errors
    /// As [`value`](Self::value).
    ///
    /// # Cancel safety
    /// As [`value`](Self::value).
    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        let _ = challenge;
        self.value(asked)
    }

    /// Whether the source can give a value with more scope: then it is asked with [`Asked::InsufficientScope`] when a server
    /// answers 403 `insufficient_scope`, and the call is made once more with what it gives. Default: no.
    fn can_step_up(&self) -> bool {
        false
    }

    /// Completes when the source has another value than the one it last gave, or has one at last: a user has consented.
    /// The pool waits for it while it backs off after a refusal, and then opens sessions at once. Default: never.
    ///
    /// # Cancel safety
    /// The pool drops the future when the pause is over.
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

impl<S: ValueSource + ?Sized> ValueSource for Arc<S> {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        (**self).value(asked)
    }

    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        (**self).value_for(asked, challenge)
    }

    fn can_step_up(&self) -> bool {
        (**self).can_step_up()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        (**self).changed()
    }
}

/// Why a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Asked {
    /// A session is to be opened. A value that is kept will do while it is good.
    Open,
    /// The server has answered 401 to the last value: one that is kept is of no use.
    Refused,
    /// The server has answered 403 `insufficient_scope` to the last value: one with the scope of the challenge is wanted.
    InsufficientScope,
}

/// A source with a text in front of its values: `Bearer `, most often.
#[derive(Clone, Debug)]
pub struct Prefixed<S> {
    prefix: String,
    inner: S,
}

impl<S: ValueSource> Prefixed<S> {
    /// `prefix` is no secret.
    pub fn new(prefix: impl Into<String>, inner: S) -> Self {
        Self {
            prefix: prefix.into(),
            inner,
        }
    }
}

impl<S: ValueSource> ValueSource for Prefixed<S> {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        self.value_for(asked, None)
    }

    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        Box::pin(async move {
            let value = self.inner.value_for(asked, challenge).await?;
            Ok(format!("{}{value}", self.prefix))
        })
    }

    fn can_step_up(&self) -> bool {
        self.inner.can_step_up()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.inner.changed()
    }
}

/// A source has no value to give.
///
/// Displays its own level on one line; the cause beneath, if there is one, is its [`source`](StdError::source).
#[derive(Debug)]
pub struct SourceError {
    message: String,
    stderr: Vec<String>,
    none_yet: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl SourceError {
    /// An error in words, which must not hold a secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            stderr: Vec::new(),
            none_yet: false,
            source: None,
        }
    }

    /// No value yet, and no failure: the session is opened without the header, and the source is asked again with what the
    /// server says to that.
    #[must_use]
    pub fn none_yet() -> Self {
        Self {
            none_yet: true,
            ..Self::new("there is no value yet")
        }
    }

    /// Whether there is no value yet.
    #[must_use]
    pub fn is_none_yet(&self) -> bool {
        self.none_yet
    }

    /// Adds the error beneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    fn with_stderr(mut self, lines: Vec<String>) -> Self {
        self.stderr = lines;
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn take_stderr(&mut self) -> Vec<String> {
        std::mem::take(&mut self.stderr)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for SourceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        crate::error::unquoted(
            &self.message,
            self.source.as_deref().map(|source| source as _),
        )
    }
}

/// No token is as long; what is, is something else.
const LONGEST: usize = 64 * 1024;
