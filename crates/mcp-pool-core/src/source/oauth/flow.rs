//! The authorization code flow: from a challenge to a token, by way of a user.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reqwest::Url;
use rmcp::transport::auth::{
    AuthorizationManager, AuthorizationMetadata, AuthorizationRequest, AuthorizationSession,
    OAuthClientConfig,
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    Client,
    consent::{self, Ask, ConsentRequest, Redirect},
    failure::{Failure, Secrets},
    issuer,
    store::Kept,
};
use crate::{challenge::AuthChallenge, source::SourceError};

/// How a user's consent is asked for, and as which client.
///
/// The client is, in this order: the one that is [registered](Self::client) with the authorization server beforehand; the
/// one whose [metadata document](Self::client_metadata_url) has a URL, where the authorization server takes such clients;
/// else one that registers itself (RFC 7591).
///
/// ```
/// use mcp_pool_core::source::{AuthorizationCode, ConsentRequest, OAuth, Redirect};
///
/// # async fn next_request_to_port_3000() -> String { String::new() }
/// let code = AuthorizationCode::new("http://localhost:3000/callback", |consent: ConsentRequest| async move {
///     println!("Open {} to let this program use the server.", consent.url);
///     // Serve the redirect URI until the browser comes back.
///     let path_and_query = next_request_to_port_3000().await;
///     Redirect::from_url(&path_and_query)
/// })
/// .client_name("My agent");
/// let oauth = OAuth::authorization_code("https://mcp.example/mcp", code);
/// ```
pub struct AuthorizationCode {
    redirect_uri: String,
    ask: Ask,
    client: Option<(String, Option<String>)>,
    metadata_url: Option<String>,
    client_name: String,
    scopes: Vec<String>,
}

impl AuthorizationCode {
    /// `ask` shows the page of a [`ConsentRequest`] and returns the redirect's parameters; PKCE, the check of the state and
    /// of the issuer are done here. `redirect_uri` is where the browser is sent afterwards.
    ///
    /// One consent is asked for at a time. It goes on when the opening that wanted it has run out of time; sessions are
    /// opened as soon as it is given. It ends with the source, or with the runtime. After a consent that was declined, the
    /// next opening without a token asks again: return an error at once where that is too often.
    pub fn new<F, Fut>(redirect_uri: impl Into<String>, ask: F) -> Self
    where
        F: Fn(ConsentRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Redirect, SourceError>> + Send + 'static,
    {
        Self {
            redirect_uri: redirect_uri.into(),
            ask: consent::boxed(ask),
            client: None,
            metadata_url: None,
            client_name: "mcp-pool".to_owned(),
            scopes: Vec::new(),
        }
    }

    /// A client that the authorization server knows already, with its secret if it has one.
    ///
    /// Set [`OAuth::issuer`](super::OAuth::issuer), too: a secret belongs to one authorization server.
    #[must_use]
    pub fn client(mut self, id: impl Into<String>, secret: Option<String>) -> Self {
        self.client = Some((id.into(), secret));
        self
    }

    /// The https URL of a document that describes the client, which is its id.
    #[must_use]
    pub fn client_metadata_url(mut self, url: impl Into<String>) -> Self {
        self.metadata_url = Some(url.into());
        self
    }

    /// The name under which the client registers itself, shown to the user (default: `mcp-pool`).
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// Scopes to ask for beside those of the server's challenge. Default: those of the challenge, else those that the
    /// server's metadata lists.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    pub(super) fn client_id(&self) -> Option<&str> {
        self.client.as_ref().map(|(id, _)| id.as_str())
    }

    pub(super) fn configured(&self, client_id: &str) -> Option<OAuthClientConfig> {
        let (id, secret) = self.client.as_ref().filter(|(id, _)| id == client_id)?;
        Some(self.registered(id, secret.as_deref()))
    }

    fn registered(&self, id: &str, secret: Option<&str>) -> OAuthClientConfig {
        let config = OAuthClientConfig::new(id, &self.redirect_uri);
        match secret {
            Some(secret) => config.with_client_secret(secret),
            None => config,
        }
    }

    pub(super) fn add_secrets_to(&self, secrets: &mut Secrets) {
        if let Some((_, Some(secret))) = &self.client {
            secrets.add(secret);
        }
    }
}

impl fmt::Debug for AuthorizationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationCode")
            .field("redirect_uri", &self.redirect_uri)
            .field("client", &self.client_id())
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

type Outcome = Option<Result<(), Arc<str>>>;

/// The consent that is being asked for, if one is. It has a task of its own: a user takes longer than an opening may.
#[derive(Default)]
pub(super) struct Consents(Mutex<Running>);

#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    outcome: Option<watch::Receiver<Outcome>>,
}

impl Consents {
    pub(super) fn is_running(&self) -> bool {
        self.0.lock().outcome().is_some()
    }

    /// Waits for the consent that is being asked for, or asks for one.
    pub(super) async fn obtain(
        &self,
        client: &Client,
        code: &Arc<AuthorizationCode>,
        challenge: Option<&AuthChallenge>,
    ) -> Result<(), Failure> {
        let mut outcome = self.0.lock().join(client, code, challenge);
        let outcome = outcome.wait_for(Option::is_some).await;
        match outcome.as_deref() {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(text))) => Err(Failure::new(&**text)),
            _ => Err(Failure::new(
                "the consent was given up: its runtime has ended",
            )),
        }
    }
}

impl Running {
    fn outcome(&self) -> Option<watch::Receiver<Outcome>> {
        let outcome = self.outcome.clone()?;
        let running = outcome.borrow().is_none() && outcome.has_changed().is_ok();
        running.then_some(outcome)
    }

    fn join(
        &mut self,
        client: &Client,
        code: &Arc<AuthorizationCode>,
        challenge: Option<&AuthChallenge>,
    ) -> watch::Receiver<Outcome> {
        if let Some(outcome) = self.outcome() {
            return outcome;
        }
        // Of what has ended nothing is kept.
        while self.tasks.try_join_next().is_some() {}
        let (teller, outcome) = watch::channel(None);
        let (client, code, challenge) = (client.clone(), Arc::clone(code), challenge.cloned());
        self.tasks.spawn(async move {
            let consented = client.consent(&code, challenge.as_ref()).await;
            let reported = match consented {
                Ok(()) => {
                    client.grants.given.send_modify(|given| *given += 1);
                    Ok(())
                }
                Err(failure) => Err(client.text_of(failure).await.into()),
            };
            teller.send_replace(Some(reported));
        });
        self.outcome = Some(outcome.clone());
        outcome
    }
}

impl Client {
    /// Whether a consent can help where the server wants more scope.
    ///
    /// # Errors
    /// It wants what was asked for a short time ago: the user or the authorization server does not grant it.
    pub(super) async fn check_step_up(
        &self,
        challenge: Option<&AuthChallenge>,
    ) -> Result<(), Failure> {
        /// A user who has declined is left alone for so long.
        const PAUSE: Duration = Duration::from_secs(10 * 60);
        let wanted = scopes_of(challenge);
        if wanted.is_empty() {
            let text =
                "the server wants another scope (403 insufficient_scope) and does not say which";
            return Err(Failure::new(text));
        }
        let state = self.state.lock().await;
        let asked_for = state.asked_for.as_ref();
        let refused = asked_for.is_some_and(|(scopes, at)| {
            at.elapsed() < PAUSE && wanted.iter().all(|scope| scopes.contains(scope))
        });
        if refused {
            return Err(Failure::new(format!(
                "the server wants the scope `{}` (403 insufficient_scope), which was asked for already; it was not \
                 granted, or it is not enough",
                wanted.join(" ")
            )));
        }
        Ok(())
    }

    /// Asks a user, and puts the tokens into the store.
    async fn consent(
        &self,
        code: &AuthorizationCode,
        challenge: Option<&AuthChallenge>,
    ) -> Result<(), Failure> {
        let kept = self.store.load().await?;
        let before = kept.as_ref().and_then(Kept::issuer);
        let mut manager = self.bare_manager().await?;
        let header = challenge.map(AuthChallenge::header);
        let found = manager
            .resolve_metadata_from_challenge(header)
            .await?
            .metadata;
        // A client of the configuration has one authorization server; one that registers itself has a new secret at each.
        let consented = code.client.as_ref().and(before);
        let named = found.issuer.as_deref();
        let metadata = match self.pinned(consented, named)? {
            Some(issuer) => issuer::metadata(issuer).await?,
            None => found,
        };
        manager.set_metadata(metadata.clone());

        let scopes = self.scopes_to_ask_for(code, challenge, kept.as_ref()).await;
        let request = AuthorizationRequest::new(&code.redirect_uri)
            .with_initial_scope_selection()
            .with_scopes(&scopes);
        let request = self
            .with_client(request, code, &metadata, &mut manager, &scopes)
            .await?;
        let session = AuthorizationSession::new(manager, request)
            .await
            .map_err(|(_, error)| error)?;
        let url = session.get_authorization_url().to_owned();
        let scopes = scopes_in(&url);
        let issuer = metadata.issuer;
        let previous = before.filter(|before| {
            issuer
                .as_deref()
                .is_none_or(|issuer| !issuer::is_same(before, issuer))
        });
        let request = ConsentRequest {
            url,
            issuer: issuer.clone(),
            previous_issuer: previous.map(str::to_owned),
            scopes: scopes.clone(),
        };
        tracing::info!(?request, "a user is asked for consent");
        self.state.lock().await.asked_for = Some((scopes, Instant::now()));
        let redirect = (code.ask)(request).await?;

        self.state.lock().await.secrets.add_passing(&redirect.code);
        let Redirect {
            code,
            state,
            issuer,
        } = &redirect;
        session
            .handle_callback_with_issuer(code, state, issuer.as_deref())
            .await?;
        let mut state = self.state.lock().await;
        state.manager = Some(session.auth_manager);
        state.renewed = None;
        Ok(())
    }

    /// What was granted or asked for before, what the configuration says, and what the server wants now: a consent to less
    /// would take away what another tool needs.
    async fn scopes_to_ask_for(
        &self,
        code: &AuthorizationCode,
        challenge: Option<&AuthChallenge>,
        kept: Option<&Kept>,
    ) -> Vec<String> {
        let mut scopes = code.scopes.clone();
        let mut add = |scope: &String| {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        };
        kept.iter()
            .flat_map(|kept| kept.granted_scopes())
            .for_each(&mut add);
        let state = self.state.lock().await;
        let before = state.asked_for.iter().flat_map(|(scopes, _)| scopes);
        before.for_each(&mut add);
        scopes_of(challenge).iter().for_each(&mut add);
        scopes
    }

    /// The request, on behalf of the client that the authorization server knows, or is made to know.
    async fn with_client(
        &self,
        request: AuthorizationRequest,
        code: &AuthorizationCode,
        metadata: &AuthorizationMetadata,
        manager: &mut AuthorizationManager,
        scopes: &[String],
    ) -> Result<AuthorizationRequest, Failure> {
        let supports =
            |what: &str| metadata.additional_fields.get(what) == Some(&Value::Bool(true));
        let config = match (&code.client, &code.metadata_url) {
            (Some((id, secret)), _) => code.registered(id, secret.as_deref()),
            (None, Some(url)) if supports("client_id_metadata_document_supported") => {
                return Ok(request.with_client_metadata_url(url));
            }
            _ => {
                let mut state = self.state.lock().await;
                let known = state.registered.as_ref();
                match known.filter(|(issuer, _)| *issuer == metadata.issuer) {
                    Some((_, config)) => config.clone(),
                    None => {
                        let chosen = match scopes {
                            [] => manager.select_initial_scopes(&[]).await,
                            scopes => scopes.to_vec(),
                        };
                        let chosen: Vec<_> = chosen.iter().map(String::as_str).collect();
                        let (name, uri) = (&code.client_name, &code.redirect_uri);
                        let config = manager.register_client(name, uri, &chosen).await?;
                        if let Some(secret) = &config.client_secret {
                            state.secrets.add(secret);
                        }
                        state.registered = Some((metadata.issuer.clone(), config.clone()));
                        config
                    }
                }
            }
        };
        let request = request.with_preregistered_client(config.client_id);
        Ok(match config.client_secret {
            Some(secret) => request.with_client_secret(secret),
            None => request,
        })
    }
}

fn scopes_of(challenge: Option<&AuthChallenge>) -> Vec<String> {
    let scope = challenge.and_then(|challenge| challenge.scope.as_deref());
    let words = scope.unwrap_or_default().split_whitespace();
    words.map(str::to_owned).collect()
}

fn scopes_in(url: &str) -> Vec<String> {
    let url = Url::parse(url).ok();
    let pairs = url.iter().flat_map(Url::query_pairs);
    let scope = pairs.filter(|(name, _)| name == "scope");
    scope
        .flat_map(|(_, value)| {
            value
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}
