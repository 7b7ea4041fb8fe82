//! Spans and lines of the log on this thread, kept for a test to read.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// A span as it was made and filled.
#[derive(Clone, Debug)]
pub struct Span {
    pub id: u64,
    pub name: &'static str,
    pub level: Level,
    pub parent: Option<u64>,
    pub fields: BTreeMap<&'static str, String>,
    pub closed: bool,
}

impl Span {
    /// The value of a field, or nothing if it has none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    pub fields: BTreeMap<&'static str, String>,
}

impl Line {
    pub fn message(&self) -> &str {
        self.fields.get("message").map_or("", String::as_str)
    }
}

#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<(Vec<Span>, Vec<Line>)>>);

impl Kept {
    /// All spans of this name, in the order of their making.
    pub fn spans(&self, name: &str) -> Vec<Span> {
        let kept = self.0.lock();
        let named = kept.0.iter().filter(|span| span.name == name);
        named.cloned().collect()
    }

    /// The only span of this name.
    pub fn span(&self, name: &str) -> Span {
        let spans = self.spans(name);
        assert_eq!(spans.len(), 1, "of `{name}`: {spans:#?}");
        spans[0].clone()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().1.clone()
    }

    /// The lines whose message begins so.
    pub fn lines_of(&self, message: &str) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| line.message().starts_with(message));
        lines
    }

    /// Everything that was said, in one text.
    pub fn text(&self) -> String {
        format!("{:?}", *self.0.lock())
    }

    pub fn forget(&self) {
        *self.0.lock() = Default::default();
    }

    /// A subscriber that keeps all of this workspace, and what tests say themselves.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(Keeping(self.clone()))
    }
}

/// The spans of this thread, from their beginning until this is dropped.
pub struct Spans {
    pub kept: Kept,
    _guard: DefaultGuard,
}

impl Spans {
    pub fn begin() -> Self {
        several_subscribers();
        let kept = Kept::default();
        let guard = tracing::subscriber::set_default(kept.subscriber());
        Self {
            kept,
            _guard: guard,
        }
    }
}

/// With one subscriber alone, what is first met on another thread, which has none, would be off for good.
pub fn several_subscribers() {
    static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
    ANOTHER.get_or_init(|| Dispatch::new(Kept::default().subscriber()));
}

struct Keeping(Kept);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeping {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = ["mcp_", "it::"];
        ours.iter().any(|ours| metadata.target().starts_with(ours))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).expect("it was just made");
        self.0.0.lock().0.push(Span {
            id: id.into_u64(),
            name: span.name(),
            level: *span.metadata().level(),
            parent: span.parent().map(|parent| parent.id().into_u64()),
            fields: fields.0,
            closed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let mut kept = self.0.0.lock();
        let span = open(&mut kept.0, id);
        for (name, value) in fields.0 {
            let before = span.fields.insert(name, value);
            assert_eq!(before, None, "`{name}` was there already");
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.0.lock().1.push(Line {
            level: *event.metadata().level(),
            fields: fields.0,
        });
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        // What was forgotten may still close.
        let mut kept = self.0.0.lock();
        if let Some(span) = kept.0.iter_mut().rfind(|span| span.id == id.into_u64()) {
            span.closed = true;
        }
    }
}

/// Ids are used again: it is the last of its id.
fn open<'a>(spans: &'a mut [Span], id: &Id) -> &'a mut Span {
    let mut with_id = spans
        .iter_mut()
        .rev()
        .filter(|span| span.id == id.into_u64());
    with_id.next().expect("it was made before")
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}
