//! A merged list, and the servers that it lacks.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeSeq as _};

use crate::error::Error;

/// A list over several servers. Derefs to its items, and is one in JSON.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing<T> {
    /// What the servers have, each under the name that the aggregator gives it.
    pub items: Vec<T>,
    /// Servers whose items are not there, or not all of them.
    pub missing: Vec<Missing>,
}

/// A server whose items are missing in a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Missing {
    /// The server.
    pub server: Arc<str>,
    /// Why.
    pub error: Arc<Error>,
}

impl Missing {
    pub(super) fn new(server: &Arc<str>, error: Arc<Error>) -> Self {
        Self {
            server: Arc::clone(server),
            error,
        }
    }
}

/// As it stands in `_meta["mcp-pool/missing"]`.
impl Serialize for Missing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            server: &'a str,
            error: String,
            kind: &'static str,
        }
        let shown = Shown {
            server: &self.server,
            error: self.error.to_string(),
            kind: self.error.kind().as_str(),
        };
        shown.serialize(serializer)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl<T> Deref for Listing<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> IntoIterator for Listing<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listing<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T> From<Listing<T>> for Vec<T> {
    fn from(listing: Listing<T>) -> Self {
        listing.items
    }
}

impl<T: Serialize> Serialize for Listing<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(Some(self.items.len()))?;
        for item in &self.items {
            items.serialize_element(item)?;
        }
        items.end()
    }
}
