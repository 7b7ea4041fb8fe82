//! Finds the server's binary from the tests of another package, and builds it if it is missing or out of date.
//!
//! Cargo gives a test the path of its own package's binaries only.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::open_counter::lock;

/// The path of the `mcp-testkit` binary, with HTTP, of the same profile as the running test.
///
/// # Panics
///
/// It is missing and cannot be built; cargo says why on stderr.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(find_or_build).clone()
}

fn find_or_build() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let place = Place::of(&this).unwrap_or_else(|| {
        panic!(
            "{} is not in a cargo target directory, where mcp-testkit would be",
            this.display()
        )
    });
    let binary = place
        .profile_dir
        .join(format!("mcp-testkit{}", std::env::consts::EXE_SUFFIX));
    if !is_current(&binary) {
        let lock_file = place.profile_dir.join(".mcp-testkit-build.lock");
        let lock_file = File::create(&lock_file).expect("the target directory is writable");
        lock(&lock_file).expect("a file can be locked");
        // Another test process may have built it while this one waited.
        if !is_current(&binary) {
            let package = std::env::var("CARGO_PKG_NAME").ok();
            place.build(RunningTest::of(&this, package).as_ref());
        }
    }
    assert!(
        binary.exists(),
        "cargo built mcp-testkit, but not at {}",
        binary.display()
    );
    binary
}

/// Whether the binary is there, and no source of this crate was changed after it was built.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let Some(built) = changed(binary) else {
        return false;
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = std::fs::read_dir(sources).into_iter().flatten().flatten();
    !sources.any(|source| changed(&source.path()).is_some_and(|changed| changed > built))
}

/// Where in a target directory a test runs.
struct Place {
    profile_dir: PathBuf,
    target_dir: PathBuf,
    triple: Option<String>,
    profile: String,
}

impl Place {
    /// `<target>[/<triple>]/<profile>[/deps|/examples]/<program>`
    fn of(program: &Path) -> Option<Self> {
        let mut profile_dir = program.parent()?;
        if matches!(profile_dir.file_name()?.to_str()?, "deps" | "examples") {
            profile_dir = profile_dir.parent()?;
        }
        let profile = match profile_dir.file_name()?.to_str()? {
            "debug" => "dev".to_owned(),
            name => name.to_owned(),
        };
        let above = profile_dir.parent()?;
        // Cargo tags the target directory itself, not those of the triples in it.
        let has_triple = !above.join(CACHE_TAG).exists()
            && above
                .parent()
                .is_some_and(|parent| parent.join(CACHE_TAG).exists());
        let (target_dir, triple) = match has_triple {
            true => (
                above.parent()?,
                Some(above.file_name()?.to_str()?.to_owned()),
            ),
            false => (above, None),
        };
        Some(Self {
            profile_dir: profile_dir.to_owned(),
            target_dir: target_dir.to_owned(),
            triple,
            profile,
        })
    }

    /// Builds the binary together with the running test, whose dependencies cargo then takes as they are. On its own the
    /// binary asks for fewer features of them, and cargo compiles most of them a second time: a minute within one test.
    fn build(&self, test: Option<&RunningTest>) {
        let built = test.is_some_and(|test| run(&mut self.cargo(Some(test))).is_ok());
        if !built {
            run(&mut self.cargo(None)).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn cargo(&self, test: Option<&RunningTest>) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "-p", "mcp-testkit", "--bin", "mcp-testkit"])
            .args(["--profile", &self.profile])
            .arg("--target-dir")
            .arg(&self.target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if let Some(test) = test {
            cargo.args(["-p", &test.package, "--test", &test.name]);
        }
        if let Some(triple) = &self.triple {
            cargo.args(["--target", triple]);
        }
        cargo
    }
}

/// The test program that asks for the binary.
#[derive(Debug, PartialEq, Eq)]
struct RunningTest {
    package: String,
    name: String,
}

impl RunningTest {
    /// From the program's name, `<name>-<hash>`, and the package that cargo says it runs. `None` if cargo does not run
    /// it.
    fn of(program: &Path, package: Option<String>) -> Option<Self> {
        let (name, _hash) = program.file_stem()?.to_str()?.rsplit_once('-')?;
        Some(Self {
            package: package?,
            name: name.to_owned(),
        })
    }
}

/// What cargo prints goes to the terminal, past the test harness: a test that takes long says why.
fn run(cargo: &mut Command) -> Result<(), String> {
    let status = cargo.status();
    let status =
        status.map_err(|error| format!("cannot run {cargo:?} to build mcp-testkit: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "cannot build mcp-testkit: {cargo:?} failed, see above"
    ))
}

const CACHE_TAG: &str = "CACHEDIR.TAG";

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/src/target/debug/deps/pools-b1f358fd6b8810f0";

    fn place() -> Place {
        Place {
            profile_dir: "/src/target/debug".into(),
            target_dir: "/src/target".into(),
            triple: None,
            profile: "dev".into(),
        }
    }

    fn arguments(cargo: &Command) -> Vec<&str> {
        cargo.get_args().filter_map(|arg| arg.to_str()).collect()
    }

    #[test]
    fn the_binary_is_built_with_the_dependencies_of_the_running_test() {
        let test = RunningTest::of(Path::new(PROGRAM), Some("a-package".into()));
        let cargo = place().cargo(test.as_ref());
        let arguments = arguments(&cargo);
        for pair in [
            ["-p", "mcp-testkit"],
            ["-p", "a-package"],
            ["--test", "pools"],
        ] {
            let given = arguments.windows(2).any(|window| window == pair);
            assert!(given, "{pair:?} is missing in {arguments:?}");
        }
        // They would set the features of the library apart from those with which the test was built.
        let sets_features = |argument: &&str| argument.contains("features");
        assert!(!arguments.iter().any(sets_features), "{arguments:?}");
    }

    #[test]
    fn a_program_that_cargo_does_not_run_builds_the_binary_alone() {
        assert_eq!(RunningTest::of(Path::new(PROGRAM), None), None);
        let cargo = place().cargo(None);
        assert!(!arguments(&cargo).contains(&"--test"));
    }
}
