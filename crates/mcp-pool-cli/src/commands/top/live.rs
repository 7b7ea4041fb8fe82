//! The live view in a terminal.

use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{
    DefaultTerminal, Frame,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Cell, Paragraph, Row as TableRow, Table},
};

use super::{
    Moment,
    rows::{HEADINGS, Row, headline, rows},
};
use crate::{context::Context, exit::Exit, failure::Failure};

/// Shows the daemon until `q`, Escape or Ctrl-C. A daemon that ends is shown as such, and looked for again.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    // Fails before the screen is taken.
    let first = Moment::now(context).await?;
    let terminal = ratatui::try_init().map_err(|error| {
        Failure::new(Exit::Usage, format!("no terminal: {error}")).fix("mcp-pool top --once")
    })?;
    let shown = show(context, terminal, first).await;
    ratatui::restore();
    shown
}

async fn show(
    context: &Context,
    mut terminal: DefaultTerminal,
    mut moment: Moment,
) -> Result<(), Failure> {
    let mut problem = None;
    loop {
        terminal
            .draw(|frame| draw(frame, &moment, problem.as_deref()))
            .map_err(Failure::internal)?;
        let pressed = tokio::task::spawn_blocking(|| wait_for_key(REFRESH)).await;
        if pressed
            .map_err(Failure::internal)?
            .map_err(Failure::internal)?
        {
            return Ok(());
        }
        match Moment::now(context).await {
            Ok(now) => (moment, problem) = (now, None),
            Err(failure) => problem = Some(failure.to_string()),
        }
    }
}

/// Whether a key to end was pressed within this time.
fn wait_for_key(time: Duration) -> std::io::Result<bool> {
    if !event::poll(time)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else {
        return Ok(false);
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let ends = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || control && key.code == KeyCode::Char('c');
    Ok(ends && key.kind == KeyEventKind::Press)
}

fn draw(frame: &mut Frame<'_>, moment: &Moment, problem: Option<&str>) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(moment)), head);
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    let header = TableRow::new(cells(HEADINGS.map(str::to_owned)));
    let table = Table::new(rows(moment).iter().map(of_server), widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, body);
    let (text, color) = match problem {
        Some(problem) => (problem.lines().next().unwrap_or_default(), Color::Red),
        None => ("q ends", Color::DarkGray),
    };
    frame.render_widget(Line::styled(text, Style::new().fg(color)), foot);
}

fn of_server(row: &Row) -> TableRow<'static> {
    let color = match row.health() {
        "healthy" => Color::Reset,
        "degraded" | "warning" => Color::Yellow,
        "off" => Color::DarkGray,
        _ => Color::Red,
    };
    TableRow::new(cells(row.cells().clone())).style(Style::new().fg(color))
}

/// Numbers to the right.
fn cells(texts: [String; 9]) -> Vec<Cell<'static>> {
    let aligned = texts.into_iter().enumerate().map(|(index, text)| {
        let line = Line::from(text);
        Cell::from(match index >= Row::FIRST_NUMBER {
            true => line.right_aligned(),
            false => line,
        })
    });
    aligned.collect()
}

const REFRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_view_fits_eighty_columns() {
        let pool = |server: &str, health: &str, p50: Option<f64>| {
            json!({
                "server": server, "disabled": null, "health": { "status": health },
                "total_connections": 2, "max_connections": 10, "in_flight": 1, "waiters": 0, "errors": 3,
                "window": { "requests_per_second": 12.34, "call_seconds": { "p50": p50, "p99": 12.0 } },
            })
        };
        let mut off = pool("off", "healthy", None);
        off["disabled"] = json!("disabled is true");
        let moment = Moment {
            status: json!({
                "total_pools": 2, "connections": 4, "max_connections": 100, "total_requests": 1024,
                "uptime_seconds": 11_532.0,
            }),
            pools: json!([pool("time", "healthy", Some(0.0123)), off]),
            clients: json!({ "clients": [{}] }),
        };
        let mut terminal = Terminal::new(TestBackend::new(80, 7)).unwrap();
        let drawn = terminal.draw(|frame| draw(frame, &moment, None));
        drawn.unwrap();
        insta::assert_snapshot!(terminal.backend(), @r#"
        "2 servers, 1 clients, 4 of 100 sessions, 1024 calls, up 3h 12m                  "
        "                                                                                "
        "SERVER          HEALTH    SESSIONS IN USE WAITING CALLS/S     P50     P99 ERRORS"
        "time            healthy       2/10      1       0    12.3   12 ms    12 s      3"
        "off             off           2/10      1       0    12.3       -    12 s      3"
        "                                                                                "
        "q ends                                                                          "
        "#);
        let problem = Some("error: the daemon does not run\nFix: mcp-pool start");
        terminal
            .draw(|frame| draw(frame, &moment, problem))
            .unwrap();
        let drawn = terminal.backend().to_string();
        assert!(drawn.contains("error: the daemon does not run"), "{drawn}");
    }
}
