//! `mcp-pool top`: the daemon at work.
//!
//! Everything comes from the daemon's status API. With `--once` it is printed as a table, without a terminal.

#[cfg(feature = "top")]
mod live;
mod rows;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use self::rows::{HEADINGS, Row, headline, rows};
use crate::{context::Context, daemon, exit::Exit, failure::Failure};

/// Shows the daemon at work.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Prints one table and ends.
    #[arg(long)]
    once: bool,
}

/// The document of `mcp-pool top --once --json`: responses of the status API, as they are.
#[derive(Clone, Debug, Serialize)]
struct Moment {
    /// `GET /api/v1/mcp/status`
    status: Value,
    /// `GET /api/v1/mcp/pools`
    pools: Value,
    /// `GET /api/v1/mcp/clients`
    clients: Value,
}

impl Top {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        if self.once || context.json {
            let moment = context.block_on(Moment::now(context))?;
            return match context.json {
                true => context.output.json(&moment),
                false => print(context, &moment),
            };
        }
        #[cfg(feature = "top")]
        return context.block_on(live::run(context));
        #[cfg(not(feature = "top"))]
        Err(Failure::usage("this build has no live view").fix("mcp-pool top --once"))
    }
}

impl Moment {
    async fn now(context: &Context) -> Result<Self, Failure> {
        let (status, pools, clients) = tokio::try_join!(
            get(context, "/api/v1/mcp/status"),
            get(context, "/api/v1/mcp/pools"),
            get(context, "/api/v1/mcp/clients"),
        )?;
        Ok(Self {
            status,
            pools,
            clients,
        })
    }
}

async fn get(context: &Context, path: &str) -> Result<Value, Failure> {
    let answer = daemon::request(context, Method::GET, path).await?;
    let answer = answer.ok_or_else(|| {
        Failure::new(Exit::Unreachable, "the daemon does not run").fix("mcp-pool start")
    })?;
    match answer.status {
        StatusCode::OK => Ok(answer.body),
        status => {
            let message = format!("the daemon answered {path} with {status}");
            Err(Failure::new(Exit::Unreachable, message).fix("mcp-pool stop && mcp-pool start"))
        }
    }
}

fn print(context: &Context, moment: &Moment) -> Result<(), Failure> {
    context.output.line(headline(moment))?;
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(HEADINGS);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index >= Row::FIRST_NUMBER {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows(moment) {
        table.add_row(row.cells());
    }
    let text = table.to_string();
    { text.lines() }.try_for_each(|line| context.output.line(line.trim_end()))
}
