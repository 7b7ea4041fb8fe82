//! Where the gateway listens: the configured address and Unix socket, or sockets that systemd has opened.

use std::{fs, io, path::Path};

use listenfd::ListenFd;
use mcp_http_server::Listener;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::{error::Error, gateway::Gateway};

impl Gateway {
    /// Listens at the configured `listen` and `socket`, for [`serve_app`](Gateway::serve_app). The socket's file has mode 0600;
    /// one that nothing listens on any more is replaced.
    ///
    /// # Errors
    /// [`Error::Listen`].
    ///
    /// # Cancel safety
    /// May be dropped; what listens by then does so no more.
    pub async fn listen(&self) -> Result<Vec<Listener>, Error> {
        let config = self.0.manager.gateway_config();
        let mut listeners = Vec::new();
        if let Some(address) = config.address() {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|source| Error::Listen {
                    at: address.to_owned(),
                    source,
                })?;
            listeners.push(listener.into());
        }
        if let Some(path) = &config.socket {
            let listener = at_socket(path).await.map_err(|source| Error::Listen {
                at: path.display().to_string(),
                source,
            })?;
            listeners.push(listener);
        }
        Ok(listeners)
    }

    /// The TCP and Unix sockets that systemd has opened for this process (`LISTEN_FDS`), for
    /// [`serve_app`](Gateway::serve_app); none if there are none. They can be taken once. Call it at the start of the program, before
    /// other threads read the environment.
    ///
    /// # Errors
    /// [`Error::Listen`] for a socket of another kind. [`Error::Setting`] for an address that `listen` could not have, because
    /// other machines would reach it without authentication or without TLS.
    pub fn inherited(&self) -> Result<Vec<Listener>, Error> {
        let mut sockets = ListenFd::from_env();
        let taken = (0..sockets.len()).map(|at| {
            let listener = take(&mut sockets, at).map_err(|source| Error::Listen {
                at: format!("socket {at} of LISTEN_FDS"),
                source,
            })?;
            if let Listener::Tcp(listener) = &listener
                && let Ok(address) = listener.local_addr()
            {
                let mut config = (*self.0.manager.gateway_config()).clone();
                config.listen = Some(address.to_string());
                let valid = config.validate();
                valid.map_err(|error| Error::Setting(error.to_string()))?;
            }
            Ok(listener)
        });
        taken.collect()
    }
}

fn take(sockets: &mut ListenFd, at: usize) -> io::Result<Listener> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    #[cfg(unix)]
    if let Ok(Some(listener)) = sockets.take_unix_listener(at) {
        listener.set_nonblocking(true)?;
        return UnixListener::from_std(listener).map(Into::into);
    }
    let listener = sockets.take_tcp_listener(at)?.ok_or_else(missing)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Into::into)
}

#[cfg(unix)]
async fn at_socket(path: &Path) -> io::Result<Listener> {
    use std::os::unix::fs::PermissionsExt as _;

    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        ));
    }
    // Under its name it is never open to others, not even for a moment.
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(format!(".{}", std::process::id()));
    let unnamed = Path::new(&unnamed);
    match fs::remove_file(unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(unnamed)?;
    fs::set_permissions(unnamed, fs::Permissions::from_mode(0o600))?;
    fs::rename(unnamed, path)?;
    Ok(listener.into())
}

#[cfg(not(unix))]
async fn at_socket(_: &Path) -> io::Result<Listener> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "there are no Unix sockets here",
    ))
}
