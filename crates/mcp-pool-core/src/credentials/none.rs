//! In place of the book of credentials where nothing is spoken to over HTTP: no session has any that can change.

use crate::{
    error::OpenErrorKind,
    failure::CallFailure,
    inner::{Inner, State},
    session::Session,
};

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum Worn {}

impl Worn {
    pub(crate) fn is_refused(&self) -> bool {
        match *self {}
    }

    pub(crate) fn prove(&self) {
        match *self {}
    }
}

impl Inner {
    pub(crate) fn credentials_refused(&self, _: &Session) -> CallFailure {
        CallFailure::Rejected(OpenErrorKind::Unauthorized)
    }

    pub(crate) fn scope_insufficient(&self, _: &Session) -> CallFailure {
        CallFailure::Rejected(OpenErrorKind::Forbidden)
    }

    pub(crate) fn retire_refused(&self, _: &mut State) {}
}
