//! Trace context of a call, as its request carries it to the server.
//!
//! W3C Trace Context travels in the `_meta` of a request, whatever the transport: so say the protocol (SEP-414) and
//! OpenTelemetry's conventions for MCP. Headers of HTTP would not do. There are none on a pipe, and one HTTP request need not
//! be one request of MCP.

use std::{fmt, sync::Arc};

use rmcp::model::RequestMetaObject;

/// A place in a trace: what a server needs to add its spans to it.
///
/// Sent as it is in the `_meta` of requests, under the names of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
    baggage: Option<String>,
}

impl TraceContext {
    /// The place that `traceparent` names, in the form of [W3C Trace Context](https://www.w3.org/TR/trace-context/).
    pub fn new(traceparent: impl Into<String>) -> Self {
        Self {
            traceparent: traceparent.into(),
            tracestate: None,
            baggage: None,
        }
    }

    /// Adds what vendors have to say of the trace.
    #[must_use]
    pub fn tracestate(mut self, tracestate: impl Into<String>) -> Self {
        self.tracestate = Some(tracestate.into());
        self
    }

    /// Adds properties of the caller, in the form of [W3C Baggage](https://www.w3.org/TR/baggage/). The server sees them.
    #[must_use]
    pub fn baggage(mut self, baggage: impl Into<String>) -> Self {
        self.baggage = Some(baggage.into());
        self
    }

    /// OpenTelemetry's current context, written by its global propagator: that of the current `tracing` span where the
    /// subscriber has a layer of tracing-opentelemetry.
    ///
    /// `None` if there is no current span, or while no propagator of W3C Trace Context is installed.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn current() -> Option<Self> {
        use opentelemetry::{Context, global, trace::TraceContextExt};
        if !Context::map_current(TraceContextExt::has_active_span) {
            return None;
        }
        let mut carrier = otel::Carrier::default();
        global::get_text_map_propagator(|propagator| propagator.inject(&mut carrier));
        carrier.into_context()
    }
}

#[cfg(feature = "otel")]
mod otel {
    use opentelemetry::propagation::Injector;

    use super::TraceContext;

    /// Takes what the protocol has a name for; other names would need a prefix there.
    #[derive(Default)]
    pub(super) struct Carrier {
        traceparent: Option<String>,
        tracestate: Option<String>,
        baggage: Option<String>,
    }

    impl Injector for Carrier {
        fn set(&mut self, key: &str, value: String) {
            let place = match key {
                "traceparent" => &mut self.traceparent,
                "tracestate" => &mut self.tracestate,
                "baggage" => &mut self.baggage,
                _ => return,
            };
            *place = (!value.is_empty()).then_some(value);
        }
    }

    impl Carrier {
        pub(super) fn into_context(self) -> Option<TraceContext> {
            Some(TraceContext {
                traceparent: self.traceparent?,
                tracestate: self.tracestate,
                baggage: self.baggage,
            })
        }
    }
}

/// Who knows the trace of whatever runs at the moment.
#[derive(Clone)]
pub(crate) struct TraceSource(Option<Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>>);

impl TraceSource {
    pub(crate) fn new(current: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(current)))
    }

    /// The trace of whatever runs here.
    pub(crate) fn here(&self) -> Trace {
        Trace(self.0.as_ref().and_then(|current| current()))
    }
}

impl Default for TraceSource {
    #[cfg(feature = "otel")]
    fn default() -> Self {
        Self::new(TraceContext::current)
    }

    #[cfg(not(feature = "otel"))]
    fn default() -> Self {
        Self(None)
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceSource")
    }
}

/// The trace that a request is part of, if it is part of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Option<TraceContext>);

impl Trace {
    /// Writes the trace context into `_meta`, unless the caller has set one.
    pub(crate) fn onto(&self, meta: &mut RequestMetaObject) {
        let Some(context) = &self.0 else { return };
        if meta.contains_key("traceparent") {
            return;
        }
        meta.set_traceparent(&context.traceparent);
        // One without a `traceparent` was of no trace at all.
        meta.remove("tracestate");
        if let Some(tracestate) = &context.tracestate {
            meta.set_tracestate(tracestate);
        }
        if let Some(baggage) = &context.baggage
            && !meta.contains_key("baggage")
        {
            meta.set_baggage(baggage);
        }
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::MetaObject;
    use serde_json::json;

    use super::*;

    fn carried(own: Option<serde_json::Value>, context: TraceContext) -> serde_json::Value {
        let own = own
            .and_then(|own| own.as_object().cloned())
            .unwrap_or_default();
        let mut meta = RequestMetaObject(MetaObject(own));
        Trace(Some(context)).onto(&mut meta);
        serde_json::to_value(meta).unwrap()
    }

    #[test]
    fn a_caller_who_names_a_trace_is_left_alone() {
        let own = json!({ "traceparent": "theirs", "mine": 1 });
        let ours = TraceContext::new("ours").tracestate("a=b").baggage("c=d");
        assert_eq!(carried(Some(own.clone()), ours), own);
    }

    #[test]
    fn what_belongs_to_a_trace_is_replaced_with_it_and_the_rest_is_kept() {
        let own = json!({ "tracestate": "theirs", "baggage": "theirs", "mine": 1 });
        let ours = TraceContext::new("ours").baggage("c=d");
        let sent = json!({ "traceparent": "ours", "baggage": "theirs", "mine": 1 });
        assert_eq!(carried(Some(own), ours), sent);
        let ours = TraceContext::new("ours").tracestate("a=b").baggage("c=d");
        let sent = json!({ "traceparent": "ours", "tracestate": "a=b", "baggage": "c=d" });
        assert_eq!(carried(None, ours), sent);
    }
}
