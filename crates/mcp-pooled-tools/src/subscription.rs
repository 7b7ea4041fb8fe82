//! Subscription of a session to changes of its server's lists.
//!
//! A legacy session hears of them from its opening on. A modern one has to ask to be told, and hears what comes after
//! the server's acknowledgement; so the opening waits for that, a little, and no change falls between the two.

pub(crate) mod resources;

use std::{sync::Arc, time::Duration};

use mcp_pool_core::{Connected, Era};
use rmcp::{
    RoleClient,
    model::{ServerPeerInfo, SubscriptionFilter},
    service::{Peer, ServiceError},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::notifications::Notifications;

/// Subscribes the session to changes until it ends.
pub(crate) async fn begin(connected: &Connected, notifications: &Arc<Notifications>) {
    /// A server that takes longer than this is not waited for: its lists are requested again once it has acknowledged.
    const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);
    let peer = connected.peer().clone();
    let Some(filter) = announced(peer.peer_info().as_deref()) else {
        return;
    };
    if connected.era() == Era::Legacy {
        let (notifications, mut deaf) = (Arc::clone(notifications), connected.deaf());
        let mut listening = (!*deaf.borrow_and_update()).then(|| notifications.listen());
        connected.spawn_task(|leave| async move {
            loop {
                tokio::select! {
                    () = leave.cancelled() => return,
                    Ok(()) = deaf.changed() => {
                        let is_deaf = *deaf.borrow_and_update();
                        if is_deaf {
                            listening = None;
                        } else if listening.is_none() {
                            listening = Some(notifications.listen());
                        }
                    }
                }
            }
        });
        return;
    }
    let (acknowledged, first_answer) = oneshot::channel();
    let notifications = Arc::clone(notifications);
    connected.spawn_task(|leave| async move {
        keep_asking((&peer, filter), &notifications, &leave, acknowledged).await;
    });
    let _ = timeout(ACKNOWLEDGED_WITHIN, first_answer).await;
}

/// The changes that the server announces, if it announces any.
fn announced(server: Option<&ServerPeerInfo>) -> Option<SubscriptionFilter> {
    let capabilities = &server?.capabilities;
    let mut filter = SubscriptionFilter::builder();
    let tools = capabilities.tools.as_ref();
    if tools.is_some_and(|tools| tools.list_changed == Some(true)) {
        filter = filter.tools_list_changed();
    }
    let prompts = capabilities.prompts.as_ref();
    if prompts.is_some_and(|prompts| prompts.list_changed == Some(true)) {
        filter = filter.prompts_list_changed();
    }
    let resources = capabilities.resources.as_ref();
    if resources.is_some_and(|resources| resources.list_changed == Some(true)) {
        filter = filter.resources_list_changed();
    }
    let filter = filter.build();
    (filter != SubscriptionFilter::new()).then_some(filter)
}

/// `acknowledged` is sent to, or dropped, when the first answer has come.
async fn keep_asking(
    (peer, filter): (&Peer<RoleClient>, SubscriptionFilter),
    notifications: &Arc<Notifications>,
    leave: &CancellationToken,
    acknowledged: oneshot::Sender<()>,
) {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);
    /// Failed attempts in a row.
    const MOST_TRIES: u32 = 8;
    let (mut pause, mut in_vain) = (FIRST, 0);
    let mut acknowledged = Some(acknowledged);
    loop {
        let asked = tokio::select! {
            asked = peer.listen(filter.clone()) => asked,
            () = leave.cancelled() => return,
        };
        match asked {
            Ok(mut changes) => {
                in_vain = 0;
                let _listening = notifications.listen();
                acknowledged.take().map(|first| first.send(()));
                loop {
                    // The listener receives the change itself; here it is only taken from the queue.
                    tokio::select! {
                        change = changes.next() => match change {
                            Ok(Some(_)) => pause = FIRST,
                            _ => break,
                        },
                        () = leave.cancelled() => {
                            // A server waits for its listeners before it heeds the end of its stdin.
                            let _ = changes.cancel().await;
                            return;
                        }
                    }
                }
            }
            // It will not tell, whatever it has declared.
            Err(ServiceError::McpError(_)) => return,
            Err(_) => {
                drop(acknowledged.take());
                in_vain += 1;
                if in_vain == MOST_TRIES {
                    return;
                }
            }
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST),
            () = leave.cancelled() => return,
        }
    }
}
