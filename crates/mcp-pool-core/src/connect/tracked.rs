//! A transport whose requests are followed to their answers.

use std::{borrow::Cow, sync::Arc};

use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};

use crate::unanswered::Unanswered;

/// A transport that notes every request that leaves and every answer that comes in.
pub(super) struct Tracked<T> {
    inner: T,
    unanswered: Arc<Unanswered>,
}

impl<T> Tracked<T> {
    pub(super) fn new(inner: T, unanswered: Arc<Unanswered>) -> Self {
        Self { inner, unanswered }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tracked<T> {
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let request = self.unanswered.sending(&item);
        let (sending, unanswered) = (self.inner.send(item), Arc::clone(&self.unanswered));
        async move {
            let sent = sending.await;
            if let (Err(_), Some(id)) = (&sent, request) {
                unanswered.not_sent(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let message = self.inner.receive().await;
        if let Some(message) = &message {
            self.unanswered.received(message);
        }
        message
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
