//! Finding the server's binary from another package's tests, and building it if it is not there or out of date.
//!
//! Cargo tells a test the path of its own package's binaries only. This crate's own tests build the
//! binary along with them; `cargo test -p another-package` alone does not.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::openings::lock;

/// The path of the `mcp-testkit` binary, with HTTP, of the same profile as the running test.
///
/// # Panics
///
/// It is missing and cannot be built; the message holds cargo's.
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
            place.build();
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

    fn build(&self) {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args([
                "build",
                "-p",
                "mcp-testkit",
                "--bin",
                "mcp-testkit",
                "--features",
                "http",
            ])
            .args(["--profile", &self.profile])
            .arg("--target-dir")
            .arg(&self.target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if let Some(triple) = &self.triple {
            cargo.args(["--target", triple]);
        }
        let output = cargo
            .output()
            .unwrap_or_else(|error| panic!("cannot run {cargo:?} to build mcp-testkit: {error}"));
        assert!(
            output.status.success(),
            "mcp-testkit is missing and {cargo:?} failed to build it:\n{}",
            String::from_utf8_lossy(&output.stderr),
        );
    }
}

const CACHE_TAG: &str = "CACHEDIR.TAG";
