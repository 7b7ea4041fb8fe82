//! Without the feature `http` no session has credentials that can change.

/// There are none.
#[derive(Clone, Debug)]
pub(crate) enum IssuedCredentials {}

impl IssuedCredentials {
    pub(crate) fn is_refused(&self) -> bool {
        match *self {}
    }

    pub(crate) fn prove(&self) {
        match *self {}
    }
}
