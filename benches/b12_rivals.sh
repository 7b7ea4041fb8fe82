#!/usr/bin/env bash
# Installs other gateways, pinned, under target/rivals, starts each in front of the same stdio server, and runs B12 against
# them. What does not install or start is named and left out.
#
#   benches/b12_rivals.sh              all
#   benches/b12_rivals.sh --quick      a debug build, only to see that it runs: the figures mean nothing
#   benches/b12_rivals.sh --list       names and versions
set -euo pipefail
cd "$(dirname "$0")/.."

fastmcp_version=4.2.3
mcp_proxy_version=0.13.0
supergateway_version=4.0.0
mcp_proxy_rust_version=0.6.0

if [ "${1:-}" = --list ]; then
  printf '%s\n' "fastmcp $fastmcp_version (PyPI)" "mcp-proxy $mcp_proxy_version (PyPI)" \
    "supergateway $supergateway_version (npm)" "mcp-proxy $mcp_proxy_rust_version (crates.io)"
  exit
fi

# The program that measures, built and run for that or only to see it run.
bench=(bench)
[ "${1:-}" != --quick ] || bench=(test)
bench+=(-p mcp-pool-benches --bench b12_gateway)

rivals=$PWD/target/rivals
mkdir -p "$rivals"
log=$rivals/log
: >"$log"
pip() {
  [ -x "$rivals/$1/bin/pip" ] || python3 -m venv "$rivals/$1"
  "$rivals/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}" >>"$log" 2>&1
}
pip fastmcp "fastmcp==$fastmcp_version" || echo "left out: fastmcp did not install" >&2
pip mcp-proxy "mcp-proxy==$mcp_proxy_version" || echo "left out: mcp-proxy did not install" >&2
npm install --prefix "$rivals/supergateway" --no-save --silent "supergateway@$supergateway_version" >>"$log" 2>&1 ||
  echo "left out: supergateway did not install" >&2
cargo install --quiet --root "$rivals/rust" "mcp-proxy@$mcp_proxy_rust_version" --locked >>"$log" 2>&1 ||
  echo "left out: mcp-proxy (Rust) did not install" >&2

# The bench program is the server, too.
program=$(cargo "${bench[@]}" --no-run --message-format json 2>>"$log" |
  python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "b12_gateway": print(message["executable"])')
server=("$program" --mcp-testkit-server --era legacy)

started=()
trap 'kill "${started[@]}" 2>/dev/null || true' EXIT
addresses=
path=/mcp prefix= # of the endpoint, and of the tools' names
# rival NAME PORT COMMAND...: starts it and waits until it accepts connections.
rival() {
  local name=$1 port=$2
  shift 2
  [ -x "$1" ] || [ "$1" = node ] || return 0
  "$@" >>"$log" 2>&1 &
  started+=($!)
  for _ in $(seq 100); do
    if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      addresses="$addresses $name=http://127.0.0.1:$port$path=$prefix"
      return
    fi
    sleep 0.3
  done
  echo "left out: $name does not listen; see $log" >&2
}

cat >"$rivals/proxy.py" <<PY
import sys
from fastmcp.server import create_proxy
command, *args = sys.argv[2:]
proxy = create_proxy({"mcpServers": {"server": {"command": command, "args": args}}})
proxy.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
PY
rival fastmcp 8201 "$rivals/fastmcp/bin/python" "$rivals/proxy.py" 8201 "${server[@]}"
rival mcp-proxy 8202 "$rivals/mcp-proxy/bin/mcp-proxy" --host 127.0.0.1 --port 8202 -- "${server[@]}"
if [ -d "$rivals/supergateway/node_modules/supergateway" ]; then
  rival supergateway 8203 node "$rivals/supergateway/node_modules/supergateway/dist/index.js" --port 8203 \
    --outputTransport streamableHttp --stateful --stdio "${server[*]}"
fi
cat >"$rivals/proxy.toml" <<TOML
[proxy]
name = "proxy"
[proxy.listen]
host = "127.0.0.1"
port = 8204
[[backends]]
name = "server"
transport = "stdio"
command = "$program"
args = ["--mcp-testkit-server", "--era", "legacy"]
TOML
path=/ prefix=server/
rival mcp-proxy-rust 8204 "$rivals/rust/bin/mcp-proxy" --config "$rivals/proxy.toml"

POOL_BENCH_RIVALS=$addresses cargo "${bench[@]}"
