//! The options of the command line and their parser.
//!
//! Hand-written: an argument parser would cost every test build more than thirty flags do.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::{Era, FailFirst, Faults, Grandchild, Hang, OpeningFailure};

/// How one test server behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The lifecycle it speaks.
    pub era: Era,
    /// What is wrong with it.
    pub faults: Faults,
    /// Where it listens.
    pub transport: ServeOn,
    /// How its lists are cut into pages.
    pub paging: Paging,
    /// The name it gives itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// `ttlMs` of its lists.
    pub list_ttl: Option<Duration>,
    /// Whether its lists are for one identity alone (`cacheScope: private`).
    pub private_lists: bool,
    /// A file that gets one line per execution of `count`, and survives the process.
    pub count_file: Option<PathBuf>,
    /// Text without a meaning, by which a test finds the process.
    pub marker: Option<String>,
    /// The process ends by itself after this time, so that no hostile server outlives its test for long.
    pub max_lifetime: Duration,
    /// What to run instead of a server, if anything.
    pub action: Option<Action>,
}

/// Where the binary serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ServeOn {
    /// Standard input and output.
    #[default]
    Stdio,
    /// Streamable HTTP.
    Http(HttpServing),
}

/// The command line's HTTP settings; see `HttpOptions` for what each does.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpServing {
    /// Where to listen.
    pub address: SocketAddr,
    /// Whether accepted sockets get TCP_NODELAY.
    pub nodelay: bool,
    /// Answer every request with this status.
    pub status: Option<u16>,
    /// Answer this many requests with 503 first.
    pub fail_first: usize,
    /// Demand this bearer token.
    pub bearer: Option<String>,
    /// Answer with plain JSON where one message is the whole reply, and keep no session.
    pub json: bool,
}

/// How lists are cut into pages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Paging {
    /// Everything on one page.
    #[default]
    One,
    /// Pages of this many entries.
    Size(usize),
    /// This many pages, as far as there are entries.
    Pages(usize),
    /// Everything on one page, whose cursor leads to the same page without end.
    Looping,
}

/// What the binary does other than serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Print the help and exit.
    Help,
    /// Be a grandchild: hold on until the end of stdin, or until killed.
    Grandchild(Grandchild),
}

impl Options {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    ///
    /// One line saying which argument is wrong and what was expected.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Arguments::new(args);
        let mut options = Self::default();
        let mut http = HttpServing::default();
        let mut serve_http = false;
        let mut state_file = None;
        while let Some(flag) = args.next_flag()? {
            match flag.as_str() {
                "--help" | "-h" => options.action = Some(Action::Help),
                "--as-grandchild" => options.action = Some(Action::Grandchild(args.parsed()?)),
                "--era" => options.era = args.parsed()?,
                "--name" => options.name = args.value()?,
                "--server-version" => options.version = args.value()?,
                "--pages" => options.paging = Paging::Pages(args.parsed()?),
                "--looping-pages" => options.paging = Paging::Looping,
                "--page-size" => options.paging = Paging::Size(args.parsed()?),
                "--list-ttl" => options.list_ttl = Some(args.millis()?),
                "--private-lists" => options.private_lists = true,
                "--count-file" => options.count_file = Some(args.value()?.into()),
                "--marker" => options.marker = Some(args.value()?),
                "--max-lifetime" => options.max_lifetime = Duration::from_secs(args.parsed()?),
                "--http" => {
                    serve_http = true;
                    if let Some(address) = args.optional_value() {
                        http.address = parse_as("--http", &address)?;
                    }
                }
                "--nagle" => http.nodelay = false,
                "--status" => http.status = Some(args.parsed()?),
                "--http-fail-first" => http.fail_first = args.parsed()?,
                "--json" => http.json = true,
                "--bearer" => http.bearer = Some(args.value()?),
                "--state-file" => state_file = Some(PathBuf::from(args.value()?)),
                _ => options.faults.take_flag(&flag, &mut args)?,
            }
            args.finish_flag()?;
        }
        if serve_http {
            options.transport = ServeOn::Http(http);
        }
        if let Some(path) = state_file {
            match &mut options.faults.fail_first {
                Some(fail_first) => fail_first.state_file = Some(path),
                None => return Err("--state-file needs --fail-first or --exit-first".into()),
            }
        }
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            era: Era::default(),
            faults: Faults::default(),
            transport: ServeOn::default(),
            paging: Paging::default(),
            name: "mcp-testkit".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            list_ttl: None,
            private_lists: false,
            count_file: None,
            marker: None,
            max_lifetime: Duration::from_secs(600),
            action: None,
        }
    }
}

impl Default for HttpServing {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            nodelay: true,
            status: None,
            fail_first: 0,
            bearer: None,
            json: false,
        }
    }
}

impl Faults {
    fn take_flag(
        &mut self,
        flag: &str,
        args: &mut Arguments<impl Iterator<Item = String>>,
    ) -> Result<(), String> {
        match flag {
            "--exit-after-calls" => self.exit_after_calls = Some(args.parsed()?),
            "--exit-mid-call" => self.exit_mid_call = Some(args.value()?),
            "--exit" => self.exit_at_start = Some(args.parsed()?),
            "--stderr" => self.stderr = Some(args.value()?),
            "--hang-before-handshake" => self.hang = Some(Hang::BeforeHandshake),
            "--hang-after-handshake" => self.hang = Some(Hang::AfterHandshake),
            "--freeze-stdin" => self.hang = Some(Hang::FreezeStdin),
            "--close-stdout-after" => self.close_stdout_after = Some(args.parsed()?),
            "--garbage" => self.garbage = true,
            "--flood-stderr" => self.flood_stderr = Some(args.parsed()?),
            "--flood" => self.flood = Some(args.parsed()?),
            "--ignore-sigterm" => self.ignore_sigterm = true,
            "--ignore-eof" => self.ignore_eof = true,
            "--grandchild" => self.grandchild = Some(args.parsed()?),
            "--fail-first" => self.fail_first = Some(args.fail_first(OpeningFailure::Error)?),
            "--exit-first" => self.fail_first = Some(args.fail_first(OpeningFailure::Exit)?),
            "--slow-start" => self.slow_start = Some(args.millis()?),
            "--single-threaded" => self.single_threaded = true,
            "--forbid-overlap" => self.forbid_overlap = true,
            _ => return Err(format!("no such option: {flag} (see --help)")),
        }
        Ok(())
    }
}

/// The arguments not yet read; `--flag value` and `--flag=value` are the same.
struct Arguments<I: Iterator<Item = String>> {
    rest: std::iter::Peekable<I>,
    flag: String,
    attached: Option<String>,
}

impl<I: Iterator<Item = String>> Arguments<I> {
    fn new(args: I) -> Self {
        Self {
            rest: args.peekable(),
            flag: String::new(),
            attached: None,
        }
    }

    fn next_flag(&mut self) -> Result<Option<String>, String> {
        let Some(argument) = self.rest.next() else {
            return Ok(None);
        };
        if !argument.starts_with('-') {
            return Err(format!("unexpected argument: {argument} (see --help)"));
        }
        match argument.split_once('=') {
            Some((flag, value)) => {
                self.flag = flag.to_owned();
                self.attached = Some(value.to_owned());
            }
            None => self.flag = argument,
        }
        Ok(Some(self.flag.clone()))
    }

    fn finish_flag(&mut self) -> Result<(), String> {
        match self.attached.take() {
            Some(value) => Err(format!("{} takes no value, got {value}", self.flag)),
            None => Ok(()),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        self.attached
            .take()
            .or_else(|| self.rest.next())
            .ok_or_else(|| format!("{} needs a value", self.flag))
    }

    fn optional_value(&mut self) -> Option<String> {
        self.attached
            .take()
            .or_else(|| self.rest.next_if(|next| !next.starts_with('-')))
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T, String> {
        let value = self.value()?;
        parse_as(&self.flag, &value)
    }

    fn millis(&mut self) -> Result<Duration, String> {
        self.parsed().map(Duration::from_millis)
    }

    fn fail_first(&mut self, how: OpeningFailure) -> Result<FailFirst, String> {
        Ok(FailFirst {
            openings: self.parsed()?,
            how,
            state_file: None,
        })
    }
}

fn parse_as<T: FromStr<Err: std::fmt::Display>>(flag: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|error| format!("{flag} cannot be {value:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn no_argument_means_a_well_behaved_server_on_stdio() {
        assert_eq!(parse(""), Ok(Options::default()));
    }

    #[test]
    fn a_value_may_follow_its_flag_or_be_attached_to_it() {
        assert_eq!(parse("--era legacy"), parse("--era=legacy"));
        assert_eq!(parse("--era legacy").unwrap().era, Era::Legacy);
    }

    #[test]
    fn http_takes_an_address_or_picks_a_free_port() {
        let ServeOn::Http(free) = parse("--http --nagle").unwrap().transport else {
            panic!("not http");
        };
        assert_eq!((free.address.port(), free.nodelay), (0, false));
        let ServeOn::Http(fixed) = parse("--http 127.0.0.1:8931").unwrap().transport else {
            panic!("not http");
        };
        assert_eq!(fixed.address.port(), 8931);
    }

    #[test]
    fn an_error_names_the_argument() {
        for (line, named) in [
            ("--no-such", "--no-such"),
            ("--era", "--era"),
            ("--era stone", "stone"),
            ("--garbage=yes", "--garbage"),
            ("loose", "loose"),
            ("--pages many", "--pages"),
            ("--state-file x", "--fail-first"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(named), "{line}: {error}");
        }
    }

    #[test]
    fn the_state_file_belongs_to_the_failing_openings_wherever_it_stands() {
        let first = parse("--state-file /x --exit-first 2").unwrap();
        assert_eq!(first, parse("--exit-first 2 --state-file /x").unwrap());
        let fail_first = first.faults.fail_first.unwrap();
        assert_eq!(fail_first.how, OpeningFailure::Exit);
        assert_eq!(fail_first.state_file, Some("/x".into()));
    }
}
