//! A daemon that answers as a test has it answer.

use std::{future::pending, path::Path};

use axum::{Router, routing::get};
use mcp_http_server::Server;
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

/// Serves these routes at a socket until it is dropped. `connect` may attach.
pub(crate) struct FakeDaemon(
    #[expect(dead_code, reason = "ends when it is dropped")] AbortOnDropHandle<()>,
);

impl FakeDaemon {
    pub(crate) fn at(socket: &Path, routes: Router) -> Self {
        let folder = socket.parent().expect("a socket is in a folder");
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let listener = UnixListener::bind(socket).expect("nothing listens there");
        let routes = routes.route("/daemon/attach", get(pending::<()>));
        let served = Server::new().listen(listener).serve(routes, pending());
        Self(AbortOnDropHandle::new(tokio::spawn(served)))
    }
}
