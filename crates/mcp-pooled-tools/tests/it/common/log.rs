//! What is logged on this thread, kept for a test to read.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    /// `message name=value …`
    pub text: String,
}

/// The log of this thread, from its beginning until it is dropped.
pub struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    _guard: DefaultGuard,
}

impl Log {
    pub fn begin() -> Self {
        // With one subscriber alone, a line first logged on another thread, which has none, would be off for good.
        static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| Dispatch::new(Keeping(Arc::default())));
        let lines = Arc::<Mutex<Vec<Line>>>::default();
        let guard = set_default(Keeping(Arc::clone(&lines)));
        Self {
            lines,
            _guard: guard,
        }
    }

    /// The lines with this text in them.
    pub fn with(&self, text: &str) -> Vec<Line> {
        let lines = self.lines.lock();
        let with = lines.iter().filter(|line| line.text.contains(text));
        with.cloned().collect()
    }
}

struct Keeping(Arc<Mutex<Vec<Line>>>);

impl Subscriber for Keeping {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("mcp_")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().push(Line {
            level: *event.metadata().level(),
            text: text.0,
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}{}", self.0);
        } else {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
