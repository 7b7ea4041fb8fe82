//! A transport that drops a guard when it is dropped.

use std::borrow::Cow;

use rmcp::{
    RoleClient,
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
