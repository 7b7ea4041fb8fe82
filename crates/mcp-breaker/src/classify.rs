//! Telling a fault of the other side from everything else.
//!
//! A breaker is as good as its idea of a fault. An answer one did not like is no fault: *not found* and *invalid
//! argument* prove that the other side is alive. Nor is everything else a success: a call the caller gave up says
//! nothing at all. Hence three classes, and results of the third move nothing.

/// What a result says about the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Class {
    /// It did its work. An answer that is an error to the caller can be one too.
    Success,
    /// It failed, or could not be reached.
    Fault,
    /// It says nothing: cancelled, refused locally, not sent. Neither helps nor harms the state; a probe's place is
    /// given back.
    Ignored,
}

/// Classifies the results of calls. Closures and functions `Fn(&Result<T, E>) -> Class` do.
///
/// ```
/// use mcp_breaker::{Breaker, Class};
/// use std::io;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let breaker = Breaker::default();
/// let missing = async { Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)) };
/// let answer = breaker
///     .call_with(missing, |result: &Result<(), io::Error>| match result {
///         Ok(()) => Class::Success,
///         Err(error) if error.kind() == io::ErrorKind::NotFound => Class::Success, // it answered
///         Err(error) if error.kind() == io::ErrorKind::Interrupted => Class::Ignored,
///         Err(_) => Class::Fault,
///     })
///     .await;
/// assert!(answer.is_err());
/// assert_eq!(breaker.counts().faults, 0);
/// # });
/// ```
pub trait Classify<T, E> {
    /// The class of one result.
    fn classify(&self, result: &Result<T, E>) -> Class;
}

impl<T, E, F> Classify<T, E> for F
where
    F: Fn(&Result<T, E>) -> Class,
{
    fn classify(&self, result: &Result<T, E>) -> Class {
        self(result)
    }
}

/// The simplest classifier: `Ok` is a success, `Err` a fault.
///
/// A type rather than a closure, so that a service wrapped with it can be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultOnErr;

impl<T, E> Classify<T, E> for FaultOnErr {
    fn classify(&self, result: &Result<T, E>) -> Class {
        if result.is_ok() {
            Class::Success
        } else {
            Class::Fault
        }
    }
}
