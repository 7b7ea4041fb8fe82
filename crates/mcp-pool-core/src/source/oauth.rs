//! Tokens by OAuth 2.1, as rmcp speaks it.

mod consent;
mod credentials;
mod failure;
mod flow;
mod issuer;
mod store;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use consent::{ConsentRequest, Redirect};
use failure::{Failure, Secrets};
pub use flow::AuthorizationCode;
use flow::Consents;
use rmcp::transport::auth::{
    AuthorizationManager, ClientCredentialsConfig, CredentialStore, InMemoryCredentialStore,
    OAuthClientConfig,
};
use store::{Kept, Store, text_of};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use super::{Asked, SourceError, ValueSource};
use crate::{challenge::AuthChallenge, future::BoxFuture};

/// Gives `Bearer` tokens of an MCP server's authorization server, which it finds as the protocol says: by the server's
/// challenge and metadata.
///
/// A token is kept in a store, and served from there until half a minute before it expires; then, or when the server has
/// refused it, it is refreshed or another is asked for, once for all who wait. Each source has a store of its own: give
/// each identity its own source, and no identity sees another's tokens.
///
/// ```
/// use std::sync::Arc;
///
/// use mcp_pool_core::{connect::http::Http, source::OAuth};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = "http://localhost:8931/mcp";
/// let oauth = OAuth::client_secret(url, "my-client", "its secret", ["tools:call"])
///     .issuer("http://localhost:9000");
/// let server = Http::new(url)?.header_from("Authorization", Arc::new(oauth))?;
/// # Ok(())
/// # }
/// ```
///
/// # Who is given a secret
/// The MCP server names its authorization server by itself. A client's secret and refresh tokens go to one issuer alone:
/// the one that [`issuer`](Self::issuer) sets, else the one that a user has consented at. With neither, they go only to an
/// authorization server at the MCP server's own origin. Another one is refused, and the error names it.
pub struct OAuth {
    client: Client,
    consents: Consents,
}

/// What a flow of its own task needs, too. Clones share the state.
#[derive(Clone)]
struct Client {
    server: Arc<str>,
    grant: Grant,
    issuer: Option<Arc<str>>,
    private_addresses: bool,
    store: Arc<Store>,
    state: Arc<Mutex<State>>,
    grants: Arc<Grants>,
}

#[derive(Clone)]
enum Grant {
    /// The program acts for itself.
    ClientCredentials(ClientCredentialsConfig),
    /// A user is asked.
    Code(Arc<AuthorizationCode>),
    /// A user has consented before, and the store holds the tokens.
    Stored,
}

#[derive(Default)]
struct State {
    manager: Option<AuthorizationManager>,
    given: Option<String>,
    /// When a refusal was last answered by a renewal.
    renewed: Option<Instant>,
    /// The client that registered itself, and where.
    registered: Option<(Option<String>, OAuthClientConfig)>,
    /// The scopes that a user was last asked for, and when.
    asked_for: Option<(Vec<String>, Instant)>,
    secrets: Secrets,
}

/// Counts consents, to notify those who wait for one.
struct Grants {
    given: watch::Sender<u64>,
    taken: AtomicU64,
}

impl OAuth {
    /// By client id and secret, on behalf of the program itself. `server` is the URL of the MCP server.
    ///
    /// Set [`issuer`](Self::issuer) where the authorization server is not at the origin of the MCP server.
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

    /// By the consent of a user, who is asked when the server refuses a request for the lack of a token (401) or of a scope
    /// (403 `insufficient_scope`). Tokens are refreshed as long as that works.
    ///
    /// The first request of a session goes out without a token if there is none yet: the server's challenge says where its
    /// metadata is, and which scopes it wants. A scope that is not granted is not asked for again for ten minutes; the call
    /// that needs it fails with the server's refusal, and others go on.
    pub fn authorization_code(server: impl Into<String>, code: AuthorizationCode) -> Self {
        let grant = Grant::Code(Arc::new(code));
        Self::new(server.into(), grant, InMemoryCredentialStore::new())
    }

    /// By what `store` holds since a user has consented elsewhere. Tokens are refreshed and put back.
    pub fn stored(
        server: impl Into<String>,
        store: impl CredentialStore + Clone + 'static,
    ) -> Self {
        Self::new(server.into(), Grant::Stored, store)
    }

    fn new(server: String, grant: Grant, store: impl CredentialStore + Clone + 'static) -> Self {
        let mut secrets = Secrets::default();
        match &grant {
            Grant::ClientCredentials(ClientCredentialsConfig::ClientSecret {
                client_secret,
                ..
            }) => secrets.add(client_secret),
            Grant::Code(code) => code.add_secrets_to(&mut secrets),
            _ => {}
        }
        let state = State {
            secrets,
            ..State::default()
        };
        Self {
            client: Client {
                server: server.into(),
                grant,
                issuer: None,
                private_addresses: false,
                store: Arc::new(Store::new(store)),
                state: Arc::new(Mutex::new(state)),
                grants: Arc::new(Grants {
                    given: watch::Sender::new(0),
                    taken: AtomicU64::new(0),
                }),
            },
            consents: Consents::default(),
        }
    }

    /// Keeps tokens in `store` instead of in memory, so that they survive the program. It must belong to one identity
    /// and one server; its clones are the same store.
    #[must_use]
    pub fn store(mut self, store: impl CredentialStore + Clone + 'static) -> Self {
        self.client.store = Arc::new(Store::new(store));
        self
    }

    /// The authorization server that secrets may be sent to: its issuer identifier, a URL. Its endpoints are read from its
    /// own metadata. Where the MCP server names another one, there is no token and the error says so.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.client.issuer = Some(issuer.into().into());
        self
    }

    /// Whether the authorization server may be at a private address (default: no, except where the MCP server is).
    #[must_use]
    pub fn private_addresses(mut self, allowed: bool) -> Self {
        self.client.private_addresses = allowed;
        self
    }

    /// `None`: there is none before a user has been asked, and the server's challenge says what to ask for.
    async fn token(
        &self,
        asked: Asked,
        challenge: Option<&AuthChallenge>,
    ) -> Result<Option<String>, Failure> {
        let client = &self.client;
        let Grant::Code(code) = &client.grant else {
            return client.token(asked).await.map(Some);
        };
        if asked == Asked::InsufficientScope {
            // The token is still good for everything else. The server tells its caller that more is needed.
            if let Err(failure) = self.step_up(code, challenge).await {
                let why = client.text_of(failure).await;
                tracing::warn!("the token keeps its scopes: {why}");
            }
            return client.token(Asked::Open).await.map(Some);
        }
        match client.token(asked).await {
            Ok(token) => return Ok(Some(token)),
            Err(failure) if !failure.wants_consent() => return Err(failure),
            Err(_) if asked == Asked::Open && !self.consents.is_running() => return Ok(None),
            Err(_) => {}
        }
        self.consents.obtain(client, code, challenge).await?;
        client.token(Asked::Open).await.map(Some)
    }

    async fn step_up(
        &self,
        code: &Arc<AuthorizationCode>,
        challenge: Option<&AuthChallenge>,
    ) -> Result<(), Failure> {
        if !self.consents.is_running() {
            self.client.check_step_up(challenge).await?;
        }
        self.consents.obtain(&self.client, code, challenge).await
    }
}

impl Client {
    /// The token in store, or what it is renewed to.
    async fn token(&self, asked: Asked) -> Result<String, Failure> {
        let mut state = self.state.lock().await;
        let kept = self.store.load().await?.filter(|kept| self.is_ours(kept));
        let token = kept.as_ref().and_then(Kept::access_token);
        let refresh = kept.as_ref().and_then(Kept::refresh_token);
        for secret in token.iter().chain(&refresh) {
            state.secrets.add_passing(secret);
        }
        // Another program that shares the store may have been there before us.
        let refused = asked == Asked::Refused && token == state.given;
        let token = match token {
            Some(token) if !refused && kept.as_ref().is_some_and(Kept::is_fresh) => token,
            _ => self.renewed(&mut state, kept, refused).await?,
        };
        state.given = Some(token.clone());
        Ok(token)
    }

    async fn renewed(
        &self,
        state: &mut State,
        kept: Option<Kept>,
        refused: bool,
    ) -> Result<String, Failure> {
        /// A renewed token that is refused as soon as this was of no use: renewing it once more will not help.
        const NEW: Duration = Duration::from_secs(60);
        let by_user = !matches!(self.grant, Grant::ClientCredentials(_));
        if by_user && kept.as_ref().and_then(Kept::refresh_token).is_none() {
            return Err(Failure::ConsentNeeded);
        }
        if refused {
            let recent = state.renewed.is_some_and(|at| at.elapsed() < NEW);
            if recent && matches!(self.grant, Grant::Code(_)) {
                return Err(Failure::ConsentNeeded);
            }
            state.renewed = Some(Instant::now());
        }
        if state.manager.is_none() {
            state.manager = Some(self.manager(kept.as_ref()).await?);
        }
        let State {
            manager,
            registered,
            ..
        } = state;
        let token = match (&self.grant, &kept) {
            (Grant::ClientCredentials(config), _) => {
                let taken = manager.take().expect("it was made above");
                let (taken, token) = credentials::exchange(taken, config.clone()).await?;
                *manager = Some(taken);
                return token?.ok_or(Failure::ConsentNeeded);
            }
            (_, Some(kept)) => {
                let registered = registered.as_ref().map(|(_, config)| config);
                let known = registered.filter(|config| config.client_id == kept.client_id());
                let known = known.cloned().or_else(|| self.configured(kept.client_id()));
                let manager = manager.as_mut().expect("it was made above");
                match known {
                    Some(config) => manager.configure_client(config)?,
                    None => manager.configure_client_id(kept.client_id())?,
                }
                manager.refresh_token().await?
            }
            (_, None) => return Err(Failure::ConsentNeeded),
        };
        text_of(&token, "access_token").ok_or(Failure::ConsentNeeded)
    }

    /// A manager that knows the authorization server, to renew tokens with.
    async fn manager(&self, kept: Option<&Kept>) -> Result<AuthorizationManager, Failure> {
        let mut manager = self.bare_manager().await?;
        let found = manager.resolve_metadata().await?.metadata;
        let consented = match self.grant {
            Grant::ClientCredentials(_) => None,
            _ => kept.and_then(Kept::issuer),
        };
        let named = found.issuer.as_deref();
        let metadata = match self.pinned(consented, named) {
            Ok(Some(issuer)) => issuer::metadata(issuer).await?,
            Ok(None) => {
                issuer::at_origin_of(&self.server, named)?;
                found
            }
            // A client that registers itself may move: the user is asked, and these tokens are sent nowhere.
            Err(_) if self.issuer.is_none() && self.registers_itself() => {
                return Err(Failure::ConsentNeeded);
            }
            Err(failure) => return Err(failure),
        };
        manager.set_metadata(metadata);
        if let Grant::ClientCredentials(config) = &self.grant {
            manager.validate_client_credentials_metadata(config)?;
            manager.configure_client_credentials(config)?;
        }
        Ok(manager)
    }

    async fn bare_manager(&self) -> Result<AuthorizationManager, Failure> {
        let server = &*self.server;
        let mut manager = if self.private_addresses {
            AuthorizationManager::new_allowing_private_addresses(server).await?
        } else {
            AuthorizationManager::new(server).await?
        };
        self.store.lend_to(&mut manager);
        Ok(manager)
    }

    /// The issuer of the configuration, else that of a consent, if it is also the one that the MCP server names.
    fn pinned<'a>(
        &'a self,
        consented: Option<&'a str>,
        named: Option<&str>,
    ) -> Result<Option<&'a str>, Failure> {
        match self.issuer.as_deref() {
            Some(issuer) => issuer::checked(Some(issuer), named, "the configured issuer"),
            None => issuer::checked(consented, named, "the one that was consented at"),
        }
    }

    /// Whether what is in store was issued to this client, by the issuer of the configuration.
    fn is_ours(&self, kept: &Kept) -> bool {
        let client = match &self.grant {
            Grant::ClientCredentials(ClientCredentialsConfig::ClientSecret {
                client_id, ..
            }) => Some(client_id.as_str()),
            Grant::Code(code) => code.client_id(),
            _ => None,
        };
        client.is_none_or(|client| client == kept.client_id())
            && match (&self.issuer, kept.issuer()) {
                (Some(pinned), Some(issuer)) => issuer::is_same(pinned, issuer),
                _ => true,
            }
    }

    fn registers_itself(&self) -> bool {
        matches!(&self.grant, Grant::Code(code) if code.client_id().is_none())
    }

    /// The client that the configuration has registered with the authorization server, if it has this id.
    fn configured(&self, client_id: &str) -> Option<OAuthClientConfig> {
        match &self.grant {
            Grant::Code(code) => code.configured(client_id),
            _ => None,
        }
    }

    /// The failure in words, without the secrets of this client.
    async fn text_of(&self, failure: Failure) -> String {
        failure.into_text(&self.state.lock().await.secrets)
    }
}

impl ValueSource for OAuth {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        self.value_for(asked, None)
    }

    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        Box::pin(async move {
            let grants = &self.client.grants;
            let known = *grants.given.borrow();
            match self.token(asked, challenge).await {
                Ok(Some(token)) => {
                    grants.taken.fetch_max(known, Ordering::Relaxed);
                    Ok(format!("Bearer {token}"))
                }
                Ok(None) => Err(SourceError::none_yet()),
                Err(failure) => Err(SourceError::new(self.client.text_of(failure).await)),
            }
        })
    }

    fn can_step_up(&self) -> bool {
        matches!(self.client.grant, Grant::Code(_))
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let grants = &self.client.grants;
            let mut given = grants.given.subscribe();
            let newer = |given: &u64| *given > grants.taken.load(Ordering::Relaxed);
            if given.wait_for(newer).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = match &self.client.grant {
            Grant::ClientCredentials(_) => "client credentials",
            Grant::Code(_) => "authorization code",
            Grant::Stored => "stored",
        };
        f.debug_struct("OAuth")
            .field("grant", &grant)
            .field("issuer", &self.client.issuer)
            .finish_non_exhaustive()
    }
}
