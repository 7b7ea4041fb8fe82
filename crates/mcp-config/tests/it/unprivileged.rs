//! Runs a test again without privileges: root can read every file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Removes all read permissions of a file. True if this process cannot read it any more.
pub(crate) fn make_unreadable(path: &Path) -> bool {
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    fs::read(path).is_err()
}

/// Runs `test` of this program in `folder`.
pub(crate) fn run(folder: &Path, test: &str) {
    const NOBODY: u32 = 65_534;
    let theirs = folder.join("theirs");
    fs::create_dir(&theirs).unwrap();
    for path in [folder, &theirs] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    // Not where it was built: they may not be allowed there.
    let program = theirs.join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&program)
        .args([test, "--exact"])
        .env("TMPDIR", &theirs)
        .current_dir(&theirs)
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        // A folder for temporary files from which nothing may be started.
        Err(error) => eprintln!("skipped: as root, and no other user can run the test: {error}"),
    }
}
