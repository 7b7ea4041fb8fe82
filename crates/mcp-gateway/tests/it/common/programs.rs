//! Programs that listen on a port of this machine.

use std::{process::Stdio, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::MINUTE;

/// A port that nothing listens on.
pub(crate) async fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    free.local_addr().unwrap().port()
}

/// Starts a program that ends with the test, and waits until it listens on this port.
pub(crate) async fn listening(mut command: Command, port: u16) -> Child {
    command.stdout(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(MINUTE, listening).await.unwrap();
    child
}
