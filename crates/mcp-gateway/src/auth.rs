//! Who a request is from: bearer tokens, JWTs, or a user of this machine.
//!
//! A client's token ends here. It is never passed on to a server, which has credentials of its own.

#[cfg(feature = "jwt")]
mod jwt;
pub(crate) mod metadata;

use std::{fs, sync::Arc};

use http::{HeaderMap, header};
use mcp_http_server::{Peer, Token, bearer};
use mcp_pooled_tools::{
    GatewayConfig, GatewayToken,
    config::{ValueFrom, ValuePlace},
};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::{
    error::Error,
    principal::{Principal, PrincipalKind},
};

/// Why a request is not authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no bearer token.
    Missing,
    /// Its token is not accepted, for this reason.
    Invalid(String),
    /// It comes from another machine, and no authentication is configured.
    Foreign,
    /// Nothing can be said about it now: the keys of the issuer cannot be had.
    #[cfg(feature = "jwt")]
    Unavailable(String),
}

/// What is known of those who may come. Tokens are kept as hashes.
pub(crate) struct Authenticator {
    tokens: Vec<(Arc<str>, [u8; 32])>,
    #[cfg(feature = "jwt")]
    jwt: Option<Arc<jwt::Jwt>>,
    open: bool,
    insecure: bool,
}

impl Authenticator {
    /// Reads tokens of this configuration. It reads files. The keys of JWTs that `before` has fetched are kept if they are
    /// of the same issuer.
    ///
    /// # Errors
    /// [`Error::Setting`] for a token that cannot be read or guards nothing.
    pub(crate) fn new(config: &GatewayConfig, before: Option<&Self>) -> Result<Self, Error> {
        let mut tokens = Vec::new();
        for (holder, token) in &config.tokens {
            let hash = hash_of(token).map_err(|why| {
                let holder = holder.escape_debug();
                Error::Setting(format!("token of `{holder}`: {why}"))
            })?;
            tokens.push((holder.as_str().into(), hash));
        }
        #[cfg(not(feature = "jwt"))]
        if config.jwt_issuer.is_some() {
            let message = "jwt_issuer: this build has no JWTs; build with the feature `jwt`";
            return Err(Error::Setting(message.to_owned()));
        }
        #[cfg(not(feature = "jwt"))]
        let _ = before;
        #[cfg(feature = "jwt")]
        let kept = before.and_then(|before| before.jwt.as_ref());
        Ok(Self {
            tokens,
            #[cfg(feature = "jwt")]
            jwt: match kept.filter(|jwt| jwt.is_of(config)) {
                Some(jwt) => Some(Arc::clone(jwt)),
                None => jwt::Jwt::new(config)?,
            },
            open: !config.authenticates(),
            insecure: config.effective().insecure,
        })
    }

    /// The principal of a request. Without authentication, and over a Unix socket without a token, it is a user of this
    /// machine.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Principal, Denied> {
        if self.open {
            // The listener may be one that the configuration knows nothing of.
            let is_local = match peer {
                Some(Peer::Tcp(peer)) => peer.ip().to_canonical().is_loopback(),
                Some(Peer::Unix) => true,
                _ => false,
            };
            return match is_local || self.insecure {
                true => Ok(Principal::local()),
                false => Err(Denied::Foreign),
            };
        }
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let authorization = match (given.next(), given.next()) {
            (Some(authorization), None) => authorization,
            // Whoever may open the socket's file is let in.
            (None, _) if matches!(peer, Some(Peer::Unix)) => return Ok(Principal::local()),
            (None, _) => return Err(Denied::Missing),
            (Some(_), Some(_)) => return Err(Denied::Invalid("several tokens".to_owned())),
        };
        let token = bearer(authorization.as_bytes()).ok_or(Denied::Missing)?;
        if let Some(holder) = self.holder(token) {
            return Ok(Principal::new(PrincipalKind::Token, holder));
        }
        #[cfg(feature = "jwt")]
        if let (Some(jwt), Ok(token)) = (&self.jwt, std::str::from_utf8(token)) {
            return jwt.verify(token).await;
        }
        Err(Denied::Invalid("the token is not known".to_owned()))
    }

    /// The holder of a token. All are compared: the time must not tell which one it is.
    fn holder(&self, token: &[u8]) -> Option<Arc<str>> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (holder, known) in &self.tokens {
            let is: Choice = known.ct_eq(&hash);
            if is.into() {
                found = Some(holder);
            }
        }
        found.cloned()
    }
}

/// The hash of a configured token, or why there is none.
fn hash_of(token: &GatewayToken) -> Result<[u8; 32], String> {
    let text = match token {
        GatewayToken::Sha256(hash) => return Ok(*hash),
        GatewayToken::Text(secret) => secret.expose().to_owned(),
        GatewayToken::From(from) => read(from)?,
        _ => return Err("this kind of token is not known here".to_owned()),
    };
    Token::new(&text).map_err(|error| error.to_string())?;
    Ok(Sha256::digest(text.trim()).into())
}

fn read(from: &ValueFrom) -> Result<String, String> {
    let value = match from.place() {
        ValuePlace::Env(name) => {
            std::env::var(name).map_err(|error| format!("variable `{name}`: {error}; set it"))?
        }
        ValuePlace::File(path) => fs::read_to_string(path)
            .map_err(|error| format!("file {}: {error}; create it", path.display()))?,
        _ => return Err("it can be read from a variable or a file".to_owned()),
    };
    Ok(format!("{}{}", from.prefix_text(), value.trim()))
}
