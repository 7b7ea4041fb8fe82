//! A request as a method and the JSON of its parameters.

use std::fmt;

use rmcp::model::{ClientRequest, ProgressToken, RequestId, RequestMetaObject};
use serde_json::{json, value::RawValue};

use crate::progress::ProgressSink;

/// One request, as [`Session::request`](crate::Session::request) sends it. It borrows its parts, so that it can be sent again.
///
/// ```
/// # use mcp_pool_core::{RawRequest, Session, rmcp::ServiceError};
/// # use serde_json::value::{RawValue, to_raw_value};
/// # async fn example(session: &Session) -> Result<Box<RawValue>, ServiceError> {
/// let params = to_raw_value(&serde_json::json!({"name": "echo", "arguments": {"message": "hi"}})).unwrap();
/// session.request(RawRequest::new("tools/call").params(&params)).await
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use = "a request does nothing until it is sent"]
pub struct RawRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) meta: Option<&'a RequestMetaObject>,
    pub(crate) progress: Option<&'a ProgressSink>,
    pub(crate) observer: Option<&'a dyn RequestObserver>,
}

/// Follows one request on its session.
pub trait RequestObserver: Send + Sync {
    /// Reports the id of the request before the request is sent. Over HTTP it is the id in the
    /// [`InboundStreamOrigin`](rmcp::service::InboundStreamOrigin) of what the server asks meanwhile. Not called on a
    /// transport of rmcp's own.
    fn sending(&self, id: i64) {
        let _ = id;
    }

    /// Reports the id of the request and the token of its progress, when the request is on its way.
    fn sent(&self, id: RequestId, progress_token: ProgressToken) {
        let _ = (id, progress_token);
    }

    /// The reason in the cancellation, if the request's future is dropped before the reply has come.
    fn cancel_reason(&self) -> Option<String> {
        None
    }
}

impl<'a> RawRequest<'a> {
    /// A request without parameters.
    pub fn new(method: &'a str) -> Self {
        Self {
            method,
            params: None,
            meta: None,
            progress: None,
            observer: None,
        }
    }

    /// Sends these parameters, which must be a JSON object. A `_meta` in them is kept.
    pub fn params(mut self, params: &'a RawValue) -> Self {
        self.params = Some(params);
        self
    }

    /// Adds these fields to `_meta`. They replace those of the parameters and those that the session adds by itself; the
    /// progress token is always the session's own.
    pub fn meta(mut self, meta: &'a RequestMetaObject) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Has the progress of this request delivered to `sink`. All of it that was sent before the reply is delivered before
    /// the request ends.
    pub fn progress(mut self, sink: &'a ProgressSink) -> Self {
        self.progress = Some(sink);
        self
    }

    /// Reports to `observer` what becomes of the request.
    pub fn observer(mut self, observer: &'a dyn RequestObserver) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The request in rmcp's types.
    pub(crate) fn to_typed(self) -> Result<ClientRequest, serde_json::Error> {
        let request = match self.params {
            Some(params) => json!({"method": self.method, "params": params}),
            None => json!({"method": self.method}),
        };
        serde_json::from_value(request)
    }
}

impl fmt::Debug for RawRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// The reason in the cancellation of a request whose caller has gone.
pub(crate) const ABANDONED: &str = "request abandoned by the caller";
