//! Watched files: changes are reported, and a bad file changes nothing.

use crate::{loader, unprivileged};
#[cfg(unix)]
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use mcp_config::{Changes, Config, Reload, Watcher};

/// Long enough for a slow machine: nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

struct Project {
    folder: tempfile::TempDir,
    reloads: Receiver<Reload>,
    watcher: Option<Watcher>,
}

const ONE: &str = r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}"#;

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".mcp.json"), ONE).unwrap();
        let (sender, reloads) = channel();
        let loader = loader().file(folder.path().join(".mcp.json"));
        let (config, watcher) = loader
            .watch(move |reload| sender.send(reload).unwrap())
            .unwrap();
        assert_eq!(config.servers.len(), 2);
        Self {
            folder,
            reloads,
            watcher: Some(watcher),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn changed(&self) -> (Config, Changes) {
        match self.reloads.recv_timeout(PATIENCE).unwrap() {
            Reload::Changed { config, changes } => (*config, changes),
            other => panic!("{other:?}"),
        }
    }

    /// What has changed since the last configuration that held, whatever was refused in between.
    fn changed_in_the_end(&self) -> Changes {
        loop {
            let reload = self.reloads.recv_timeout(PATIENCE).unwrap();
            if let Reload::Changed { changes, .. } = reload {
                return changes;
            }
        }
    }

    /// Waits for a refusal that says this; a slow machine may see the steps before it one by one.
    fn refused_with(&self, text: &str) {
        loop {
            match self.reloads.recv_timeout(PATIENCE).unwrap() {
                Reload::Refused(error) if error.to_string().contains(text) => return,
                Reload::Refused(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_change_is_told_by_what_it_takes() {
    let project = Project::new();
    project.write(
        ".mcp.json",
        r#"{"mcpServers": {"a": {"command": "x", "pool": {"max_waiters": 3}}, "b": {"command": "z"}, "c": {"command": "x"}}}"#,
    );
    let (config, changes) = project.changed();
    assert_eq!(
        (changes.reconfigured, changes.replaced),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(
        (changes.added, changes.removed),
        (vec!["c".to_owned()], vec![])
    );
    assert_eq!(config.servers["a"].settings().max_waiters, 3);
}

#[test]
fn a_file_replaced_by_renaming_is_seen() {
    let project = Project::new();
    project.write("new", r#"{"mcpServers": {"a": {"command": "x"}}}"#);
    fs::rename(project.path("new"), project.path(".mcp.json")).unwrap();
    assert_eq!(project.changed().1.removed, ["b"]);
}

#[test]
fn a_settings_file_that_appears_is_seen() {
    let project = Project::new();
    project.write(
        "mcp-pool.toml",
        "[defaults]\nmax_waiters = 5\n[limits]\nmax_connecting = 2\n",
    );
    let (config, changes) = project.changed();
    assert_eq!(changes.reconfigured, ["a", "b"]);
    assert!(changes.limits);
    assert_eq!(config.servers["a"].settings().max_waiters, 5);
}

#[test]
fn a_half_written_file_is_read_when_it_is_whole() {
    let project = Project::new();
    let whole =
        r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}, "c": {"command": "z"}}}"#;
    for end in [1, 20, 60, whole.len()] {
        project.write(".mcp.json", &whole[..end]);
    }
    assert_eq!(
        project.changed().1.added,
        ["c"],
        "and nothing was refused before"
    );
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_once() {
    let project = Project::new();
    project.write(".mcp.json", "{\"mcpServers\": {");
    project.refused_with("line 1, column ");
    project.write("mcp-pool.toml", "");
    project.refused_with("mcp-pool.toml: the file is empty");
    fs::remove_file(project.path("mcp-pool.toml")).unwrap();
    fs::remove_file(project.path(".mcp.json")).unwrap();
    project.refused_with("there is no such file");
    project.write(".mcp.json", ONE);
    let (config, changes) = project.changed();
    assert!(changes.is_empty(), "mended, and as it was: {changes:?}");
    assert_eq!(config.servers.len(), 2);
}

#[cfg(unix)]
#[test]
fn a_symlink_turned_to_another_file_is_seen() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("v1", ONE),
        ("v2", r#"{"mcpServers": {"a": {"command": "x"}}}"#),
    ] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join(".mcp.json"), text).unwrap();
    }
    symlink("v1", folder.path().join("..data")).unwrap();
    symlink("..data/.mcp.json", folder.path().join(".mcp.json")).unwrap();
    let (sender, reloads) = channel();
    let loader = loader().file(folder.path().join(".mcp.json"));
    let (_config, _watcher) = loader
        .watch(move |reload| sender.send(reload).unwrap())
        .unwrap();
    symlink("v2", folder.path().join("..tmp")).unwrap();
    fs::rename(folder.path().join("..tmp"), folder.path().join("..data")).unwrap();
    let Reload::Changed { changes, .. } = reloads.recv_timeout(PATIENCE).unwrap() else {
        panic!("refused")
    };
    assert_eq!(changes.removed, ["b"]);
}

/// What a file turns into, how, and what is said of it.
#[cfg(unix)]
type Misfortune = (&'static str, fn(&Path), &'static str);

#[cfg(unix)]
fn misfortunes() -> Vec<Misfortune> {
    use std::os::unix::fs::symlink;
    vec![
        ("deleted", |_| {}, "there is no such file"),
        (
            "empty",
            |path| fs::write(path, "").unwrap(),
            "the file is empty",
        ),
        (
            "truncated",
            |path| fs::write(path, &ONE[..40]).unwrap(),
            "line 1, column ",
        ),
        (
            "binary",
            |path| fs::write(path, [0x7f, b'E', b'L', b'F', 0]).unwrap(),
            "is not a text file",
        ),
        (
            "50 MB",
            |path| fs::File::create(path).unwrap().set_len(50 << 20).unwrap(),
            "is larger than 8 MiB",
        ),
        (
            "folder",
            |path| fs::create_dir(path).unwrap(),
            "is a folder",
        ),
        (
            "loop",
            |path| symlink(path, path).unwrap(),
            "cannot be read",
        ),
        (
            "other",
            |path| fs::write(path, "[1, 2]").unwrap(),
            ".mcp.json: ",
        ),
    ]
}

#[cfg(unix)]
#[test]
fn whatever_a_watched_file_turns_into_the_old_configuration_stays() {
    std::thread::scope(|tests| {
        for (name, turn, expected) in misfortunes() {
            tests.spawn(move || {
                let project = Project::new();
                let path = project.path(".mcp.json");
                fs::remove_file(&path).unwrap();
                turn(&path);
                project.refused_with(expected);
                if path.is_dir() {
                    fs::remove_dir(&path).unwrap();
                } else {
                    let _ = fs::remove_file(&path);
                }
                project.write(".mcp.json", ONE);
                let changes = project.changed_in_the_end();
                assert!(
                    changes.is_empty(),
                    "{name}: what holds is what held: {changes:?}"
                );
            });
        }
    });
}

#[cfg(unix)]
#[test]
fn a_file_that_may_no_longer_be_read_changes_nothing_until_it_may() {
    use std::os::unix::fs::PermissionsExt;

    let project = Project::new();
    let path = project.path(".mcp.json");
    if !unprivileged::make_unreadable(&path) {
        return unprivileged::run(
            project.folder.path(),
            "watch::a_file_that_may_no_longer_be_read_changes_nothing_until_it_may",
        );
    }
    project.refused_with("the file may not be read, check its permissions");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(project.changed_in_the_end().is_empty());
}

#[test]
fn many_changes_in_a_row_are_taken_over_together_and_the_last_one_wins() {
    const WRITES: u32 = 20;
    let project = Project::new();
    let begun = SystemTime::now();
    for max_waiters in 1..=WRITES {
        let pool = format!(r#"{{"max_waiters": {max_waiters}}}"#);
        let text = format!(r#"{{"mcpServers": {{"a": {{"command": "x", "pool": {pool}}}}}}}"#);
        project.write("new", &text);
        fs::rename(project.path("new"), project.path(".mcp.json")).unwrap();
        // Longer than a reload takes: without letting changes settle, each of them would be one.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let writing = begun.elapsed().unwrap();
    let mut reloads = 0;
    loop {
        reloads += 1;
        if project.changed().0.servers["a"].settings().max_waiters == WRITES {
            break;
        }
    }
    // One at the watcher's start, one at the end, and one whenever a slow machine paused for as long as it takes.
    let pauses = writing.as_millis() / 200;
    assert!(reloads <= 2 + pauses, "{reloads} reloads in {writing:?}");
}

#[test]
fn a_dropped_watcher_ends_and_tells_nothing_more() {
    let mut project = Project::new();
    drop(project.watcher.take());
    project.write(".mcp.json", "{}");
    assert!(
        project.reloads.recv().is_err(),
        "the thread is gone, and its end of the channel with it"
    );
}

#[test]
fn another_file_that_is_written_all_the_time_holds_no_reload_up() {
    let project = Project::new();
    let log = project.path("server.log");
    let (stop, stopped) = channel::<()>();
    // As often as to leave no moment of quiet, and for longer than anybody waits.
    let writer = std::thread::spawn(move || {
        while stopped
            .recv_timeout(Duration::from_millis(50))
            .is_err_and(|e| e == RecvTimeoutError::Timeout)
        {
            fs::write(&log, "line\n").unwrap();
        }
    });
    project.write(".mcp.json", r#"{"mcpServers": {"a": {"command": "x"}}}"#);
    let removed = project.changed().1.removed;
    drop(stop);
    writer.join().unwrap();
    assert_eq!(removed, ["b"]);
}

#[cfg(unix)]
#[test]
fn a_change_without_an_event_is_found_in_a_folder_that_is_written_all_the_time() {
    use std::os::unix::fs::symlink;

    // The middle folder is neither where the file is named nor where it is: nothing reports events of it.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["named", "middle", "v1", "v2"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("v1/.mcp.json"), "{}").unwrap();
    fs::write(path("v2/.mcp.json"), r#"{"second": {"command": "x"}}"#).unwrap();
    symlink("../v1/.mcp.json", path("middle/link")).unwrap();
    symlink("../middle/link", path("named/.mcp.json")).unwrap();
    let (sender, reloads) = channel();
    let loader = loader().file(path("named/.mcp.json"));
    let (_config, _watcher) = loader
        .watch(move |reload| sender.send(reload).unwrap())
        .unwrap();
    let added = || match reloads.recv_timeout(PATIENCE) {
        Ok(Reload::Changed { changes, .. }) => changes.added,
        other => panic!("{other:?}"),
    };
    fs::write(path("v1/.mcp.json"), r#"{"first": {"command": "x"}}"#).unwrap();
    assert_eq!(added(), ["first"]);

    let (stop, stopped) = channel::<()>();
    let log = path("named/server.log");
    let writer = std::thread::spawn(move || {
        let pause = Duration::from_millis(50);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            fs::write(&log, "line\n").unwrap();
        }
    });
    symlink("../v2/.mcp.json", path("middle/new")).unwrap();
    fs::rename(path("middle/new"), path("middle/link")).unwrap();
    assert_eq!(added(), ["second"]);
    drop(stop);
    writer.join().unwrap();
}
