//! Where credentials are kept between requests, and between runs.

use std::time::{SystemTime, UNIX_EPOCH};

use rmcp::transport::auth::{AuthError, AuthorizationManager, CredentialStore, StoredCredentials};
use serde_json::Value;

/// A store, to look into and to lend to a manager.
pub(super) struct Store {
    kept: Box<dyn CredentialStore>,
    lend: Box<dyn Fn(&mut AuthorizationManager) + Send + Sync>,
}

impl Store {
    pub(super) fn new(store: impl CredentialStore + Clone + 'static) -> Self {
        Self {
            kept: Box::new(store.clone()),
            lend: Box::new(move |manager| manager.set_credential_store(store.clone())),
        }
    }

    pub(super) fn lend_to(&self, manager: &mut AuthorizationManager) {
        (self.lend)(manager);
    }

    pub(super) async fn load(&self) -> Result<Option<Kept>, AuthError> {
        Ok(self.kept.load().await?.map(Kept))
    }
}

/// What is in a store.
pub(super) struct Kept(StoredCredentials);

impl Kept {
    pub(super) fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// The authorization server that issued it.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    pub(super) fn granted_scopes(&self) -> &[String] {
        &self.0.granted_scopes
    }

    pub(super) fn access_token(&self) -> Option<String> {
        text_of(self.0.token_response.as_ref()?, "access_token")
    }

    /// Whether the access token is good for a while yet. One of which nothing is known is taken to be.
    pub(super) fn is_fresh(&self) -> bool {
        /// As rmcp has it: a short-lived token is not renewed on every call.
        const MARGIN: u64 = 30;
        let response = serde_json::to_value(&self.0.token_response).unwrap_or_default();
        let (Some(expires_in), Some(received)) =
            (response["expires_in"].as_u64(), self.0.token_received_at)
        else {
            return true;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let age = now.unwrap_or_default().as_secs().saturating_sub(received);
        let remaining = expires_in.saturating_sub(age);
        remaining >= MARGIN.min(expires_in / 2).max(1)
    }

    pub(super) fn refresh_token(&self) -> Option<String> {
        text_of(self.0.token_response.as_ref()?, "refresh_token")
    }
}

/// A field of a token response, without the crate that has a type for it.
pub(super) fn text_of(token: &impl serde::Serialize, field: &str) -> Option<String> {
    match serde_json::to_value(token).ok()?.get_mut(field)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}
