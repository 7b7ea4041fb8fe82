//! Tokens for the credentials of the client.
//!
//! With rmcp's feature `auth-client-credentials-jwt` the future of its exchange cannot move between threads, and a source
//! cannot wait for it. So it runs in a thread and a runtime of its own.

use std::time::Duration;

use rmcp::transport::auth::{AuthError, AuthorizationManager, ClientCredentialsConfig};
use tokio::{sync::oneshot, time::timeout};

use super::{failure::Failure, text_of};

/// Exchanges the credentials for an access token. Returns the manager with the outcome.
///
/// # Errors
/// The thread could not be started, or the server did not answer within 30 s.
///
/// # Cancel safety
/// If the future is dropped, the exchange goes on for its 30 s at most, and the manager is lost.
pub(super) async fn exchange(
    manager: AuthorizationManager,
    config: ClientCredentialsConfig,
) -> Result<(AuthorizationManager, Result<Option<String>, AuthError>), Failure> {
    let (sender, outcome) = oneshot::channel();
    let exchange = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let token = runtime
            .block_on(async { timeout(LIMIT, manager.exchange_client_credentials(&config)).await });
        Ok((manager, token))
    };
    std::thread::Builder::new()
        .name("mcp-pool-oauth".to_owned())
        .spawn(move || {
            // The caller may have given up.
            let _ = sender.send(exchange());
        })
        .map_err(|error| Failure::new(format!("no thread for the exchange: {error}")))?;
    let gone = |_| Failure::new("the exchange for a token panicked");
    let outcome: std::io::Result<_> = outcome.await.map_err(gone)?;
    let (manager, token) =
        outcome.map_err(|error| Failure::new(format!("no runtime for the exchange: {error}")))?;
    let token = token.map_err(|_| {
        Failure::new(format!(
            "the authorization server gave no answer within {LIMIT:?}"
        ))
    })?;
    Ok((manager, token.map(|token| text_of(&token, "access_token"))))
}

const LIMIT: Duration = Duration::from_secs(30);
