//! What reuse saves, measured here and now: the same tool called over a new connection each time, over a pool, and
//! over a pool by many callers at once.
//!
//! ```console
//! $ cargo run --release --example quickstart
//! $ cargo run --release --example quickstart -- npx -y @modelcontextprotocol/server-everything
//! ```
//!
//! Without arguments this program starts itself as the server, so that nothing else need be installed.

use std::{io::IsTerminal, num::NonZeroU32 as AtLeastOne, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use mcp_pooled_tools::{ConnectionManager, Error, PoolSettings, ServerConfig, Tools};
use rmcp::model::{CallToolRequestParams, JsonObject, Tool};
use tokio::{task::JoinSet, time::Instant};

const USAGE: &str = "\
Measures what reusing live MCP sessions saves, with any server that speaks over stdin and stdout.

Usage: quickstart [OPTIONS] [COMMAND [ARGS]...]

Without a command, a small built-in server is started as a process of its own.

Options:
  --tool NAME     The tool to call (default: `echo`, else one that needs no arguments, else list the tools)
  --callers N     Callers of the last row (64)
  --seconds N     Time to spend on measuring (9)
  --help          Print this
";

/// The same server under two names, so that each row of the table has a pool of its own.
const ALONE: &str = "server";
const SHARED: &str = "server, shared";

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    let wanted = match Wanted::read(std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    match runtime.block_on(compare(&wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// What the command line asks for.
struct Wanted {
    server: ServerConfig,
    called: String,
    tool: Option<String>,
    callers: u32,
    /// For each of the three rows.
    time: Duration,
}

impl Wanted {
    /// `None` if it asks for help.
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let (mut tool, mut callers, mut seconds) = (None, AtLeastOne::new(64), AtLeastOne::new(9));
        let mut command = None;
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            let whole = |text: String| {
                let number = text.parse().ok().and_then(AtLeastOne::new);
                number.map(Some).with_context(|| {
                    let most = AtLeastOne::MAX;
                    format!("{argument} takes a whole number from 1 to {most}, not `{text}`")
                })
            };
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--tool" => tool = Some(value()?),
                "--callers" => callers = whole(value()?)?,
                "--seconds" => seconds = whole(value()?)?,
                "--" => {
                    command = arguments.next();
                    break;
                }
                _ if argument.starts_with('-') => {
                    bail!("unknown option `{argument}`; --help lists them all")
                }
                _ => {
                    command = Some(argument);
                    break;
                }
            }
        }
        let (server, called) = match command {
            Some(command) => {
                let arguments: Vec<_> = arguments.collect();
                let called = [std::slice::from_ref(&command), &arguments]
                    .concat()
                    .join(" ");
                (ServerConfig::stdio(command).args(arguments), called)
            }
            None => {
                let itself = std::env::current_exe()?.to_string_lossy().into_owned();
                let server = ServerConfig::stdio(itself).arg("--mcp-testkit-server");
                (server, "the built-in server, a process of its own".into())
            }
        };
        Ok(Some(Self {
            server,
            called,
            tool,
            callers: callers.map_or(1, AtLeastOne::get),
            time: Duration::from_secs(seconds.map_or(1, AtLeastOne::get).into()) / 3,
        }))
    }
}

async fn compare(wanted: &Wanted) -> anyhow::Result<()> {
    let settings = PoolSettings::new()
        .min_connections(1)
        // `npx` and its like may have to download first.
        .connection_timeout(Duration::from_secs(120))
        .call_timeout(Duration::from_secs(30))
        // None of the callers is turned away, however many they are.
        .max_waiters(wanted.callers)
        // A command typed by hand gets what it would get from the shell, and is not tried again behind one's back.
        .inherit_env(true)
        .retry_attempts(0);
    let manager = ConnectionManager::builder()
        .server(ALONE, wanted.server.clone())
        .server(SHARED, wanted.server.clone())
        .defaults(settings)
        .build()
        .await?;
    let outcome = measure(wanted, &manager).await;
    manager.shutdown().await;
    outcome
}

async fn measure(wanted: &Wanted, manager: &ConnectionManager) -> anyhow::Result<()> {
    let progress = Progress::new();
    let (alone, shared) = (manager.tools(ALONE)?, manager.tools(SHARED)?);

    progress.draw(&format!("starting {}", wanted.called));
    let operation = Operation::choose(&alone.list_all_tools().await?, wanted.tool.as_deref())?;
    progress.say(&format!("server: {}", wanted.called));
    progress.say(&format!("calls:  {}\n", operation.name()));
    // Both pools have a session before the clock starts; direct calls have none by nature.
    operation.run(&alone).await?;
    operation.run(&shared).await?;

    let direct = manager.direct_tools(ALONE)?;
    let label = "new connection per call";
    let fresh = call(&direct, &operation, 1, wanted.time, &progress, label).await?;
    let label = "pooled, one caller";
    let one = call(&alone, &operation, 1, wanted.time, &progress, label).await?;
    let label = format!("pooled, {} callers", wanted.callers);
    let many = call(
        &shared,
        &operation,
        wanted.callers,
        wanted.time,
        &progress,
        &label,
    )
    .await?;
    progress.end();

    let started = |server| manager.pool_status(server).map(|status| status.opened);
    print_row("", &["calls per second", "p50", "p99", "processes started"]);
    fresh.print("new connection per call", fresh.calls() as u64);
    one.print("pooled, one caller", started(ALONE)?);
    many.print(&label, started(SHARED)?);
    let faster = fresh.quantile(0.5).as_secs_f64() / one.quantile(0.5).as_secs_f64();
    println!(
        "\nA call over a session that is reused is {} times faster than one over a new connection.",
        figure(faster)
    );
    Ok(())
}

/// The call that is made over and over.
#[derive(Clone)]
struct Operation(CallToolRequestParams);

impl Operation {
    fn choose(tools: &[Tool], wanted: Option<&str>) -> anyhow::Result<Self> {
        let named = |name: &str| tools.iter().find(|tool| tool.name == name);
        let names = || {
            let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
            names.join(", ")
        };
        let tool = match wanted {
            Some(name) => Some(named(name).with_context(|| {
                format!("there is no tool `{name}`; the server has: {}", names())
            })?),
            None => named("echo")
                .filter(|tool| arguments(tool).is_some())
                .or_else(|| tools.iter().find(|tool| is_harmless(tool))),
        };
        let tool = tool.with_context(|| {
            format!(
                "which tool can be called without harm? name it by --tool: {}",
                names()
            )
        })?;
        let arguments = arguments(tool).with_context(|| {
            format!(
                "tool `{}` needs arguments that this program cannot make up",
                tool.name
            )
        })?;
        let params = CallToolRequestParams::new(tool.name.clone());
        Ok(Self(params.with_arguments(arguments)))
    }

    fn name(&self) -> String {
        format!("tool `{}`", self.0.name)
    }

    async fn run(&self, tools: &dyn Tools) -> Result<(), Error> {
        tools.call_tool(self.0.clone()).await.map(drop)
    }
}

/// A text for each required argument; `None` if one is something else than a text.
fn arguments(tool: &Tool) -> Option<JsonObject> {
    let schema = &tool.input_schema;
    let required = schema.get("required").and_then(|names| names.as_array());
    let names = required
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str());
    names
        .map(|name| {
            let is_text = schema.get("properties")?.get(name)?.get("type")? == "string";
            is_text.then(|| (name.to_owned(), "hello".into()))
        })
        .collect()
}

/// Needs no arguments, and does not say that calling it a thousand times would do harm.
fn is_harmless(tool: &Tool) -> bool {
    let destroys = tool
        .annotations
        .as_ref()
        .and_then(|hints| hints.destructive_hint);
    destroys != Some(true) && arguments(tool).is_some_and(|arguments| arguments.is_empty())
}

/// Has so many callers call for so long, each one call after the other.
async fn call<T: Tools + Clone + 'static>(
    tools: &T,
    operation: &Operation,
    callers: u32,
    time: Duration,
    progress: &Progress,
    label: &str,
) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (tools, operation) = (tools.clone(), operation.clone());
        running.spawn(async move {
            let mut latencies = Vec::new();
            while began.elapsed() < time {
                let call_began = Instant::now();
                operation.run(&tools).await?;
                latencies.push(call_began.elapsed());
            }
            Ok::<_, Error>(latencies)
        });
    }
    let mut latencies = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            caller = running.join_next() => match caller {
                Some(caller) => latencies.extend(caller??),
                None => break,
            },
            _ = ticks.tick() => progress.show(label, began.elapsed(), time),
        }
    }
    latencies.sort_unstable();
    Ok(Measured {
        latencies,
        took: began.elapsed(),
    })
}

/// A row of the table.
struct Measured {
    /// In order.
    latencies: Vec<Duration>,
    took: Duration,
}

impl Measured {
    fn calls(&self) -> usize {
        self.latencies.len()
    }

    fn quantile(&self, part: f64) -> Duration {
        let last = self.calls() - 1;
        self.latencies[(last as f64 * part).round() as usize]
    }

    fn print(&self, label: &str, started: u64) {
        let cells = [
            figure(self.calls() as f64 / self.took.as_secs_f64()),
            time(self.quantile(0.5)),
            time(self.quantile(0.99)),
            figure(started as f64),
        ];
        print_row(label, &cells);
    }
}

fn print_row(label: &str, cells: &[impl AsRef<str>; 4]) {
    let [rate, p50, p99, started] = cells.each_ref().map(AsRef::as_ref);
    println!("{label:<24} {rate:>16} {p50:>10} {p99:>10} {started:>18}");
}

/// Three digits where there are no more, whole numbers with separators where there are.
fn figure(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{} ms", figure(micros / 1e3)),
    }
}

/// A bar on stderr, if stdout and stderr are terminals.
struct Progress {
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        let shown = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self { shown }
    }

    fn show(&self, label: &str, elapsed: Duration, total: Duration) {
        let part = elapsed.div_duration_f64(total).min(1.0);
        let bar = "=".repeat((part * BAR_WIDTH as f64) as usize);
        let percent = part * 100.0;
        self.draw(&format!("{label:24} [{bar:BAR_WIDTH$}] {percent:>3.0} %"));
    }

    /// Prints a line above the bar.
    fn say(&self, line: &str) {
        self.end();
        println!("{line}");
    }

    fn end(&self) {
        self.draw("");
    }

    fn draw(&self, line: &str) {
        if self.shown {
            eprint!("\r\x1b[K{line}");
        }
    }
}

const BAR_WIDTH: usize = 40;
