//! JSON Web Tokens of one issuer, held against its public keys (JWKS).
//!
//! Keys are fetched when they are first needed, once an hour, and for a key id that is not known: at most once in a pause, so
//! that forged tokens cannot have the gateway knock at the issuer's door. Keys of an hour ago are used while others are
//! fetched, and while the issuer is away, for a day.

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
use tokio_util::task::TaskTracker;

use super::Denied;
use crate::{
    error::Error,
    principal::{Principal, PrincipalKind},
};

/// What verifies tokens of an issuer.
pub(super) struct Jwt {
    /// Issuer, audience and place of the keys, as they are configured.
    of: (String, String, String),
    source: Source,
    keys: RwLock<Option<Keys>>,
    /// When keys were last fetched or tried to be; held while they are.
    fetched: Mutex<Option<Instant>>,
    refreshing: TaskTracker,
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
    pub(super) fn new(config: &GatewayConfig) -> Result<Option<Arc<Self>>, Error> {
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
        Ok(Some(Arc::new(Self {
            of: (issuer.clone(), audience.clone(), keys.clone()),
            source,
            keys: RwLock::default(),
            fetched: Mutex::default(),
            refreshing: TaskTracker::new(),
        })))
    }

    /// Whether the configuration asks for the same.
    pub(super) fn is_of(&self, config: &GatewayConfig) -> bool {
        let (issuer, audience, keys) = &self.of;
        config.jwt_issuer.as_ref() == Some(issuer)
            && config.jwt_audience.as_ref() == Some(audience)
            && config.jwt_keys.as_ref() == Some(keys)
    }

    /// The principal of a token.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(super) async fn verify(self: &Arc<Self>, token: &str) -> Result<Principal, Denied> {
        let invalid = |why: &str| Denied::Invalid(why.to_owned());
        let header = decode_header(token).map_err(|_| invalid("the token is not known"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid("the token's algorithm is not accepted"));
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        let key = key.ok_or_else(|| invalid("the token's key is not one of the issuer's"))?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.of.0]);
        validation.set_audience(&[&self.of.1]);
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
        let name = format!("{}#{}", self.of.0, claims.claims.sub);
        Ok(Principal::new(PrincipalKind::Jwt, name))
    }

    /// The issuer's key of this id, if there is one.
    async fn key(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Denied> {
        let known = self.keys.read().clone();
        let is_good = |keys: &Keys| keys.since.elapsed() < MAX_STALE;
        if let Some(keys) = known.filter(is_good)
            && let Some(key) = find(&keys.set, id, algorithm)
        {
            // No request waits for what will most likely be the same keys.
            if keys.since.elapsed() >= MAX_AGE && self.refreshing.is_empty() {
                let this = Arc::clone(self);
                self.refreshing.spawn(async move { this.refresh().await });
            }
            return Ok(Some(key));
        }
        self.refresh().await;
        let keys = self.keys.read().clone().filter(is_good).ok_or_else(|| {
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
                "keys of the issuer of JWTs cannot be had: {why}; the last ones stay good for a day"
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

/// Public keys alone: a secret key that verifies could also sign.
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
/// How long they are good when none can be fetched: a key that the issuer has withdrawn must not be good without end.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// The least time from one fetch to the next.
const PAUSE: Duration = Duration::from_secs(30);
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a set of keys.
const MAX_SIZE: usize = 256 * 1024;
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: &str) -> String {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"{x}","kid":"{id}"}}]}}"#
        )
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_keys_that_are_fetched_again_and_withdrawn_ones_end_within_a_day()
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        std::fs::write(&path, keys("old")).unwrap();
        let mut config = GatewayConfig::default();
        config.jwt_issuer = Some("https://id.test".to_owned());
        config.jwt_audience = Some("gateway".to_owned());
        config.jwt_keys = Some(path.to_string_lossy().into_owned());
        let jwt = Jwt::new(&config).unwrap().unwrap();
        let key = async |id: &str| {
            jwt.key(Some(id), Algorithm::EdDSA)
                .await
                .map(|key| key.is_some())
        };
        assert_eq!(key("old").await, Ok(true));

        tokio::time::advance(MAX_AGE).await;
        std::fs::write(&path, keys("new")).unwrap();
        assert_eq!(
            key("old").await,
            Ok(true),
            "at once, with the keys of an hour ago"
        );
        jwt.refreshing.close();
        jwt.refreshing.wait().await;
        jwt.refreshing.reopen();
        assert_eq!(key("new").await, Ok(true));
        assert_eq!(key("old").await, Ok(false));

        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(MAX_STALE - Duration::from_secs(60)).await;
        assert_eq!(key("new").await, Ok(true), "while the issuer is away");
        tokio::time::advance(Duration::from_secs(120)).await;
        assert!(matches!(key("new").await, Err(Denied::Unavailable(_))));
    }
}
