//! Credentials of users at servers with OAuth, one file for each server in the state folder.
//!
//! A file belongs to a server's name and URL together: a token is not sent to another URL under the same name. `auth login`
//! writes it, and whatever opens a session with the server reads it and renews the token.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use mcp_pooled_tools::{
    BoxFuture, ConnectionManagerBuilder,
    core::{
        AuthChallenge,
        source::{Asked, OAuth, SourceError, ValueSource},
    },
};
use rmcp::transport::auth::{
    AuthError, CredentialRefreshGuard, CredentialStore, StoredCredentials,
};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use crate::folders::Folders;

/// The file of one server.
#[derive(Clone, Debug)]
pub(crate) struct CredentialFile(PathBuf);

impl CredentialFile {
    pub(crate) fn of(folders: &Folders, server: &str, url: &str) -> Self {
        let hash = Sha256::digest(format!("{server}\n{url}"));
        let name: String = hash[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self(folders.state.join("oauth").join(format!("{name}.json")))
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Removes it. `false` if there is none.
    pub(crate) fn remove(&self) -> io::Result<bool> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    fn read(&self) -> io::Result<Option<StoredCredentials>> {
        match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(serde_json::from_slice(&text?)?)),
        }
    }

    /// Keeps other processes from renewing the token until it is dropped. It waits for them.
    fn lock(&self) -> io::Result<File> {
        private_folder(self.folder())?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(self.0.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    fn folder(&self) -> &Path {
        self.0.parent().expect("it is in a folder of the state")
    }

    /// Whole or not at all, for the owner alone.
    fn write(&self, credentials: &StoredCredentials) -> io::Result<()> {
        private_folder(self.folder())?;
        let mut file = tempfile::NamedTempFile::new_in(self.folder())?;
        file.write_all(&serde_json::to_vec(credentials)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        Ok(())
    }
}

/// Makes a folder that its owner alone may look into.
fn private_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[async_trait]
impl CredentialStore for CredentialFile {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let file = self.clone();
        blocking(move || file.read()).await
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let file = self.clone();
        blocking(move || file.write(&credentials)).await
    }

    async fn acquire_refresh_guard(&self) -> Result<Option<CredentialRefreshGuard>, AuthError> {
        let file = self.clone();
        let lock = blocking(move || file.lock()).await?;
        Ok(Some(CredentialRefreshGuard::new(lock)))
    }

    async fn clear(&self) -> Result<(), AuthError> {
        let file = self.clone();
        blocking(move || file.remove().map(drop)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, AuthError> {
    let done = spawn_blocking(work).await.map_err(io::Error::other);
    let done = done.and_then(|done| done);
    done.map_err(|error| AuthError::InternalError(format!("the credentials' file: {error}")))
}

/// Gives each server over HTTP the token of a login. In place of a header `Authorization` of its entry it is given only if there
/// is one when the server is set up.
pub(crate) fn attach(
    builder: ConnectionManagerBuilder,
    folders: &Folders,
) -> ConnectionManagerBuilder {
    let folders = folders.clone();
    builder.find_header("Authorization", move |server, http| {
        let file = CredentialFile::of(&folders, server, &http.url);
        let has_own = |name: &String| name.eq_ignore_ascii_case("authorization");
        let mut own = http.headers.keys().chain(http.headers_from.keys());
        if own.any(has_own) && !file.exists() {
            return None;
        }
        Some(Arc::new(Login {
            server: server.to_owned(),
            token: OAuth::stored(&*http.url, file.clone()),
            file,
        }))
    })
}

/// The login of a user at a server. It is looked for with each session that is opened, so that a daemon takes one that is made
/// while it runs.
#[derive(Debug)]
struct Login {
    server: String,
    file: CredentialFile,
    token: OAuth,
}

impl ValueSource for Login {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        self.value_for(asked, None)
    }

    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        Box::pin(async move {
            let file = self.file.clone();
            let exists = spawn_blocking(move || file.exists()).await.unwrap_or(false);
            if exists {
                return self.token.value_for(asked, challenge).await;
            }
            Err(match asked {
                Asked::Open => SourceError::none_yet(),
                _ => SourceError::new(format!(
                    "the server wants credentials: mcp-pool auth login {}, or a header Authorization in its entry",
                    self.server
                )),
            })
        })
    }
}
