//! Futures as trait objects return them.

use std::{future::Future, pin::Pin};

/// A future as a trait object can return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
