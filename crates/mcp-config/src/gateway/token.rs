//! Bearer tokens of the gateway's principals.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};
#[cfg(feature = "schema")]
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::redacted::Templates;
use crate::secret::Secret;
use crate::value_from::{ValueFrom, ValuePlace};

/// The token of a principal, or where it is read when the gateway starts. No form of it shows the token.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GatewayToken {
    /// The token itself.
    Text(Secret),
    /// The SHA-256 hash of the token, which the file holds in hexadecimal: `{"sha256": "…"}`.
    Sha256([u8; 32]),
    /// A variable or a file: `{"env": "TOKEN"}`, `{"file": "/run/secrets/token"}`.
    From(ValueFrom),
}

impl GatewayToken {
    /// The token itself.
    pub fn text(token: impl Into<Secret>) -> Self {
        Self::Text(token.into())
    }
}

/// Reads the table `tokens` of `fields`.
pub(super) fn read(fields: &mut Fields<'_>, folder: &Path) -> BTreeMap<String, GatewayToken> {
    let mut others = Vec::new();
    let texts = fields.texts_and("tokens", &mut Templates::default(), |name, value| {
        others.push((name, value));
    });
    let texts = texts.into_iter();
    let mut tokens: BTreeMap<_, _> = texts
        .map(|(name, text)| (name, GatewayToken::text(text)))
        .collect();
    for (name, value) in others {
        let at = fields.at.key("tokens").key(name);
        let Some(table) = value.as_object() else {
            fields.wrong_kind(&at, value, "a text, or a table with sha256, env or file");
            continue;
        };
        if let (Some(hash), 1) = (table.get("sha256"), table.len()) {
            match hash.as_str().and_then(hash_of) {
                Some(hash) => drop(tokens.insert(name.to_owned(), GatewayToken::Sha256(hash))),
                None => {
                    let problem = at.key("sha256").problem("not a SHA-256 hash");
                    let hint = "expected 64 hexadecimal digits: printf %s \"$TOKEN\" | sha256sum";
                    fields.problems.push(problem.hint(hint));
                }
            }
            continue;
        }
        let mut within = fields.within(table, &at);
        let place = ValueFrom::read(&mut within, |path| folder.join(path));
        let (problems, notes) = (within.problems, within.notes);
        fields.problems.extend(problems);
        fields.notes.extend(notes);
        match place {
            Some(place) if matches!(place.place(), ValuePlace::Command(_)) => {
                let problem = at.problem("a command is not allowed for a token of the gateway");
                fields
                    .problems
                    .push(problem.hint("use sha256, env or file"));
            }
            Some(place) => drop(tokens.insert(name.to_owned(), GatewayToken::From(place))),
            None => {}
        }
    }
    tokens
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(feature = "schema")]
pub(super) fn schema() -> Value {
    let hash = json!({
        "type": "object", "additionalProperties": false, "required": ["sha256"],
        "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}},
    });
    json!({"type": "object", "additionalProperties": {"anyOf": [
        {"$ref": "#/$defs/Header"}, hash,
    ]}})
}

impl fmt::Debug for GatewayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(secret) => secret.fmt(f),
            Self::Sha256(_) => f.write_str("Sha256(…)"),
            Self::From(place) => place.fmt(f),
        }
    }
}

impl Serialize for GatewayToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(secret) => secret.serialize(serializer),
            Self::Sha256(_) => serializer.collect_map([("sha256", Secret::default())]),
            Self::From(place) => place.serialize(serializer),
        }
    }
}
