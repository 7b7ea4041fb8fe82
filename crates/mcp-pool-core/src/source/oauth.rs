//! Tokens by OAuth 2.1, as rmcp speaks it.

use std::fmt;

use rmcp::transport::auth::{
    AuthError, AuthorizationManager, ClientCredentialsConfig, CredentialStore,
    InMemoryCredentialStore,
};
use tokio::sync::Mutex;

use super::{Asked, SourceError, ValueSource};
use crate::connect::BoxFuture;

/// Gives `Bearer` tokens of an MCP server's authorization server, which it finds as the protocol says: by the server's
/// metadata.
///
/// A token is kept in a store, and served from there until half a minute before it expires; then, or when the server has
/// refused it, it is refreshed or asked for anew, once for all who wait. Each source has a store of its own: give each
/// identity its own source, and no identity sees another's tokens.
///
/// ```
/// use std::sync::Arc;
///
/// use mcp_pool_core::{connect::http::Http, source::OAuth};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = "http://localhost:8931/mcp";
/// let oauth = OAuth::client_secret(url, "my-client", "its secret", ["tools:call"]);
/// let server = Http::new(url)?.header_from("Authorization", oauth)?;
/// # Ok(())
/// # }
/// ```
pub struct OAuth {
    server: String,
    grant: Grant,
    private_addresses: bool,
    store: Store,
    state: Mutex<State>,
}

enum Grant {
    /// The program acts for itself.
    ClientCredentials(ClientCredentialsConfig),
    /// Somebody has consented before, and the store holds what came of it.
    Stored,
}

#[derive(Default)]
struct State {
    manager: Option<AuthorizationManager>,
    given: Option<String>,
}

impl OAuth {
    /// By client id and secret, on behalf of the program itself. `server` is the URL of the MCP server.
    pub fn client_secret<S: Into<String>>(
        server: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let server = server.into();
        let config = ClientCredentialsConfig::ClientSecret {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            scopes: scopes.into_iter().map(Into::into).collect(),
            resource: Some(server.clone()),
        };
        Self::client_credentials(server, config)
    }

    /// By whatever rmcp has for a program that acts for itself; a key that signs assertions needs its feature
    /// `auth-client-credentials-jwt`.
    pub fn client_credentials(server: impl Into<String>, config: ClientCredentialsConfig) -> Self {
        let grant = Grant::ClientCredentials(config);
        Self::new(server.into(), grant, InMemoryCredentialStore::new())
    }

    /// By what `store` holds since somebody has consented, most often in a browser (rmcp's `AuthorizationSession`).
    /// Tokens are refreshed and put back.
    pub fn stored(
        server: impl Into<String>,
        store: impl CredentialStore + Clone + 'static,
    ) -> Self {
        Self::new(server.into(), Grant::Stored, store)
    }

    fn new(server: String, grant: Grant, store: impl CredentialStore + Clone + 'static) -> Self {
        Self {
            server,
            grant,
            private_addresses: false,
            store: Store::new(store),
            state: Mutex::default(),
        }
    }

    /// Keeps tokens in `store` instead of in memory, so that they survive the program. It must belong to one identity
    /// and one server; its clones are the same store.
    #[must_use]
    pub fn store(mut self, store: impl CredentialStore + Clone + 'static) -> Self {
        self.store = Store::new(store);
        self
    }

    /// Whether the authorization server may be at a private address (default: no, except where the MCP server is).
    #[must_use]
    pub fn private_addresses(mut self, allowed: bool) -> Self {
        self.private_addresses = allowed;
        self
    }

    async fn token(&self, asked: Asked) -> Result<String, AuthError> {
        let mut state = self.state.lock().await;
        let State { manager, given } = &mut *state;
        let manager = match manager {
            Some(manager) => manager,
            None => manager.insert(self.manager().await?),
        };
        let kept = self.store.kept.load().await?;
        let client = kept.as_ref().map(|kept| kept.client_id.as_str());
        let token = kept
            .as_ref()
            .and_then(|kept| text_of(kept.token_response.as_ref()?));
        // Another program that shares the store may have been there before us.
        let token = if asked == Asked::Refused && token.is_some() && token == *given {
            self.renew(manager).await?
        } else {
            match (&self.grant, manager.get_access_token().await) {
                (Grant::ClientCredentials(config), Ok(_)) if !is_of(config, client) => {
                    self.renew(manager).await?
                }
                (Grant::ClientCredentials(_), Err(AuthError::AuthorizationRequired)) => {
                    self.renew(manager).await?
                }
                (_, token) => token?,
            }
        };
        *given = Some(token.clone());
        Ok(token)
    }

    async fn manager(&self) -> Result<AuthorizationManager, AuthError> {
        let mut manager = if self.private_addresses {
            AuthorizationManager::new_allowing_private_addresses(&self.server).await?
        } else {
            AuthorizationManager::new(&self.server).await?
        };
        (self.store.lend)(&mut manager);
        let found = manager.resolve_metadata().await?;
        manager.set_metadata(found.metadata);
        // Throws away what another authorization server has issued.
        let stored = manager.initialize_from_store().await?;
        match &self.grant {
            Grant::ClientCredentials(config) => {
                manager.validate_client_credentials_metadata(config)?;
                manager.configure_client_credentials(config)?;
            }
            Grant::Stored if !stored => return Err(AuthError::AuthorizationRequired),
            Grant::Stored => {}
        }
        Ok(manager)
    }

    async fn renew(&self, manager: &AuthorizationManager) -> Result<String, AuthError> {
        let token = match &self.grant {
            Grant::ClientCredentials(config) => manager.exchange_client_credentials(config).await?,
            Grant::Stored => manager.refresh_token().await?,
        };
        text_of(&token).ok_or(AuthError::AuthorizationRequired)
    }
}

/// The field `access_token`, without the crate that has a name for it.
fn text_of(token: &impl serde::Serialize) -> Option<String> {
    let token = serde_json::to_value(token).ok()?;
    Some(token.get("access_token")?.as_str()?.to_owned())
}

/// Whether what is in store was issued to this client.
fn is_of(config: &ClientCredentialsConfig, client: Option<&str>) -> bool {
    match config {
        ClientCredentialsConfig::ClientSecret { client_id, .. } => client == Some(client_id),
        #[allow(unreachable_patterns, reason = "a feature of rmcp adds more")]
        _ => true,
    }
}

/// A store, to look into and to lend to a manager.
struct Store {
    kept: Box<dyn CredentialStore>,
    lend: Box<dyn Fn(&mut AuthorizationManager) + Send + Sync>,
}

impl Store {
    fn new(store: impl CredentialStore + Clone + 'static) -> Self {
        Self {
            kept: Box::new(store.clone()),
            lend: Box::new(move |manager| manager.set_credential_store(store.clone())),
        }
    }
}

impl ValueSource for OAuth {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async move {
            let token = self.token(asked).await.map_err(|error| match error {
                AuthError::AuthorizationRequired => SourceError::new(
                    "OAuth: nobody has consented yet, or the consent has run out; authorize anew",
                ),
                error => SourceError::new(format!("OAuth: {error}")),
            })?;
            Ok(format!("Bearer {token}"))
        })
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = match &self.grant {
            Grant::ClientCredentials(_) => "client credentials",
            Grant::Stored => "stored",
        };
        f.debug_struct("OAuth")
            .field("grant", &grant)
            .finish_non_exhaustive()
    }
}
