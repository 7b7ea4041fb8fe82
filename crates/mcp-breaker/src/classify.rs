//! Classification of results: success, fault of the other side, or neither.
//!
//! *Not found* and *invalid argument* are successes: they prove that the other side is alive. A call that its caller
//! cancelled says nothing about the other side; it is ignored.

/// What a result says about the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Class {
    /// It works. A reply that is an error to the caller can be a success too.
    Success,
    /// It failed, or could not be reached.
    Fault,
    /// Nothing: cancelled, rejected locally, or not sent. The state does not change, and a probe's place is given back.
    Ignored,
}

/// Classifies the results of calls. Implemented for `Fn(&Result<T, E>) -> Class`.
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
/// It is a type and not a closure, so that a service with it can be named.
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
