//! Graceful and forced close of a session, off the caller's path, within a deadline, down to the process group.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    lifecycle::{CloseReason, SessionState},
    process::{CloseTimeouts, Tree},
    session::Session,
};

/// How long the tasks beside a session may take to end.
const LEAVE: Duration = Duration::from_millis(100);

/// How long a session without a process may take to end: the DELETE of an HTTP session.
const GOODBYE: Duration = Duration::from_secs(2);

/// Closes a session. Returns when nothing of it is left, or nothing more can be done.
pub(crate) async fn close(session: &Session, reason: CloseReason) {
    // A server that does not end a cancelled call will not clean up either, and its place is wanted.
    let timeouts = if reason.is_fault() || reason == CloseReason::Abandoned {
        CloseTimeouts::FAST
    } else {
        CloseTimeouts::GRACEFUL
    };
    session.lifecycle().advance(if reason.is_fault() {
        SessionState::Error
    } else {
        SessionState::Shutdown
    });
    if !reason.is_fault() {
        session.end_tasks(LEAVE).await;
    }
    // While the server lives: its end hides what it has started.
    let tree = match session.process() {
        Some(process) => process.descendants().await,
        None => Tree::default(),
    };
    // Stops rmcp's loop and lets go of the pipes: a server reads the end of its stdin. rmcp's own `close` is not
    // used: it can hang on a frozen child.
    session.end_service();
    match session.process() {
        Some(process) => process.end(timeouts, tree).await,
        None => drop(timeout(GOODBYE, session.ended().cancelled()).await),
    }
    session.lifecycle().advance(SessionState::Shutdown);
    session.mark_closed();
}

/// Kills a session whose task has been dropped, where nothing can be awaited.
pub(crate) fn kill(session: &Session) {
    session.dismiss(CloseReason::Broken);
    session.end_service();
    if let Some(process) = session.process() {
        process.kill();
    }
    session.lifecycle().advance(SessionState::Shutdown);
    session.mark_closed();
}
