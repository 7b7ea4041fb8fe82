//! On whose behalf a request is made.

use std::{fmt, sync::Arc};

/// On whose behalf a request is made: an extension of each request, set by authentication.
///
/// A request without one is [`Principal::local`]. Sessions of clients, sessions with servers and private lists never cross
/// principals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Principal {
    /// Unique among those of its kind: the holder of a token, or issuer and subject of a JWT.
    pub name: Arc<str>,
    /// How it was authenticated.
    pub kind: PrincipalKind,
}

/// How a principal was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// Not at all: a user of this machine.
    Local,
    /// By a configured token.
    Token,
    /// By a signed token of an identity provider.
    Jwt,
}

impl Principal {
    /// A principal of this kind.
    #[must_use]
    pub fn new(kind: PrincipalKind, name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            kind,
        }
    }

    /// A user of this machine, where no authentication is asked for.
    #[must_use]
    pub fn local() -> Self {
        Self::new(PrincipalKind::Local, "local")
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PrincipalKind::Local => f.write_str(&self.name),
            PrincipalKind::Token => write!(f, "token:{}", self.name),
            PrincipalKind::Jwt => write!(f, "jwt:{}", self.name),
        }
    }
}
