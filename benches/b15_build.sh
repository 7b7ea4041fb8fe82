#!/usr/bin/env bash
# B15: the processor time of a build from nothing, in all and by crate.
#
#   benches/b15_build.sh                the first command of the README
#   benches/b15_build.sh build --release -p mcp-pooled-tools
#
# Processor time and not time passed: it depends little on how many cores there are and who else uses them.
set -euo pipefail

if [ -n "${B15_COSTS:-}" ]; then # as cargo's rustc wrapper
  name=?
  for ((at = 1; at < $#; at++)); do
    if [ "${!at}" = --crate-name ]; then
      next=$((at + 1))
      name=${!next}
    fi
  done
  TIMEFORMAT="%U %S $name"
  exec 3>&2
  { time "$@" 2>&3; } 2>>"$B15_COSTS"
  exit
fi

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
[ $# -gt 0 ] || set -- build --release --example quickstart
target=$(mktemp -d "${TMPDIR:-/tmp}/b15.XXXXXX")
trap 'rm -rf "$target"' EXIT
export CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 RUSTC_WRAPPER=$here/b15_build.sh B15_COSTS=$target/costs
touch "$B15_COSTS"
began=$SECONDS
cargo "$@"
times >"$target/times"
awk -v took=$((SECONDS - began)) -v command="cargo $*" '
  { split($1, u, /[ms]/); split($2, s, /[ms]/); total = 60 * (u[1] + s[1]) + u[2] + s[2] }
  END { printf "%s: %.0f s of processor time, %d s passed\n", command, total, took }' "$target/times"
echo 'the costliest crates, seconds of processor time:'
awk '{ cost[$3] += $1 + $2 } END { for (name in cost) printf "%8.1f  %s\n", cost[name], name }' "$B15_COSTS" | sort -rn | head -15
