//! Extractors of query and path parameters, whose errors name the field.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{admin::Shared, problem::Problem};

/// The query of a request. Unknown parameters are errors, which would else be ignored.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let mut seen = BTreeSet::new();
        for (field, _) in pairs {
            if let Some(field) = seen.replace(field) {
                let detail = format!("query parameter `{field}` is given twice");
                return Err(Problem::field(field, detail));
            }
        }
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map(Self)
            .map_err(|error| {
                let field = error.path().to_string();
                let inner = error.inner();
                if field == "." {
                    Problem::new(StatusCode::BAD_REQUEST, format!("query: {inner}"))
                } else {
                    let detail = format!("query parameter `{field}`: {inner}");
                    Problem::field(field, detail)
                }
            })
    }
}

/// No query. Any parameter is an error, which would else be ignored.
#[derive(Debug)]
pub(crate) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        match form_urlencoded::parse(query.as_bytes()).next() {
            None => Ok(Self),
            Some((field, _)) => {
                let detail = format!("query parameter `{field}` is not known here: there is none");
                Err(Problem::field(field, detail))
            }
        }
    }
}

/// The configured name of the server in the path.
#[derive(Debug)]
pub(crate) struct ServerName(pub(crate) String);

impl FromRequestParts<Arc<Shared>> for ServerName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, shared)
            .await
            .map_err(|error| Problem::field("server", error.body_text()))?;
        shared.server_name(&name).map(Self)
    }
}

/// Deserializes an optional number or boolean from text.
///
/// An empty parameter is an error here; serde's `Option` treats it as missing.
pub(crate) fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map(Some)
        .map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
}
