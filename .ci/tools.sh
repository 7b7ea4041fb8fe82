# What the gate needs beside cargo, node, npm and python3: installed once, pinned, under .ci/tools.
# Sourced by .ci/run. Each function installs what it names, unless it is there.

everything_version=2026.8.31
time_version=2026.10.19
playwright_version=1.65.1
schemathesis_version=4.32.5
fastmcp_version=4.2.3
mcp_version=2.3.0
sdk1_first_version=1.10.0 # the first with streamable HTTP
sdk1_version=1.32.2
sdk2_version=2.4.0 # both eras
mcp_first_version=1.8.0 # the first with streamable HTTP
inspector_version=2.12.0
mcp_remote_version=0.15.1
conformance_version=0.2.0-alpha.12 # the first line with requirements by revision
node22_version=22.23.3 # which the suite needs
deny_version=0.20.2
claude_code_version=2.1.332
codex_version=0.171.0
gemini_cli_version=0.61.0
hack_version=0.6.45
maturin_version=1.14.1

tools=$PWD/.ci/tools

# once NAME COMMAND...: runs the command unless it has succeeded under this name.
once() {
  local mark=$tools/installed/$1
  shift
  [ -e "$mark" ] && return
  "$@" && mkdir -p "$tools/installed" && touch "$mark"
}

npm_install() { npm install --prefix "$tools/$1" --no-save --no-audit --no-fund --silent "${@:2}"; }

pip_install() { pip_install_in venv "$@"; }

pip_install_in() {
  [ -x "$tools/$1/bin/pip" ] || python3 -m venv "$tools/$1"
  "$tools/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
}

# MCP servers that others wrote, and the tools that test against them.
servers() {
  once "everything-$everything_version" npm_install npm "@modelcontextprotocol/server-everything@$everything_version"
  once "time-$time_version" pip_install "mcp-server-time==$time_version"
  once "schemathesis-$schemathesis_version" pip_install "schemathesis==$schemathesis_version"
  once "fastmcp-$fastmcp_version-mcp-$mcp_version" pip_install "fastmcp==$fastmcp_version" "mcp==$mcp_version"
  local everything=$tools/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js
  export POOL_TEST_REAL_SERVERS=required
  export POOL_TEST_EVERYTHING="node $everything"
  export POOL_TEST_EVERYTHING_WRAPPED="npm --prefix $tools/npm exec --offline -- mcp-server-everything"
  export POOL_TEST_TIME="$tools/venv/bin/mcp-server-time"
  export POOL_TEST_PYTHON=$tools/venv/bin/python
  export POOL_TEST_SCHEMATHESIS=$tools/venv/bin/st
  export POOL_BENCH_EVERYTHING=$everything
}

# Clients that others wrote, oldest and newest, for the gateway's tests.
clients() {
  once "sdk1-first-$sdk1_first_version" npm_install sdk1-first "@modelcontextprotocol/sdk@$sdk1_first_version"
  once "sdk1-$sdk1_version" npm_install sdk1 "@modelcontextprotocol/sdk@$sdk1_version"
  once "sdk2-$sdk2_version" npm_install sdk2 "@modelcontextprotocol/client@$sdk2_version"
  once "inspector-$inspector_version" npm_install inspector "@modelcontextprotocol/inspector@$inspector_version"
  once "mcp-remote-$mcp_remote_version" npm_install mcp-remote "mcp-remote@$mcp_remote_version"
  once "mcp-first-$mcp_first_version" \
    pip_install_in venv-first "mcp==$mcp_first_version" pydantic==2.11.10 # no newer one fits
  if [ ! -x /usr/sbin/nginx ]; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends nginx-light; } >&2 || {
      echo "error: the gateway's tests need /usr/sbin/nginx, and 'apt-get install nginx-light' did not install it" >&2
      return 1
    }
  fi
  export POOL_TEST_NGINX=/usr/sbin/nginx
  export POOL_TEST_CLIENTS=required POOL_TEST_CLIENTS_IN=$tools
  export POOL_TEST_PYTHON_FIRST=$tools/venv-first/bin/python
}

# Programs that are clients of mcp-pool, each with a command that lists its servers and needs no account.
agents() {
  once "agents-$claude_code_version-$codex_version-$gemini_cli_version-$node22_version" npm_install agents \
    "@anthropic-ai/claude-code@$claude_code_version" "@openai/codex@$codex_version" \
    "@google/gemini-cli@$gemini_cli_version" "node@$node22_version"
  export POOL_TEST_AGENTS=required POOL_TEST_AGENTS_IN=$tools/agents
}

# Chromium and what drives it, for the dashboard's tests.
browser() {
  if [ ! -x /usr/bin/chromium ]; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium; } >&2 || {
      echo "error: the dashboard's tests need /usr/bin/chromium, and 'apt-get install chromium' did not install it" >&2
      return 1
    }
  fi
  # In a folder of its own: npm takes away what it was not asked for. By itself it would bring browsers of its own.
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 once "playwright-$playwright_version" \
    npm_install browser "playwright-core@$playwright_version"
  export POOL_TEST_BROWSER=required
  export POOL_TEST_PLAYWRIGHT=$tools/browser
}

# promtool. Debian has it in the package of the server, whose service is not wanted.
prometheus_tool() {
  command -v promtool >/dev/null && return
  {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends prometheus
    service prometheus stop
  } >&2 || true
  command -v promtool >/dev/null || {
    echo "error: the Prometheus rules are checked by promtool, and 'apt-get install prometheus' did not install it" >&2
    return 1
  }
}

conformance_suite() {
  once "conformance-$conformance_version-$node22_version" npm_install conformance \
    "@modelcontextprotocol/conformance@$conformance_version" "node@$node22_version"
}

# cargo_tool NAME VERSION: a subcommand of cargo, as it is there or as a prebuilt wheel.
cargo_tool() {
  command -v "cargo-$1" >/dev/null && return
  once "cargo-$1-$2" pip_install "astral-dev-toolchain-cargo-$1==$2"
  PATH=$tools/venv/bin:$PATH
}
