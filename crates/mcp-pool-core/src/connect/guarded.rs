//! A transport that takes something with it when it goes, and lets others hear what it brings.

use std::borrow::Cow;

use rmcp::{
    RoleClient,
    model::{JsonRpcMessage, ServerNotification},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};

/// A transport and a guard dropped with it.
///
/// rmcp's service loop drops its transport when it ends, for whatever reason; nothing else says so to the outside
/// without being asked.
#[derive(Debug)]
pub(super) struct Guarded<T, G> {
    inner: T,
    _guard: G,
}

impl<T, G> Guarded<T, G> {
    pub(super) fn new(inner: T, guard: G) -> Self {
        Self {
            inner,
            _guard: guard,
        }
    }
}

impl<T, G> Transport<RoleClient> for Guarded<T, G>
where
    T: Transport<RoleClient>,
    G: Send,
{
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleClient>>> + Send {
        self.inner.receive()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}

/// A transport whose notifications are heard as they come in.
///
/// rmcp hands each to a task of its own, so that one sent before a reply may be handled after it. What makes a cached
/// list stale must be known before the caller has the reply in hand.
pub(super) struct Tapped<T, H> {
    inner: T,
    heard: H,
}

impl<T, H> Tapped<T, H> {
    pub(super) fn new(inner: T, heard: H) -> Self {
        Self { inner, heard }
    }
}

impl<T, H> Transport<RoleClient> for Tapped<T, H>
where
    T: Transport<RoleClient>,
    H: Fn(&ServerNotification) + Send,
{
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let message = self.inner.receive().await;
        if let Some(JsonRpcMessage::Notification(notification)) = &message {
            (self.heard)(&notification.notification);
        }
        message
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
