//! JSON Web Tokens of one issuer, held against its public keys (JWKS).
//!
//! Keys are fetched when they are first needed, once an hour, and for a key id that is not known: at most once in a pause, so
//! that forged tokens cannot have the gateway knock at the issuer's door. While the issuer is away the last keys stay good.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use mcp_pooled_tools::GatewayConfig;
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::Denied;
use crate::{
    error::Error,
    principal::{Principal, PrincipalKind},
};

/// What verifies tokens of an issuer.
pub(super) struct Jwt {
    issuer: String,
    audience: String,
    source: Source,
    keys: RwLock<Option<Keys>>,
    /// When keys were last fetched or tried to be; held while they are.
    fetched: Mutex<Option<Instant>>,
}

enum Source {
    Url(String, reqwest::Client),
    File(PathBuf),
}

#[derive(Clone)]
struct Keys {
    set: Arc<JwkSet>,
    since: Instant,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Jwt {
    /// `None` if no issuer is configured.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no TLS to fetch keys with.
    pub(super) fn new(config: &GatewayConfig) -> Result<Option<Self>, Error> {
        let given = (&config.jwt_issuer, &config.jwt_audience, &config.jwt_keys);
        let (Some(issuer), Some(audience), Some(keys)) = given else {
            return Ok(None);
        };
        let source = if keys.starts_with("https://") || keys.starts_with("http://") {
            let client = reqwest::Client::builder()
                .timeout(FETCH_LIMIT)
                .redirect(reqwest::redirect::Policy::none());
            let client = client
                .build()
                .map_err(|error| Error::Setting(format!("jwt_keys: no HTTP client: {error}")))?;
            Source::Url(keys.clone(), client)
        } else {
            Source::File(keys.into())
        };
        Ok(Some(Self {
            issuer: issuer.clone(),
            audience: audience.clone(),
            source,
            keys: RwLock::default(),
            fetched: Mutex::default(),
        }))
    }

    /// The principal of a token.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(super) async fn verify(&self, token: &str) -> Result<Principal, Denied> {
        let invalid = |why: &str| Denied::Invalid(why.to_owned());
        let header = decode_header(token).map_err(|_| invalid("the token is not known"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid("the token's algorithm is not accepted"));
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        let key = key.ok_or_else(|| invalid("the token's key is not one of the issuer's"))?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| {
            invalid(match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                ErrorKind::ImmatureSignature => "the token is not valid yet",
                ErrorKind::InvalidAudience => "the token is for another audience",
                ErrorKind::InvalidIssuer => "the token is of another issuer",
                ErrorKind::InvalidSignature => "the token's signature is wrong",
                _ => "the token is not a valid JWT",
            })
        })?;
        let name = format!("{}#{}", self.issuer, claims.claims.sub);
        Ok(Principal::new(PrincipalKind::Jwt, name))
    }

    /// The issuer's key of this id, if there is one.
    async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Denied> {
        let known = self.keys.read().clone();
        let is_fresh = |keys: &Keys| keys.since.elapsed() < MAX_AGE;
        if let Some(keys) = known.filter(is_fresh)
            && let Some(key) = find(&keys.set, id, algorithm)
        {
            return Ok(Some(key));
        }
        self.refresh().await;
        let keys = self.keys.read().clone().ok_or_else(|| {
            Denied::Unavailable("the keys of the issuer cannot be had; try again later".to_owned())
        })?;
        Ok(find(&keys.set, id, algorithm))
    }

    /// Fetches the keys, unless that was done or tried a moment ago.
    async fn refresh(&self) {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let set = self.fetch().await;
        // Only now: a fetch whose request was dropped was none.
        *fetched = Some(Instant::now());
        match set {
            Ok(set) => {
                *self.keys.write() = Some(Keys {
                    set: Arc::new(set),
                    since: Instant::now(),
                });
            }
            Err(why) => tracing::warn!(
                "keys of the issuer of JWTs cannot be had: {why}; the last ones stay good"
            ),
        }
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let text = match &self.source {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                read.map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())?
            }
            Source::Url(url, client) => {
                let response = client.get(url).send().await;
                let mut response = response
                    .and_then(reqwest::Response::error_for_status)
                    .map_err(|error| error.to_string())?;
                let mut text = Vec::new();
                while let Some(part) = response.chunk().await.map_err(|error| error.to_string())? {
                    text.extend_from_slice(&part);
                    if text.len() > MAX_SIZE {
                        return Err(format!("more than {MAX_SIZE} bytes"));
                    }
                }
                text
            }
        };
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}

/// The key of this id; without an id, the only key that fits.
fn find(set: &JwkSet, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let signs = |key: &&Jwk| {
        let common = &key.common;
        let named = common.key_algorithm.map(|named| named.to_string());
        !matches!(common.public_key_use, Some(PublicKeyUse::Encryption))
            && named.is_none_or(|named| named == format!("{algorithm:?}"))
    };
    let mut fitting = set.keys.iter().filter(signs);
    let key = match id {
        Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id))?,
        None => {
            let only = fitting.next()?;
            fitting.next().is_none().then_some(only)?
        }
    };
    DecodingKey::from_jwk(key).ok()
}

/// Public keys alone: with a secret key, whoever verifies could also sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How long keys are used before they are fetched again.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// The least time from one fetch to the next.
const PAUSE: Duration = Duration::from_secs(30);
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a set of keys.
const MAX_SIZE: usize = 256 * 1024;
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 30;
