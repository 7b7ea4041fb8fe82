//! The help text.

/// What `--help` prints.
pub(crate) const TEXT: &str = "\
A scriptable MCP server, well-behaved and hostile, for testing clients and pools.

Usage: mcp-testkit [OPTIONS]

Without options it is a well-behaved server on standard input and output that speaks both eras of
the protocol. `--option value` and `--option=value` are the same. Times are milliseconds unless the
option says otherwise.

What it is:
  --era legacy|modern|both  The lifecycle it speaks (both): `legacy` answers initialize and does not
                            know server/discover, `modern` the other way round
  --name NAME               The name it gives itself
  --server-version VERSION  The version it gives itself
  --pages N                 Cut every list into about N pages
  --page-size N             Cut every list into pages of N entries
  --looping-pages           End every list with a cursor that leads to the same page again
  --list-ttl MS             The ttlMs of its lists
  --private-lists           Its lists are for one identity alone (cacheScope: private)
  --count-file PATH         Append a line to PATH for every execution of the tool `count`
  --marker TEXT             Ignored: a test finds the process by it
  --max-lifetime SECONDS    End by itself after this time (600)

Where it serves:
  --http [ADDRESS]          Streamable HTTP at ADDRESS (127.0.0.1:0, a free port) under /mcp; prints
                            its URL on stdout as one line
  --nagle                   Leave Nagle's algorithm on, as servers do that do not set TCP_NODELAY
  --status CODE             Answer every request with this HTTP status
  --http-fail-first N       Answer the first N requests with 503
  --bearer TOKEN            Demand this bearer token, else 401
  --json                    Answer with plain JSON where one message is the reply

How it starts:
  --slow-start MS           Read nothing for this long
  --exit CODE               Exit at once with this code
  --stderr TEXT             Print this on stderr at the start
  --flood-stderr BYTES      Write this much to stderr before serving; blocks until it is read
  --grandchild heeds|ignores|detached
                            Spawn a process that outlives this one: it ends at the end of the stdin
                            it inherits, only when killed, or only when killed in a session of its own
  --fail-first N            Answer the first N openings with a JSON-RPC error
  --exit-first N            Exit with code 1 at the first N openings
  --state-file PATH         Count the openings of the two above in PATH, across processes

How it fails while it runs:
  --hang-before-handshake   Read nothing and answer nothing
  --hang-after-handshake    Answer the handshake, then nothing more
  --freeze-stdin            Answer the handshake, then stop reading stdin
  --exit-after-calls N      Exit with code 0 after answering N tool calls
  --exit-mid-call TOOL      Exit with code 1 when TOOL is called, without an answer
  --close-stdout-after N    Close stdout after answering N tool calls, and live on
  --flood WHAT              Write unsolicited messages without end, from the first tool call on:
                            pings, roots, logs, progress, large, heavy or noise
  --garbage                 Print banners and blank lines on stdout before and between the replies
  --single-threaded         Handle one request at a time
  --forbid-overlap          Answer a call that overlaps another with an error result

How it ends:
  --ignore-sigterm          Outlive SIGTERM
  --ignore-eof              Outlive the end of stdin

Those of stdin and stdout (--slow-start, --exit-first, --freeze-stdin, --exit-after-calls,
--close-stdout-after, --garbage and --ignore-eof) are for stdio; the others work over HTTP too. More
faults are tools: list the tools to see them.
";
