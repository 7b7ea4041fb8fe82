//! Where the gateway listens: sockets that the service manager has opened, or its own.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use mcp_http_server::Listener;
use tokio::net::{TcpListener, UnixListener};

use crate::{exit::Exit, failure::Failure};

/// The sockets of the gateway.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) listeners: Vec<Listener>,
    /// As texts: `http://127.0.0.1:9888/mcp`, `/run/user/1000/mcp-pool/daemon.sock`.
    pub(super) addresses: Vec<String>,
    /// The file of a socket of its own, which is removed at the end.
    file: Option<PathBuf>,
}

impl Listeners {
    /// The sockets of the service manager (`LISTEN_FDS`), if there are any.
    pub(super) fn inherited() -> Result<Option<Self>, Failure> {
        let failed = |error: io::Error| {
            Failure::internal(format!(
                "a socket of the service manager (LISTEN_FDS): {error}"
            ))
        };
        let mut found = ListenFd::from_env();
        let mut all = Self::default();
        for index in 0..found.len() {
            if let Ok(Some(socket)) = found.take_unix_listener(index) {
                socket.set_nonblocking(true).map_err(failed)?;
                let path = socket.local_addr().map_err(failed)?;
                let path = path.as_pathname().map(|path| path.display().to_string());
                let socket = UnixListener::from_std(socket).map_err(failed)?;
                all.addresses.push(path.unwrap_or_default());
                all.listeners.push(of_own_user(socket));
            } else if let Some(socket) = found.take_tcp_listener(index).map_err(failed)? {
                socket.set_nonblocking(true).map_err(failed)?;
                all.add_tcp(TcpListener::from_std(socket).map_err(failed)?);
            }
        }
        Ok((!all.listeners.is_empty()).then_some(all))
    }

    pub(super) async fn listen(&mut self, address: &str) -> Result<SocketAddr, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let failure = Failure::new(
                Exit::Unreachable,
                format!("cannot listen at {address}: {error}"),
            );
            failure.fix("mcp-pool serve --listen 127.0.0.1:0")
        })?;
        self.add_tcp(listener)
            .ok_or_else(|| Failure::internal(format!("{address} has no address")))
    }

    fn add_tcp(&mut self, listener: TcpListener) -> Option<SocketAddr> {
        let address = listener.local_addr().ok();
        if let Some(address) = address {
            self.addresses.push(format!("http://{address}/mcp"));
        }
        self.listeners.push(listener.into());
        address
    }

    /// Listens at a Unix socket of mode 0600. One that nothing listens on any more is replaced.
    pub(super) fn listen_unix(&mut self, path: &Path) -> Result<(), Failure> {
        let socket = bind(path).map_err(|error| {
            let message = format!("cannot listen at {}: {error}", path.display());
            Failure::new(Exit::Unreachable, message)
        })?;
        self.addresses.push(path.display().to_string());
        self.listeners.push(of_own_user(socket));
        self.file = Some(path.to_owned());
        Ok(())
    }

    /// Takes the file of its own socket away: who comes from now on finds no one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }
}

fn of_own_user(socket: UnixListener) -> Listener {
    Listener::UnixOfUser(socket, rustix::process::geteuid().as_raw())
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        ));
    }
    // Under its name it is never open to others, not even for a moment.
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(format!(".{}", std::process::id()));
    let unnamed = PathBuf::from(unnamed);
    match fs::remove_file(&unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, Permissions::from_mode(0o600))?;
    fs::rename(&unnamed, path)?;
    Ok(socket)
}
