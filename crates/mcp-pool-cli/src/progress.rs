//! Progress of long work on standard error: a bar on a terminal, lines with `--verbose`, nothing else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mcp_pooled_tools::rmcp::model::ProgressNotificationParam;

use crate::{context::Context, terminal};

/// Progress of one piece of work. The bar is removed when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    context: Context,
}

impl Progress {
    /// Shows that something is under way, unless it ends at once.
    pub(crate) fn new(context: &Context, what: impl Into<String>) -> Self {
        let drawn = terminal::can_draw() && !context.output.quiet;
        let bar = drawn.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {msg}"));
            bar.set_message(what.into());
            bar.enable_steady_tick(Duration::from_millis(150));
            bar
        });
        Self {
            bar,
            context: context.clone(),
        }
    }

    /// Shows what is under way now.
    pub(crate) fn say(&self, what: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.into());
        }
    }

    /// Shows what a server reports.
    pub(crate) fn report(&self, reported: &ProgressNotificationParam) {
        let message = reported.message.as_deref().unwrap_or_default();
        let message = terminal::shortened(message, 40);
        let Some(bar) = &self.bar else {
            let total = reported.total.map(|total| format!(" of {total}"));
            let total = total.unwrap_or_default();
            let line = format!("progress: {}{total} {message}", reported.progress);
            self.context.output.detail(line.trim_end());
            return;
        };
        if let Some(total) = reported.total.filter(|total| *total > 0.0) {
            // The numbers may be parts of one.
            const STEPS: f64 = 1_000.0;
            bar.set_style(style("{spinner} [{bar:30}] {percent:>3} % {msg}"));
            bar.set_length(STEPS as u64);
            bar.set_position((reported.progress / total * STEPS) as u64);
        }
        if !message.is_empty() {
            bar.set_message(message);
        }
    }

    /// Shows how far the work is, from 0 to 1.
    pub(crate) fn set(&self, what: &str, part: f64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("[{bar:30}] {percent:>3} % {msg}"));
            bar.set_length(100);
            bar.set_position((part.clamp(0.0, 1.0) * 100.0) as u64);
            bar.set_message(what.to_owned());
        }
    }

    /// Removes the bar, so that what is written next stands alone.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
