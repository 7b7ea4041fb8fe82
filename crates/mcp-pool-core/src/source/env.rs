//! A value from this process's environment.

use super::{Asked, SourceError, ValueSource};
use crate::future::BoxFuture;

/// Reads a variable of this process each time it is asked.
#[derive(Clone, Debug)]
pub struct Env {
    name: String,
}

impl Env {
    /// Reads the variable `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    fn read(&self) -> Result<String, SourceError> {
        let name = &self.name;
        match std::env::var(name) {
            Ok(value) if value.is_empty() => {
                Err(SourceError::new(format!("variable `{name}` is empty")))
            }
            Ok(value) => Ok(value),
            Err(std::env::VarError::NotPresent) => {
                Err(SourceError::new(format!("variable `{name}` is not set")))
            }
            // The error itself would show the value.
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(SourceError::new(format!("variable `{name}` is no text")))
            }
        }
    }
}

impl ValueSource for Env {
    fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async { self.read() })
    }
}
