#!/bin/sh
# Counts instructions with callgrind and keeps them in callgrind.txt, beside this script.
#
# Instructions do not depend on who else uses the machine: what changes here was changed in the code (or by another
# compiler). Needs valgrind. Run it from anywhere in the repository.
set -eu
cd "$(dirname "$0")"
cargo build --quiet --profile bench -p mcp-pool-benches --bin instructions
metadata=$(cargo metadata --format-version 1 --no-deps)
target=$(printf '%s' "$metadata" | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

# Instructions of SUBJECT for ROUNDS, start and end included.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$target/release/instructions" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

{
    echo "Instructions per round, by benches/callgrind.sh with $(rustc --version | cut -d' ' -f1-2), $(uname -m)."
    echo "acquire: take a place and give it back. contended: the same by 64 callers for 10 places, one thread."
    echo "call: echo by a server in the same process, both sides of the pipe counted."
    echo "call-raw: the same by a raw request on a lease. shared: the same by 64 callers on one session."
    echo "stdio: the same by a server that is a process of its own, the client's side alone."
    echo "large: a result of 1.5 MB by a raw request, over stdio, the client's side alone."
    echo "record: what of a call is its recording in its server's metrics."
    echo
    for subject in acquire-pool acquire-bb8 acquire-deadpool contended-pool contended-bb8 contended-deadpool \
        call-pooled call-raw call-bare shared-pooled shared-raw shared-bare stdio-pooled stdio-raw stdio-bare record; do
        few=$(count $subject 640)
        many=$(count $subject 6400)
        printf '%-20s %8d\n' $subject $(((many - few) / 5760))
    done
    few=$(count large 2)
    many=$(count large 12)
    printf '%-20s %8d\n' large $(((many - few) / 10))
} >callgrind.txt.new
mv callgrind.txt.new callgrind.txt
cat callgrind.txt
