//! Finds the line on stderr that says why a process ended.
//!
//! The last line nearly always does. Wrappers and runtimes write more after it: where a log is, which version they are,
//! where the code is. This is best effort: all lines are in [`OpenError::stderr`](crate::OpenError::stderr).

/// The line that says why, without the space around it.
pub(crate) fn error_line(lines: &[String]) -> Option<&str> {
    let lines = || lines.iter().map(|line| line.trim());
    let of_npm = lines().filter_map(|line| NPM.iter().find_map(|npm| line.strip_prefix(npm)));
    // npm says first what happened, after its code, and then what to do about it.
    let first = of_npm
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("code ") && !is_noise(line));
    first
        .or_else(|| lines().rfind(|line| is_error(line)))
        .or_else(|| lines().rfind(|line| !is_noise(line)))
        .or_else(|| lines().rfind(|line| !line.is_empty()))
}

/// What npm and npx begin a line with.
const NPM: [&str; 2] = ["npm error", "npm ERR!"];

/// `Error: …`, `ModuleNotFoundError: …`, `java.lang.RuntimeException: …`, `docker: Error response …`.
fn is_error(line: &str) -> bool {
    let Some((head, rest)) = line.split_once(": ") else {
        return false;
    };
    let name = head.rsplit(['.', ' ']).next().unwrap_or(head);
    let named = !head.contains(' ') || head.starts_with("Uncaught");
    let kind = ["error", "Error", "ERROR", "Exception", "fatal", "FATAL"];
    (named && kind.iter().any(|kind| name.ends_with(kind))) || rest.starts_with("Error ")
}

fn is_noise(line: &str) -> bool {
    let noise = [
        "A complete log of this run can be found in",
        "Node.js v",
        "at ",
        "note: run with `RUST_BACKTRACE",
        "npm notice",
        "npm warn",
        "npm error A complete log",
        "Run 'docker ",
        "See 'docker ",
    ];
    !line.contains(|letter: char| letter.is_alphanumeric())
        || noise.iter().any(|noise| line.starts_with(noise))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(stderr: &str) -> Option<String> {
        let lines: Vec<_> = stderr.lines().map(str::to_owned).collect();
        error_line(&lines).map(str::to_owned)
    }

    #[test]
    fn npm_is_quoted_with_what_happened() {
        let stderr = "\
npm error code E404
npm error 404 Not Found - GET https://registry.example/@foo%2fbar - Not found
npm error 404
npm error 404  '@foo/bar@*' is not in this registry.
npm error 404 Note that you can also install from a
npm error 404 tarball, folder, http url, or git folder.
npm error A complete log of this run can be found in: /root/.npm/_logs/debug-0.log
";
        let reported = reported(stderr).unwrap();
        assert!(reported.starts_with("404 Not Found - GET"), "{reported}");
    }

    #[test]
    fn node_is_quoted_with_its_error() {
        let stderr = "\
node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module '/srv/server.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)
    at node:internal/main/run_main_module:36:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v22.11.0
";
        let reported = reported(stderr).unwrap();
        assert_eq!(reported, "Error: Cannot find module '/srv/server.js'");
    }

    #[test]
    fn others_are_quoted_with_their_last_word() {
        for (stderr, expected) in [
            (
                "starting\nthe API key is missing\n\n",
                "the API key is missing",
            ),
            (
                "Traceback (most recent call last):\n  File \"x\", line 1\nModuleNotFoundError: No module named 'mcp'\n",
                "ModuleNotFoundError: No module named 'mcp'",
            ),
            (
                "thread 'main' panicked at src/main.rs:2:5:\nno configuration\nnote: run with `RUST_BACKTRACE=1` environment variable\n",
                "no configuration",
            ),
            (
                "docker: Error response from daemon: No such image: foo\n\nRun 'docker run --help' for more information\n",
                "docker: Error response from daemon: No such image: foo",
            ),
            ("^\n", "^"),
        ] {
            assert_eq!(reported(stderr).as_deref(), Some(expected));
        }
        assert_eq!(reported("\n  \n"), None);
    }
}
