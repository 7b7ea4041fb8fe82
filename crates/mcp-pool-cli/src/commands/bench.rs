//! `mcp-pool bench`: what the pool saves.
//!
//! The same call three ways: over a new connection each time, over a session that is reused, and by many callers at once
//! over sessions that they share. The servers run in this process alone, so that the daemon is not put under load.

mod measured;

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use mcp_pooled_tools::{Client, ConnectionManager, Error, Request, RequestOptions};
use measured::{Measured, figure};
use serde_json::{Map, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    arguments, completion,
    context::Context,
    duration,
    exit::Exit,
    failure::Failure,
    progress::Progress,
    servers::{self, Servers, Wanted},
    tools::{self, Effect, Tools},
};

/// Measures what the pool saves with a server.
///
/// Without a tool it lists tools. A tool is called only if it is named, thousands of times.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The server.
    #[arg(value_name = "SERVER", add = ArgValueCompleter::new(completion::servers))]
    server: String,

    /// The tool to call, and no other.
    tool: Option<String>,

    /// Arguments of the tool, as `mcp-pool call` takes them.
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,

    /// Callers of the last row.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    callers: u32,

    /// Time to spend on measuring.
    #[arg(long, value_name = "TIME", default_value = "9s", value_parser = duration::parse)]
    time: Duration,
}

/// The call that is made over and over.
#[derive(Clone)]
struct Operation {
    name: String,
    request: Request,
}

impl Bench {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let wanted = Wanted {
            named: Some(&self.server),
            own: true,
            waiters: Some(self.callers),
            ..Wanted::default()
        };
        servers::with(context, wanted, async |servers| {
            self.measure(context, servers).await
        })
    }

    async fn measure(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        let manager = servers
            .manager()
            .ok_or_else(|| Failure::internal("the servers run elsewhere"))?;
        let progress = servers.progress();
        progress.say(format!("starting {}", self.server));
        let operation = self.operation(context, servers).await?;
        let pooled = manager.tools(&self.server)?;
        // There is a session before the clock starts. A call of its own has none by nature.
        operation.run(&pooled).await?;
        let time = self.time / 3;
        let run = |label: &'static str, callers, before| {
            let operation = &operation;
            let pooled = pooled.clone();
            async move {
                let row = call(pooled, operation, callers, time, progress, label).await?;
                Ok::<_, Failure>(row.opened(opened(manager, &self.server)? - before))
            }
        };
        let direct = manager.direct_tools(&self.server)?;
        let label = "new connection per call";
        let fresh = call(direct, &operation, 1, time, progress, label).await?;
        let calls = fresh.calls() as u64;
        let fresh = fresh.opened(calls);
        let one = run("pooled, one caller", 1, 0).await?;
        let before = opened(manager, &self.server)?;
        let many = run("pooled, many callers", self.callers, before).await?;
        progress.end();
        let faster = fresh.median().as_secs_f64() / one.median().as_secs_f64();
        let rows = [fresh, one, many];
        if context.json {
            return context.output.json(&json!({
                "server": self.server,
                "operation": operation.name,
                "rows": rows.each_ref().map(Measured::document),
                "faster": faster,
            }));
        }
        context.output.line(format!("server: {}", self.server))?;
        context
            .output
            .line(format!("calls:  {}\n", operation.name))?;
        context.output.line(measured::table(&rows))?;
        context.output.line(format!(
            "\nA call over a session that is reused is {} times faster than one over a new connection.",
            figure(faster)
        ))
    }

    /// What the user has named, or a listing, which harms nothing.
    async fn operation(&self, context: &Context, servers: &Servers) -> Result<Operation, Failure> {
        let Some(name) = &self.tool else {
            return Ok(Operation {
                name: "tools/list".into(),
                request: Request::new("tools/list"),
            });
        };
        let tools: Tools = servers.tools().await?;
        let named = format!("{}.{name}", self.server);
        let tool = tools::callable(context, servers, &tools, &named).await?;
        if tool.effect() != Effect::Reads {
            let words = tool.effect().words();
            let note = format!("tool `{name}` {words}; it is called because it is named");
            context.output.note(note);
        }
        let schema = &tool.definition["inputSchema"];
        let arguments = arguments::read(Map::new(), &self.arguments, schema)?;
        let params = json!({ "name": tool.name, "arguments": arguments });
        let params = serde_json::value::to_raw_value(&params).map_err(Failure::internal)?;
        Ok(Operation {
            name: format!("tool `{}`", tool.name),
            request: Request::from_raw("tools/call", Some(&params))?,
        })
    }
}

impl Operation {
    async fn run(&self, client: &dyn Client) -> Result<(), Failure> {
        let reply = client.send(self.request.clone(), RequestOptions::new());
        let reply = reply.await?;
        if reply.is_tool_error() {
            let message = format!("{} reported an error: {}", self.name, reply.raw().get());
            return Err(Failure::new(Exit::ToolError, message));
        }
        Ok(())
    }
}

/// Sessions that the pool has opened.
fn opened(manager: &ConnectionManager, server: &str) -> Result<u64, Error> {
    manager.pool_status(server).map(|status| status.opened)
}

/// Has so many callers call for so long, each one call after the other.
async fn call<C: Client + Clone + 'static>(
    client: C,
    operation: &Operation,
    callers: u32,
    time: Duration,
    progress: &Progress,
    label: &'static str,
) -> Result<Measured, Failure> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (client, operation) = (client.clone(), operation.clone());
        running.spawn(async move {
            let mut latencies = Vec::new();
            // One call at least, however long it takes.
            while latencies.is_empty() || began.elapsed() < time {
                let call_began = Instant::now();
                operation.run(&client).await?;
                latencies.push(call_began.elapsed());
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut latencies = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            caller = running.join_next() => match caller {
                Some(caller) => latencies.extend(caller.map_err(Failure::internal)??),
                None => break,
            },
            _ = ticks.tick() => progress.set(label, began.elapsed().div_duration_f64(time)),
        }
    }
    Ok(Measured::new(label, callers, latencies, began.elapsed()))
}
