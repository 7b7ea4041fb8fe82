//! rmcp's own client as a [`Client`].

use std::{pin::pin, sync::Arc, time::Duration};

use mcp_pool_core::Phase;
use rmcp::{
    RoleClient,
    service::{DynService, Peer, RunningService, Service},
};

use super::{BoxFuture, Client};
use crate::{
    call::{CallDeadline, Exchange, Interrupted},
    error::Error,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
};

/// Input that the server asks for is given by the [handler](RequestOptions::handler) of the options, or declined. Progress
/// is delivered to the service of the peer. Scope, identity and replay have no effect.
impl Client for Peer<RoleClient> {
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(send(self, &(), request, options))
    }
}

/// As the peer's, but input is given by the service.
impl<S: Service<RoleClient>> Client for RunningService<RoleClient, S> {
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(send(self.peer(), self.service(), request, options))
    }
}

async fn send(
    peer: &Peer<RoleClient>,
    service: &dyn DynService<RoleClient>,
    mut request: Request,
    options: RequestOptions,
) -> Result<Reply, Error> {
    let info = peer.peer_info();
    let name = info.and_then(|info| Some(info.server_info.as_ref()?.name.clone()));
    let server: Arc<str> = name.as_deref().unwrap_or("unnamed").into();
    let operation = request.operation();
    options.add_meta(&mut request);
    let deadline = CallDeadline::with(Duration::MAX, &options);
    let own = options.handler.as_ref();
    let own = own.map(|own| deadline.timed(own));
    let exchange = Exchange {
        peer,
        session: None,
        handler: own.as_deref().unwrap_or(service),
        progress: None,
        observer: None,
    };
    let running = pin!(exchange.run(&request, &options));
    match deadline.within(running).await {
        Ok(reply) => Ok(reply?.from(&server, operation, None)),
        Err(Interrupted::Cancelled) => Err(Error::cancelled(&server, &operation, Phase::Call)),
        Err(Interrupted::OutOfTime) => {
            let (passed, phase) = (deadline.passed(), Phase::Call);
            Err(Error::timeout(&server, &operation, phase, passed, false))
        }
    }
}
