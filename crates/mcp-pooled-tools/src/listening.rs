//! How a session comes to hear of changes in its server's tools.
//!
//! A legacy session hears of them from its opening on. A modern one has to ask to be told, and hears what comes after
//! the server's acknowledgement; so the opening waits for that, a little, and no change falls between the two.

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

use crate::tool_cache::{self, ToolCache};

/// Has the session hear of changes until it ends.
pub(crate) async fn begin(connected: &Connected, tools: &Arc<ToolCache>) {
    /// A server that takes longer than this is not waited for: its lists are asked for anew once it has said so.
    const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);
    let peer = connected.peer().clone();
    let info = peer.peer_info();
    let announces_tools = tool_cache::announces_changes(info.as_deref());
    if connected.era() == Era::Legacy {
        if !announces_tools {
            return;
        }
        let (tools, mut deaf) = (Arc::clone(tools), connected.deaf());
        let mut listening = (!*deaf.borrow_and_update()).then(|| tools.listen());
        connected.accompany(|leave| async move {
            loop {
                tokio::select! {
                    () = leave.cancelled() => return,
                    Ok(()) = deaf.changed() => {
                        let is_deaf = *deaf.borrow_and_update();
                        if is_deaf {
                            listening = None;
                        } else if listening.is_none() {
                            listening = Some(tools.listen());
                        }
                    }
                }
            }
        });
        return;
    }
    let filter = announced(info.as_deref());
    if filter == SubscriptionFilter::default() {
        return;
    }
    let (settled, acknowledged) = oneshot::channel();
    let tools = announces_tools.then(|| Arc::clone(tools));
    connected.accompany(|leave| async move {
        keep_asking(&peer, filter, tools.as_ref(), &leave, settled).await;
    });
    let _ = timeout(ACKNOWLEDGED_WITHIN, acknowledged).await;
}

/// The lists of whose changes the server notifies its clients.
fn announced(info: Option<&ServerPeerInfo>) -> SubscriptionFilter {
    let mut filter = SubscriptionFilter::builder();
    let Some(capabilities) = info.map(|info| &info.capabilities) else {
        return filter.build();
    };
    if tool_cache::announces_changes(info) {
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
    filter.build()
}

/// `settled` is told, or dropped, when the first answer has come.
async fn keep_asking(
    peer: &Peer<RoleClient>,
    filter: SubscriptionFilter,
    tools: Option<&Arc<ToolCache>>,
    leave: &CancellationToken,
    settled: oneshot::Sender<()>,
) {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);
    /// In vain, one after the other.
    const MOST_TRIES: u32 = 8;
    let (mut pause, mut in_vain) = (FIRST, 0);
    let mut settled = Some(settled);
    loop {
        let asked = tokio::select! {
            asked = peer.listen(filter.clone()) => asked,
            () = leave.cancelled() => return,
        };
        match asked {
            Ok(mut changes) => {
                in_vain = 0;
                let _listening = tools.map(ToolCache::listen);
                settled.take().map(|settled| settled.send(()));
                loop {
                    // The change itself is heard as it comes in; here it is only taken from the queue.
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
                drop(settled.take());
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
