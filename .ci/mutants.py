"""Runs the tests against every mutant that cargo-mutants lists, with one build for all of them.

A build per mutant takes hours. So all mutants of a part are written into one copy of the workspace, each behind
`crate::mutant(N)`, which is true where the variable MUTANT is N. The tests are built once and run once for each mutant.
A mutant that does not compile in this form is taken out and counted.
"""

import argparse
import bisect
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

import tree_sitter
import tree_sitter_rust

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "target/mutants"
CARGO = os.environ.get("CARGO", "cargo")
AT_ONCE = 2
IDLE = 60  # seconds
MEMORY = 8 << 30  # bytes; a mutant that never stops may allocate all there is

# Tests run in steps: what survives the nearest ones runs the next. Each is a program and the filters for it.
CALL = "crates/mcp-pooled-tools/src/call"
FACADE = "mcp-pooled-tools"
PARTS = {
    "breaker": (
        "mcp-breaker",
        ["crates/mcp-breaker/src/**"],
        [[("lib", [])], [("it", [])]],
    ),
    "router": (
        "mcp-pool-core",
        ["crates/mcp-pool-core/src/router.rs", "crates/mcp-pool-core/src/router/*.rs"],
        [
            [("lib", ["router::tests::", "router::view::"])],
            [("lib", ["router::model::"])],
            [("lib", ["router::cost::"])],
            [("it", ["fairness::", "herd::", "sharing::", "suspect::", "control::", "minimum::", "maintenance::"])],
            [("it", ["budget", "scope_state::", "runtimes::", "deadline_races::", "death::"])],
        ],
    ),
    "replay": (
        FACADE,
        [f"{CALL}/retry.rs"],
        [[("lib", ["call::"])], [("it", ["replay", "state_lost::", "breaker", "header_sources::"])]],
    ),
    "classification": (
        FACADE,
        [f"{CALL}/classify.rs"],
        [[("lib", ["call::"])], [("it", ["breaker", "errors::", "metrics::", "health::"])]],
    ),
    "deadline": (
        FACADE,
        [f"{CALL}/deadline.rs"],
        [
            [("lib", ["call::"])],
            [("it", ["deadline::", "cancellation::", "options::"])],
            [("it", ["breaker", "tasks_and_rounds::"])],
        ],
    ),
    "scope": (
        FACADE,
        ["crates/mcp-pooled-tools/src/scope.rs"],
        [
            [("lib", ["scope"])],
            [("it", ["scope", "notifications::", "list_subscriptions::"])],
            [("it", ["sharing::", "state_lost::", "reload", "handlers::"])],
        ],
    ),
    "identity": (
        FACADE,
        ["crates/mcp-pooled-tools/src/identity.rs"],
        [[("lib", ["identity"]), ("it", ["credentials::", "header_sources::", "sharing::"])]],
    ),
}
# Tests, what loom alone compiles, and text for people.
LEFT_OUT = ["--exclude", "**/{tests,model,sync}.rs", "--exclude-re", "impl .*(Debug|Display)"]

SWITCH = """
#[doc(hidden)]
#[allow(missing_docs)]
pub fn mutant(number: u32) -> bool {
    static ACTIVE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let read = || std::env::var("MUTANT").ok().and_then(|active| active.parse().ok());
    *ACTIVE.get_or_init(|| read().unwrap_or(0)) == number
}
"""


# Also of the programs that tests build for themselves, which would otherwise build everything once more.
os.environ |= {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_TEST_DEBUG": "0"}


def main():
    arguments = argparse.ArgumentParser(prog=".ci/mutants", description="Mutation tests of the policies.")
    arguments.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments.add_argument("--list", action="store_true", help="name the parts")
    arguments.add_argument("--only", default="", metavar="REGEX", help="mutants whose names match")
    arguments.add_argument("--steps", type=int, metavar="N", help="only the N nearest steps of the tests")
    arguments = arguments.parse_args()
    if arguments.list:
        return print(*PARTS, sep="\n")
    unknown = set(arguments.parts) - PARTS.keys()
    if unknown:
        sys.exit(f"error: no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    for _, _, steps in PARTS.values():
        del steps[arguments.steps or len(steps) :]
    by_package = collections.defaultdict(list)
    for part in arguments.parts or PARTS:
        by_package[PARTS[part][0]].append(part)
    for package, parts in by_package.items():
        run_package(package, parts, re.compile(arguments.only))


def run_package(package, parts, only):
    listed, number = {part: {} for part in parts}, 0
    for part in parts:
        for mutant in list_mutants(package, PARTS[part][1]):
            number += 1
            if only.search(mutant["name"]):
                listed[part][number] = mutant
    mutants = {number: mutant for part in listed.values() for number, mutant in part.items()}
    tree = OUT / "trees" / package
    programs, broken = build(tree, package, mutants)
    for part in parts:
        built = [number for number in listed[part] if number not in broken]
        results = run_tests(tree / "crates" / package, programs, PARTS[part][2], built, mutants)
        results |= {number: ("not built", "") for number in listed[part] if number in broken}
        report(part, {mutants[number]["name"]: result for number, result in sorted(results.items())})


def list_mutants(package, files):
    files = [argument for file in files for argument in ("--file", file)]
    command = ["cargo", "mutants", "--list", "--json", "--package", package, *files, *LEFT_OUT]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


# Writing the mutants into the copy


class Source:
    """A source file, its syntax tree, and the mutants in it."""

    def __init__(self, path):
        self.text = (ROOT / path).read_bytes()
        self.root = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language())).parse(self.text).root_node
        self.lines = self.text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        # What stands in place of an expression, and what is put in at a place: by range, [(number, text)].
        self.sites = collections.defaultdict(list)

    def offset(self, place):
        line = self.lines[place["line"] - 1].decode()
        return self.starts[place["line"] - 1] + len(line[: place["column"] - 1].encode())

    def add(self, number, mutant):
        """Returns whether the mutant has a form that can be switched on."""
        start, end = self.offset(mutant["span"]["start"]), self.offset(mutant["span"]["end"])
        replacement = mutant["replacement"].encode()
        node = self.root.descendant_for_byte_range(start, end)
        self.drop_const(number, node)
        match mutant["genre"]:
            case "FnValue" if " impl " in mutant["function"]["return_type"]:
                return False  # both values would have to be of one type
            case "FnValue":
                value = b"" if replacement == b"()" else replacement
                self.sites[start, start].append((number, b"return " + value + b";"))
            case "BinaryOperator" | "UnaryOperator":
                kinds = ("binary_expression", "compound_assignment_expr", "unary_expression")
                if node.parent is None or node.parent.type not in kinds:
                    return False
                a, b = node.parent.start_byte, node.parent.end_byte
                self.sites[a, b].append((number, self.text[a:start] + replacement + self.text[end:b]))
            case "MatchArmGuard":
                self.sites[start, end].append((number, replacement))
            case "MatchArm":
                node = self.root.descendant_for_byte_range(start, start + 1)
                while node.type != "match_arm":
                    node = node.parent
                pattern = node.child_by_field_name("pattern")
                guard = pattern.child_by_field_name("condition")
                arms = (arm.child_by_field_name("pattern") for arm in node.parent.named_children)
                if guard is not None:
                    self.sites[guard.start_byte, guard.end_byte].append((number, b"false"))
                elif not any(arm and arm.text == b"_" for arm in arms):
                    return False  # arms with guards do not make a match exhaustive
                else:
                    self.sites[pattern.end_byte, pattern.end_byte].append((number, None))
            case _:
                return False
        return True

    def drop_const(self, number, node):
        """A switch cannot be read in a `const fn`."""
        while node is not None and node.type != "function_item":
            node = node.parent
        for modifiers in node.children if node else ():
            for word in modifiers.children if modifiers.type == "function_modifiers" else ():
                if word.type == "const":
                    self.sites[word.start_byte, word.end_byte].append((number, b""))

    def render(self, broken):
        sites = []
        for place, choices in self.sites.items():
            choices = [choice for choice in choices if choice[0] not in broken]
            if choices:
                sites.append((place, choices))
        # An insertion first, then the outer of two that begin together.
        sites.sort(key=lambda site: (site[0][0], site[0][1] != site[0][0], -site[0][1]))
        return self.render_range(0, len(self.text), sites)

    def render_range(self, start, end, sites):
        out, at = b"", start
        while sites:
            (a, b), choices = sites.pop(0)
            out += self.text[at:a]
            at = b
            if not choices[0][1] and a != b:
                continue
            if a == b:
                for number, text in choices:
                    out += marked([number], when(number, text) if text else b" if !crate::mutant(%d)" % number)
                continue
            inside = []
            while sites and sites[0][0][0] < b:
                inside.append(sites.pop(0))
            chain = b"".join(marked([number], when(number, text)) + b" else " for number, text in choices)
            chain = b"(" + chain + b"{ " + self.render_range(a, b, inside) + b" })"
            out += marked([number for number, _ in choices], chain)
        return out + self.text[at:end]


def when(number, text):
    return b"if crate::mutant(%d) { " % number + text + b" }"


def marked(numbers, text):
    name = ",".join(map(str, numbers)).encode()
    return b"/*[" + name + b"*/" + text + b"/*]" + name + b"*/"


def build(tree, package, mutants):
    """Builds the tests, and returns their programs with the numbers of the mutants that do not compile."""
    sources = {path: Source(path) for path in {mutant["file"] for mutant in mutants.values()}}
    broken = {number for number, mutant in mutants.items() if not sources[mutant["file"]].add(number, mutant)}
    names = {name for part in PARTS.values() if part[0] == package for step in part[2] for name, _ in step}
    targets = [argument for name in sorted(names) for argument in (["--lib"] if name == "lib" else ["--test", name])]
    copy_workspace(tree, sources, package)
    for command in (["check", "--lib", "--profile", "test"], ["test", "--no-run", *targets]):
        while True:
            ranges = {}
            for path, source in sources.items():
                text = source.render(broken)
                write(tree / path, text)
                ranges[path] = list(markers(text))
            print(f"{package}: cargo {command[0]}, {len(mutants) - len(broken)} mutants", flush=True)
            ok, programs, found = cargo(tree, [*command, "--package", package], ranges)
            if ok:
                break
            broken |= found
    return programs, broken


def copy_workspace(tree, mutated, package):
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    kept = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    switched = f"crates/{package}/src/lib.rs"
    for path in kept.decode().split("\0"):
        if path and path not in mutated and (ROOT / path).is_file():
            text = (ROOT / path).read_bytes()
            write(tree / path, text + SWITCH.encode() if path == switched else text, (ROOT / path).stat().st_mode)


def write(path, text, mode=0o644):
    if not path.exists() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        path.chmod(mode)


def markers(text):
    for begin in re.finditer(rb"/\*\[([\d,]+)\*/", text):
        end = text.index(b"/*]" + begin[1] + b"*/", begin.end())
        yield begin.end(), end, {int(number) for number in begin[1].split(b",")}


def cargo(tree, command, ranges):
    """Returns whether it succeeded, the test programs, and the mutants in which there are errors."""
    command = [CARGO, *command, "--message-format", "json"]
    done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    programs, found, lost = {}, set(), []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message.get("executable"):
            kind, name = message["target"]["kind"][0], message["target"]["name"]
            if message["profile"]["test"]:
                programs["lib" if kind == "lib" else name] = message["executable"]
        if message["reason"] != "compiler-message" or message["message"]["level"] != "error":
            continue
        places = list(spans(message["message"]))
        inner = [smallest(ranges.get(file, []), start, end) for file, start, end in places]
        inner = next((numbers for numbers in inner if numbers), None)
        if inner:
            found |= inner
        elif places:
            lost.append(message["message"]["rendered"])
    if done.returncode and not found:
        sys.exit("".join(lost) or done.stderr)
    return done.returncode == 0, programs, found


def spans(message):
    for span in sorted(message["spans"], key=lambda span: not span["is_primary"]):
        while span:
            yield span["file_name"], span["byte_start"], span["byte_end"]
            span = (span["expansion"] or {}).get("span")


def smallest(ranges, start, end):
    around = [(b - a, numbers) for a, b, numbers in ranges if a <= start and end <= b]
    return min(around, key=lambda one: one[0])[1] if around else None


# Running the tests


def run_tests(folder, programs, steps, numbers, mutants):
    results, left = {}, numbers
    for step in steps:
        result, failed, used = run_step(folder, programs, step, 0, 600)
        if result != "survived":
            sys.exit(f"error: {result} without a mutant: {failed}")
        limit = 10 + 5 * used
        print(f"{len(left)} mutants, {step}, at most {limit:.0f} s of processor time each", flush=True)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            run = lambda number: run_step(folder, programs, step, number, limit)
            for number, (result, failed, _) in zip(left, pool.map(run, left)):
                results[number] = (result, failed)
                print(f"{result:9} {mutants[number]['name']} {failed[:100]}", flush=True)
        left = [number for number in left if results[number][0] == "survived"]
    return results


def run_step(folder, programs, step, number, limit):
    total = 0
    for program, filters in step:
        result, failed, used = run_program(folder, programs[program], filters, number, limit)
        total += used
        if result != "survived":
            break
    return result, failed, total


def run_program(folder, program, filters, number, limit):
    """Returns what became of the mutant, the tests that failed, and the processor time used."""
    # A model that fails is not made smaller.
    environment = {"MUTANT": str(number), "PROPTEST_MAX_SHRINK_ITERS": "0", "RUST_BACKTRACE": "0"}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [program, "--test-threads", "4", *filters],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "CARGO"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )
        # The first run may build programs that the tests need.
        used, ended = wait(process, limit, IDLE if number else 1200)
        output.seek(0)
        failed = " ".join(re.findall(r"^test (\S+) .*FAILED$", output.read(), re.MULTILINE))
    if failed or ended and process.returncode:
        return "caught", failed or "the program ended", used
    return "survived" if ended else "timeout", "", used


def wait(process, limit, idle):
    """Waits for the end of a program, unless it uses too much processor time, or none for `idle` seconds.

    Time by the clock would say more about the other programs on the machine.
    """
    used, since = 0.0, time.monotonic()
    while True:
        try:
            process.wait(0.2)
            return used, True
        except subprocess.TimeoutExpired:
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            now = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            if now > used:
                used, since = now, time.monotonic()
            if used > limit or time.monotonic() - since > idle:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return used, False


def report(part, results):
    (OUT / f"{part}.json").write_text(json.dumps(results, indent=1))
    counts = collections.Counter(result for result, _ in results.values())
    columns = ("caught", "timeout", "not built", "survived")
    print(f"\n== {part}: {len(results)} mutants, " + ", ".join(f"{counts[name]} {name}" for name in columns))
    for name, (result, _) in results.items():
        if result == "survived":
            print(f"  {name}")
    print(flush=True)


if __name__ == "__main__":
    main()
