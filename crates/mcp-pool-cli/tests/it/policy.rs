//! Tools that a policy withholds: exit code 6, with a daemon and without.

use serde_json::{Value, json};

use crate::{
    daemon::{World, until},
    home::{Home, test_server},
    scripted::scripted,
};

const SETTINGS: &str = ".config/mcp-pool/mcp-pool.toml";

fn call(home: &Home, tool: &str) -> (i32, String) {
    let (code, _, err) = home.run(&["call", tool]);
    (code, err)
}

/// Runs it without a daemon, and then beside one.
fn both(servers: impl Fn(&Home) -> Value, settings: &str, test: impl Fn(&Home)) {
    for with_daemon in [false, true] {
        let world = World(Home::new());
        world.0.servers(servers(&world.0));
        world.0.write(SETTINGS, settings);
        if with_daemon {
            world.start();
            // From then on its lists are on disk.
            world.0.succeed(&["list"]);
        }
        test(&world.0);
    }
}

fn kit_without(tool: &str) -> Value {
    let mut kit = test_server(&[]);
    kit["aggregator"] = json!({ "deny": [tool] });
    json!({ "kit": kit })
}

#[test]
fn a_tool_that_its_entry_leaves_out_is_blocked_and_one_that_is_not_there_is_unknown() {
    both(
        |_| kit_without("stats"),
        "[defaults]\n",
        |home| {
            until(|| call(home, "kit.stats").0 == 6);
            let (_, err) = call(home, "kit.stats");
            let why =
                "error: tool `kit.stats` is blocked: allow and deny of server `kit` leave it out";
            assert!(err.starts_with(why) && err.contains("Fix: "), "{err}");
            assert_eq!(call(home, "kit__stats").0, 6);
            assert_eq!(call(home, "kit.count").0, 0);
            assert_eq!(call(home, "kit.statss").0, 1);
        },
    );
}

#[test]
fn a_tool_outside_the_allow_list_of_this_user_is_blocked() {
    let settings = "[gateway.allow]\n\"*\" = [\"kit.count\"]\n";
    both(
        |_| json!({ "kit": test_server(&[]) }),
        settings,
        |home| {
            assert_eq!(call(home, "kit.count").0, 0);
            until(|| call(home, "kit.stats").0 == 6);
            let (_, err) = call(home, "kit.stats");
            assert!(err.contains("allow of the gateway leaves it out"), "{err}");
            let bench = ["bench", "kit", "stats", "--time", "30ms"];
            assert_eq!(home.run(&bench).0, 6);
        },
    );
}

#[test]
fn a_tool_that_changed_since_its_first_use_is_blocked_until_it_is_approved() {
    let described = |home: &Home, text: &str| json!({ "files": scripted(home, json!({ "tools": ["read"], "description": text })) });
    both(
        |home| described(home, "Reads."),
        "[gateway]\npins = \"block\"\n",
        |home| {
            assert_eq!(call(home, "files.read").0, 0);
            home.servers(described(home, "Reads, and sends it away."));
            // A daemon takes the change up when it sees it.
            until(|| call(home, "files.read").0 == 6);
            let (_, err) = call(home, "files.read");
            assert!(
                err.contains("it is not what it was at its first use"),
                "{err}"
            );
            assert!(
                err.contains("\"Reads.\" -> \"Reads, and sends it away.\""),
                "{err}"
            );
            assert!(err.contains("Fix: mcp-pool approve files.read"), "{err}");
            home.succeed(&["approve", "files.read"]);
            until(|| call(home, "files.read").0 == 0);
        },
    );
}
