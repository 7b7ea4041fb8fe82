//! Sources of header values, as servers and identities have them.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

#[cfg(feature = "http")]
use mcp_config::{Secret, ValueFrom, ValuePlace};
use mcp_pool_core::source::ValueSource;
#[cfg(feature = "http")]
use mcp_pool_core::{
    AuthChallenge,
    connect::BoxFuture,
    source::{Asked, Command, Env, File, Prefixed, SourceError},
};

#[cfg(feature = "http")]
use crate::secrets::Secrets;

/// A source with an identity of its own: two are the same only if they are the very same.
#[derive(Clone)]
pub(crate) struct SharedSource(pub(crate) Arc<dyn ValueSource>);

impl SharedSource {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }
}

impl PartialEq for SharedSource {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for SharedSource {}

impl PartialOrd for SharedSource {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedSource {
    fn cmp(&self, other: &Self) -> Ordering {
        self.address().cmp(&other.address())
    }
}

impl Hash for SharedSource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

impl fmt::Debug for SharedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source whose values are kept out of messages from the moment they are known.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) struct RedactedSource {
    source: Arc<dyn ValueSource>,
    secrets: Secrets,
}

#[cfg(feature = "http")]
impl RedactedSource {
    pub(crate) fn new(source: Arc<dyn ValueSource>, secrets: &Secrets) -> Self {
        let secrets = secrets.clone();
        Self { source, secrets }
    }

    pub(crate) fn configured(from: &ValueFrom, secrets: &Secrets) -> Self {
        if let ValuePlace::Command(command) = from.place() {
            secrets.extend(command.secrets().map(|value| value.expose().to_owned()));
        }
        let prefix = from.prefix_text();
        let source: Arc<dyn ValueSource> = match from.place() {
            ValuePlace::Env(name) => Arc::new(Prefixed::new(prefix, Env::new(name))),
            ValuePlace::File(path) => Arc::new(Prefixed::new(prefix, File::new(path))),
            ValuePlace::Command(command) => {
                let mut program = Command::new(&command.program)
                    .args(&command.args)
                    .time_limit(command.timeout);
                for (name, value) in &command.env {
                    program = program.env(name, value.expose());
                }
                Arc::new(Prefixed::new(prefix, program))
            }
            _ => Arc::new(Unknown),
        };
        Self::new(source, secrets)
    }
}

#[cfg(feature = "http")]
impl ValueSource for RedactedSource {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        self.value_for(asked, None)
    }

    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        Box::pin(async move {
            let value = self.source.value_for(asked, challenge).await?;
            let forms = Secret::of_header(&value).into_iter();
            self.secrets.extend_passing(forms.map(Secret::into_exposed));
            Ok(value)
        })
    }

    fn can_step_up(&self) -> bool {
        self.source.can_step_up()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.source.changed()
    }
}

/// A place that a later version of the configuration has, and this one does not know.
#[cfg(feature = "http")]
#[derive(Debug)]
struct Unknown;

#[cfg(feature = "http")]
impl ValueSource for Unknown {
    fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async { Err(SourceError::new("this kind of source is not known here")) })
    }
}
