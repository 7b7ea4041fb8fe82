//! What stands between a figure and its target, as far as profiles and counts of instructions tell.

use mcp_pool_benches::Verdict;

/// Of those that were missed, each reason once.
pub(crate) fn section(verdicts: &[Verdict]) -> String {
    let missed = verdicts
        .iter()
        .filter(|verdict| !verdict.target.is_met_by(verdict.value));
    let mut section = String::new();
    for verdict in missed {
        let reason = reason(verdict);
        if !section.contains(reason) {
            section.push_str(&format!("- **{}** {reason}\n", verdict.bench));
        }
    }
    if section.is_empty() {
        return section;
    }
    format!("\n## What stands in the way\n\n{section}")
}

fn reason(verdict: &Verdict) -> &'static str {
    match (verdict.bench.as_str(), verdict.case.as_str()) {
        ("B1" | "B2", _) => {
            "A call costs what rmcp's client does for it, and on top the pipeline: the breaker's permit, the lease, a \
             deadline with its timer, the verdict. In process that is the difference of `call-pooled` and `call-bare` in \
             the instruction counts, less what reading the reply as a tool's result at once spares."
        }
        ("B5", case) if case.contains("10 places") => {
            "When callers wait for places, ours are served strictly in the order of their arrival, each under a limit of its \
             own. Of the 4,660 instructions of a round (`contended-pool`) 1,640 are the timer of the wait and the tasks, 1,360 \
             the router (the queue, the index by load, reservations, what to open for those who wait), and 1,230 the taking \
             and the carrying out of its decisions under the pool's lock, which a wait takes three times (to join the line, \
             to be given the place, to take it). bb8 has 2,380: 1,600 for the same timer and the tasks, and 355 for a list of \
             connections that knows no places on a session, no scopes and no demand. deadpool waits without a limit, by a \
             semaphore."
        }
        ("B5", _) => {
            "To know the least loaded session, and to let waiters in by order, taking a place and giving it back each go \
             through the one lock of the pool; deadpool counts permits by an atomic and locks only to push and pop."
        }
        ("B9", case) if case.contains("sessions") => {
            "Client and server are both counted, as both live in this process, and most of it are rmcp's own tasks and \
             channels on the two sides: a bare pair of rmcp's takes no less, as the plot shows."
        }
        ("B11", _) => {
            "A record adds to two atomics, and the call reads the clock once more for it. What that costs is less than the \
             scatter between the halves of a pair."
        }
        ("B12", "echo, 32 clients") => {
            "32 clients keep both cores busy: each waits for the processor time of all, so that the gateway's share of a call \
             counts 32 times."
        }
        ("B12", case) if case.starts_with("echo") && !case.contains("rust") => {
            "Ten times the rate of a rival may be more than the server has when it is spoken to directly (the first row of \
             each number of clients): what is left is then the work of the client and of the server, which share two cores \
             with the gateway."
        }
        ("B12", case) if case.starts_with("echo") => {
            "A call through the gateway is authenticated, held against its client's session, the lists of what is allowed \
             and the pins, and audited, before it goes through the pool's pipeline. The rival passes it on."
        }
        ("B12", case) if case.contains("1.5 MB") => {
            "The result is read from the server, held against the limits of JSON once, and written to the client; the 53 \
             million instructions of `large` are its validation."
        }
        ("B17", case) if case.contains("p50") => {
            "A call through the daemon goes through three processes in place of two: each request has a connection of its \
             own to the daemon, and there the path of a call through the gateway (B12)."
        }
        ("B18", case) if case.contains("1.5 MB") => {
            "53 million instructions (`large`), of which 95 % are serde_json's validation of the reply, which it needs to \
             pass it on as raw JSON. The floor looks for the id alone."
        }
        ("B18", case) if case.contains("rate") => {
            "With 64 callers the server is the limit: it takes more processor time for a call than the client, on the same \
             two cores. The plots show both, and what the floor reaches, whose own share is next to nothing."
        }
        ("B18", case) if case.contains("facade") => {
            "Beyond the raw request are the pipeline (validation, deadline, breaker, metrics) and the reading of the reply as \
             a tool's result: 12,000 of the 27,600 instructions of `stdio-pooled`. What both have in common are the \
             system's calls, which instructions do not count: a write, a read, and the wake-up of the caller."
        }
        _ => "It is not known.",
    }
}
