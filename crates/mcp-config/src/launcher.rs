//! Finds the program or package that a command line runs.
//!
//! Launchers such as `npx`, `uvx` and `docker` take it as an argument, after options of their own. All later arguments
//! are the server's, and say nothing about which server it is.

/// What the first of `words` runs: itself, or the package, image, module or script that a launcher is given. A launcher
/// may name two, as in `uvx --from package program`.
pub(crate) fn targets<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let Some((program, args)) = words.split_first() else {
        return Vec::new();
    };
    let name = stem(program);
    if WRAPPERS.contains(&name.as_str()) {
        let words = args.iter().flat_map(|arg| arg.split_whitespace());
        // `cmd /c`, `sh -c`, `env NAME=value`
        let is_own = |word: &&str| {
            let is_switch = word.starts_with('-') || word.starts_with('/') && word.len() == 2;
            is_switch || word.contains('=')
        };
        return targets(&words.skip_while(is_own).collect::<Vec<_>>());
    }
    match LAUNCHERS
        .iter()
        .find(|launcher| launcher.programs.contains(&name.as_str()))
    {
        Some(launcher) => launcher.targets(args),
        None => vec![program],
    }
}

struct Launcher {
    programs: &'static [&'static str],
    /// Subcommands before the package; without one of them nothing is launched. Empty if there are none.
    subcommands: &'static [&'static str],
    /// Options whose value is the package.
    package: &'static [&'static str],
    options: Options,
}

/// Which options of a launcher take the next word as their value.
enum Options {
    WithValue(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Launcher {
    fn targets<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        let mut found = Vec::new();
        let mut launches = self.subcommands.is_empty();
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            if !arg.starts_with('-') || arg == "-" {
                if self.subcommands.contains(&arg) {
                    launches = true;
                    continue;
                }
                found.push(arg);
                break;
            }
            match arg.split_once('=') {
                Some((option, value)) if self.package.contains(&option) => found.push(value),
                None if self.package.contains(&arg) => found.extend(args.next()),
                None if self.options.take_value(arg) => drop(args.next()),
                _ => {}
            }
        }
        if launches { found } else { Vec::new() }
    }
}

impl Options {
    fn take_value(&self, option: &str) -> bool {
        match self {
            Self::WithValue(options) => options.contains(&option),
            Self::AllBut(flags) => {
                let letters = option.trim_start_matches('-');
                let combined =
                    !option.starts_with("--") && letters.chars().all(|c| "ditP".contains(c));
                option != "--" && !combined && !flags.contains(&option)
            }
        }
    }
}

/// The program's name in lower case, without its folder and without the extension of Windows.
fn stem(program: &str) -> String {
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let plain = [".exe", ".cmd", ".bat", ".ps1"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    let plain = plain.unwrap_or(&name);
    match plain.strip_prefix("python") {
        Some(version) if version.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            "python".to_owned()
        }
        _ => plain.to_owned(),
    }
}

/// Programs that run the command line in their arguments.
const WRAPPERS: &[&str] = &["cmd", "sh", "bash", "zsh", "env", "exec", "sudo"];

const LAUNCHERS: &[Launcher] = &[
    Launcher {
        programs: &["npx", "bunx", "pnpx"],
        subcommands: &[],
        package: &["-p", "--package"],
        options: Options::WithValue(NPM_OPTIONS),
    },
    Launcher {
        programs: &["npm", "pnpm", "yarn", "bun"],
        subcommands: &["exec", "x", "dlx"],
        package: &["-p", "--package"],
        options: Options::WithValue(NPM_OPTIONS),
    },
    Launcher {
        programs: &["uvx"],
        subcommands: &[],
        package: &["--from"],
        options: Options::WithValue(UV_OPTIONS),
    },
    Launcher {
        programs: &["uv"],
        subcommands: &["tool", "run"],
        package: &["--from"],
        options: Options::WithValue(UV_OPTIONS),
    },
    Launcher {
        programs: &["pipx"],
        subcommands: &["run"],
        package: &["--spec"],
        options: Options::WithValue(&["--python", "--pip-args", "--index-url", "-i"]),
    },
    Launcher {
        programs: &["python", "py"],
        subcommands: &[],
        package: &[],
        options: Options::WithValue(&["-W", "-X"]),
    },
    Launcher {
        programs: &["node"],
        subcommands: &[],
        package: &[],
        options: Options::WithValue(&[
            "-r",
            "--require",
            "--import",
            "--loader",
            "-C",
            "--conditions",
        ]),
    },
    Launcher {
        programs: &["deno"],
        subcommands: &["run", "x"],
        package: &[],
        options: Options::WithValue(&["-c", "--config", "--import-map", "--lock"]),
    },
    Launcher {
        programs: &["docker", "podman", "nerdctl"],
        subcommands: &["container", "run"],
        package: &[],
        options: Options::AllBut(&[
            "--detach",
            "--init",
            "--interactive",
            "--no-healthcheck",
            "--privileged",
            "--publish-all",
            "--quiet",
            "-q",
            "--read-only",
            "--rm",
            "--tty",
        ]),
    },
];

const NPM_OPTIONS: &[&str] = &[
    "--cache",
    "--prefix",
    "--registry",
    "--userconfig",
    "-w",
    "--workspace",
];

const UV_OPTIONS: &[&str] = &[
    "--cache-dir",
    "--config-file",
    "--default-index",
    "--directory",
    "--env-file",
    "--extra",
    "--extra-index-url",
    "--group",
    "--index",
    "--index-url",
    "-i",
    "--project",
    "--python",
    "-p",
    "--with",
    "-w",
    "--with-editable",
    "--with-requirements",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<&str> {
        targets(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn the_package_is_found_behind_the_options_of_each_launcher() {
        for (line, expected) in [
            ("server --arg", "server"),
            ("/venv/bin/server other", "/venv/bin/server"),
            ("npx -y --registry https://r pkg@1 other", "pkg@1"),
            ("C:\\nodejs\\npx.cmd -y pkg", "pkg"),
            ("npm --prefix /folder exec --offline -- pkg other", "pkg"),
            ("pnpm dlx pkg", "pkg"),
            ("bun x pkg", "pkg"),
            ("uvx --python 3.12 --with lib pkg==2 other", "pkg==2"),
            ("uv --directory /folder tool run pkg", "pkg"),
            ("uv run pkg", "pkg"),
            ("pipx run pkg", "pkg"),
            ("python3.12 -X dev -m module other", "module"),
            ("python script.py -m other", "script.py"),
            ("node --import tsx script.js other", "script.js"),
            ("deno run --allow-net npm:pkg other", "npm:pkg"),
            (
                "docker run -i --rm -dit --name a -e A=b -v c:d --network=host image:1 other",
                "image:1",
            ),
            ("cmd /c npx -y pkg", "pkg"),
            ("bash -lc uvx pkg", "pkg"),
            ("env A=b node script.js", "script.js"),
        ] {
            assert_eq!(of(line), [expected], "{line}");
        }
    }

    #[test]
    fn a_launcher_may_name_a_package_and_its_program() {
        assert_eq!(of("npx -p pkg program other"), ["pkg", "program"]);
        assert_eq!(of("npx --package=pkg program"), ["pkg", "program"]);
        assert_eq!(of("uvx --from pkg program"), ["pkg", "program"]);
    }

    #[test]
    fn a_launcher_that_launches_nothing_has_no_target() {
        for line in [
            "npm start",
            "docker ps",
            "uv sync",
            "npx",
            "npx -y",
            "deno task x1",
            "env A=b",
        ] {
            assert_eq!(of(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_shells_text_is_split_and_other_arguments_are_not() {
        assert_eq!(targets(&["cmd", "/c", "npx -y pkg"]), ["pkg"]);
        assert_eq!(targets(&["npx", "a pkg"]), ["a pkg"]);
    }
}
