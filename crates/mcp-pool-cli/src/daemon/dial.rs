//! The way to the daemon, which is started where it is absent.

use std::{fmt, io, process::Stdio};

use http::{HeaderName, HeaderValue};
use tokio::{
    process::Command,
    sync::{Mutex, Notify},
};

use super::socket::{Connection, Socket};
use crate::programs;

/// How the daemon is reached.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) socket: Socket,
    /// The name of this connection, if the daemon is to know what belongs to it.
    pub(crate) connection: Option<HeaderValue>,
    starts: bool,
    /// Held while the daemon is started.
    starting: Mutex<()>,
    /// Notified when it was started.
    pub(crate) started: Notify,
}

/// Names the connection that a request belongs to.
pub(crate) const CONNECTION: HeaderName = HeaderName::from_static("mcp-pool-connection");

/// The daemon cannot be reached. Nothing was sent to it.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) String);

impl Dial {
    /// Reaches a daemon that is there.
    pub(crate) fn running(socket: Socket) -> Self {
        Self {
            socket,
            connection: None,
            starts: false,
            starting: Mutex::default(),
            started: Notify::new(),
        }
    }

    /// Starts the daemon of this user where it is absent.
    pub(crate) fn starting(socket: Socket) -> Self {
        Self {
            starts: true,
            ..Self::running(socket)
        }
    }

    /// Names the connection. No other has the same name.
    pub(crate) fn named(self, connection: HeaderValue) -> Self {
        Self {
            connection: Some(connection),
            ..self
        }
    }

    /// Connects, and starts the daemon if it is absent.
    ///
    /// # Errors
    /// [`Unreachable`], with what can be done.
    pub(crate) async fn connect(&self) -> Result<Connection, Unreachable> {
        match self.socket.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if self.starts && is_absent(&error) => {}
            Err(error) => return Err(self.unreachable(&error)),
        }
        let _starting = self.starting.lock().await;
        // Another request was quicker.
        if let Ok(connection) = self.socket.connect().await {
            return Ok(connection);
        }
        start().await?;
        let connection = self.socket.connect().await;
        let connection = connection.map_err(|error| self.unreachable(&error))?;
        self.started.notify_waiters();
        Ok(connection)
    }

    fn unreachable(&self, error: &io::Error) -> Unreachable {
        let path = self.socket.path().display();
        Unreachable(format!("the daemon cannot be reached at {path}: {error}"))
    }
}

/// Whether nothing listens at the socket. A daemon that ends resets the connections that it has not accepted.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
    )
}

/// Runs `mcp-pool start`. The daemon is then no child of this process, which would have to collect it at its end.
async fn start() -> Result<(), Unreachable> {
    let failed =
        |why: &dyn fmt::Display| Unreachable(format!("the daemon cannot be started: {why}"));
    let program = programs::path(programs::MAIN).map_err(|error| failed(&error))?;
    let output = Command::new(program)
        .args(["--quiet", "start"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .await
        .map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("error: ");
    Err(failed(&said.replace('\n', "; ")))
}
