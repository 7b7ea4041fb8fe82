//! Parameters of a server's request, as the server wrote them.

use std::sync::Arc;

use rmcp::model::{GetExtensions as _, JsonRpcMessage, ServerJsonRpcMessage};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The parameters of a server's request as the server wrote them: rmcp's types drop fields that they do not know.
///
/// It is among the `extensions` of the context of a request that a [handler](crate::CallerHandler) receives, if the request
/// has parameters and came over stdio or HTTP: a server in the same process hands over types.
///
/// ```
/// # use mcp_pool_core::{RawParams, rmcp::{RoleClient, service::RequestContext}};
/// fn as_written(context: &RequestContext<RoleClient>) -> Option<&str> {
///     let params: &RawParams = context.extensions.get()?;
///     Some(params.0.get())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RawParams(pub Arc<RawValue>);

impl RawParams {
    /// The message, which `bytes` are, with its parameters attached if it is a request.
    pub(crate) fn attach(mut message: ServerJsonRpcMessage, bytes: &[u8]) -> ServerJsonRpcMessage {
        #[derive(Deserialize)]
        struct Written<'a> {
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        if let JsonRpcMessage::Request(request) = &mut message
            && let Ok(Written {
                params: Some(params),
            }) = serde_json::from_slice(bytes)
        {
            let params = Self(params.to_owned().into());
            request.request.extensions_mut().insert(params);
        }
        message
    }
}
