//! Where the gateway listens: sockets that the service manager has opened, or its own.

use std::path::PathBuf;

use mcp_gateway::{Error, Gateway};
use mcp_http_server::Listener;
use mcp_pooled_tools::GatewayConfig;

use crate::{exit::Exit, failure::Failure};

/// The sockets of the gateway.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) listeners: Vec<Listener>,
    /// As texts: `http://127.0.0.1:9888/mcp`, `/run/user/1000/mcp-pool/daemon.sock`.
    pub(super) addresses: Vec<String>,
    /// The file of a socket of its own, to be removed at the end.
    pub(super) file: Option<PathBuf>,
}

impl Listeners {
    /// The sockets of the service manager (`LISTEN_FDS`), or the configured ones if there are none.
    pub(super) async fn of(gateway: &Gateway, config: &GatewayConfig) -> Result<Self, Failure> {
        let inherited = gateway.inherited().map_err(failed)?;
        let (listeners, file) = match inherited.is_empty() {
            true => (
                gateway.listen().await.map_err(failed)?,
                config.socket.clone(),
            ),
            false => (inherited, None),
        };
        let mut all = Self {
            listeners: Vec::new(),
            addresses: Vec::new(),
            file,
        };
        for listener in listeners {
            all.add(listener);
        }
        Ok(all)
    }

    /// Adds a socket; one of Unix is for processes of this user alone.
    fn add(&mut self, listener: Listener) {
        let (listener, address) = match listener {
            Listener::Unix(socket) => {
                let path = socket.local_addr().ok();
                let path = path.and_then(|path| path.as_pathname().map(PathBuf::from));
                // Its own was bound under another name.
                let path = self.file.clone().or(path).unwrap_or_default();
                let user = rustix::process::geteuid().as_raw();
                let address = path.display().to_string();
                (Listener::UnixOfUser(socket, user), Some(address))
            }
            Listener::Tcp(socket) => {
                let address = socket.local_addr().ok();
                let address = address.map(|address| format!("http://{address}/mcp"));
                (Listener::Tcp(socket), address)
            }
            other => (other, None),
        };
        self.addresses.extend(address);
        self.listeners.push(listener);
    }
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Listen { at, source } => {
            let message = format!("cannot listen at {at}: {source}");
            let failure = Failure::new(Exit::Unreachable, message);
            failure.fix("mcp-pool serve --listen 127.0.0.1:0, or end what listens there")
        }
        error => Failure::usage(error),
    }
}
