//! File dialects: under which key the file of a client keeps its servers.
//!
//! Clients agree on the form of a server and differ on the key above it: `mcpServers` (Claude Desktop, Claude Code, Cursor,
//! Gemini CLI, FastMCP), `servers` (VS Code's `mcp.json`), `mcp.servers` (VS Code's `settings.json`), or none, the bare map.
//! Claude Code's own `~/.claude.json` also has `projects` with the servers of each folder. Other keys are ignored.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::diagnostic::{Place, Problem, nearest};
use crate::value::shown;

/// The servers of a file, and what its client says about them beside their own entries.
pub(crate) struct ServerMap<'a> {
    pub(crate) servers: &'a Map<String, Value>,
    pub(crate) at: Place,
    /// The folder whose servers these are, if the file keeps them by folder.
    pub(crate) project: Option<&'a Path>,
    root: &'a Map<String, Value>,
}

/// Finds the tables of servers in a file's tree: one, and that of `folder` if the file has servers by folder. Of two
/// servers of one name the later table's counts.
///
/// A file may serve two clients and have a table for each. A note says which one counts.
pub(crate) fn find<'a>(
    root: &'a Value,
    source: &str,
    folder: Option<&Path>,
    notes: &mut Vec<Problem>,
) -> Result<Vec<ServerMap<'a>>, Problem> {
    let at = Place::new(source, "");
    let Some(root) = root.as_object() else {
        return Err(at.problem(format!(
            "{} is not allowed here, expected a table with mcpServers",
            shown(root)
        )));
    };
    let (here, elsewhere) = projects(root, &at, folder);
    let found = match (of_all_folders(root, &at, notes), here) {
        (Ok(table), here) => [Some(table), here].into_iter().flatten().collect(),
        (Err(_), Some(here)) => vec![here],
        (Err(problem), None) => {
            return Err(match elsewhere {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }
    };
    if let Some(hint) = elsewhere {
        let note = at
            .key("projects")
            .problem("servers of other folders are left out");
        notes.push(note.hint(hint));
    }
    Ok(found)
}

/// The servers that a file keeps for this folder, and where it keeps those of others.
fn projects<'a>(
    root: &'a Map<String, Value>,
    at: &Place,
    folder: Option<&Path>,
) -> (Option<ServerMap<'a>>, Option<String>) {
    let projects = root.get("projects").and_then(Value::as_object);
    let at = at.key("projects");
    let (mut here, mut elsewhere) = (None, Vec::new());
    for (project, value) in projects.into_iter().flatten() {
        let servers = value.get("mcpServers").and_then(Value::as_object);
        let Some(servers) = servers.filter(|servers| !servers.is_empty()) else {
            continue;
        };
        let at = at.key(project).key("mcpServers");
        let project = Path::new(project);
        if folder == Some(project) {
            here = Some(ServerMap {
                servers,
                at,
                project: Some(project),
                root,
            });
        } else {
            elsewhere.push(at.path);
        }
    }
    let more = elsewhere.len().saturating_sub(MOST_PLACES);
    elsewhere.truncate(MOST_PLACES);
    let mut places = elsewhere.join(", ");
    if more > 0 {
        places.push_str(&format!(" and {more} more"));
    }
    let hint = format!(
        "they are under {places}; start in that folder, or name it as the workspace folder"
    );
    (here, (!places.is_empty()).then_some(hint))
}

fn of_all_folders<'a>(
    root: &'a Map<String, Value>,
    at: &Place,
    notes: &mut Vec<Problem>,
) -> Result<ServerMap<'a>, Problem> {
    let vscode = root.get("mcp").and_then(|mcp| mcp.get("servers"));
    let tables = [
        ("mcpServers", root.get("mcpServers")),
        ("servers", root.get("servers")),
        ("mcp.servers", vscode),
    ];
    let there = || {
        tables
            .into_iter()
            .filter_map(|(key, found)| Some((key, found?)))
    };
    let chosen = there()
        .find(|(_, found)| !is_empty(found))
        .or(there().next());
    if let Some((key, found)) = chosen {
        for (other, _) in there().filter(|(other, found)| *other != key && !is_empty(found)) {
            let note = at.key_path(other).problem(format!("ignored beside {key}"));
            notes.push(note.hint("put all servers into one of them"));
        }
        let at = at.key_path(key);
        return match found {
            Value::Object(servers) => Ok(ServerMap {
                servers,
                at,
                project: None,
                root,
            }),
            // How YAML writes a table with nothing in it.
            Value::Null => Ok(ServerMap {
                servers: &NO_SERVERS,
                at,
                project: None,
                root,
            }),
            _ => Err(at.problem(format!(
                "{} is not allowed, expected a table of servers",
                shown(found)
            ))),
        };
    }
    let only_gateway = root.len() == 1 && root.contains_key(GATEWAY);
    if root.is_empty() || only_gateway || root.values().any(looks_like_a_server) {
        return Ok(ServerMap {
            servers: root,
            at: at.clone(),
            project: None,
            root,
        });
    }
    let problem = at.problem("no servers here");
    let near = root
        .keys()
        .find_map(|key| nearest(key, ["mcpServers", "servers"]).map(|near| (key, near)));
    Err(match near {
        Some((key, near)) => problem.hint(format!("did you mean {near} instead of {key}?")),
        None => problem.hint("expected mcpServers, servers, or a table of servers"),
    })
}

/// The table of the gateway: beside `mcpServers` or `servers`, or in the bare map, where a server may have the name.
pub(crate) fn gateway(root: &Value) -> Option<&Value> {
    let root = root.as_object()?;
    let beside = ["mcpServers", "servers"];
    let elsewhere = ["mcp", "projects"];
    let has = |keys: [&str; 2]| keys.iter().any(|key| root.contains_key(*key));
    let table = root.get(GATEWAY)?;
    (!looks_like_a_server(table) && (has(beside) || !has(elsewhere))).then_some(table)
}

/// The key of the gateway's table.
pub(crate) const GATEWAY: &str = "gateway";

impl ServerMap<'_> {
    /// Whether the client's own list leaves this server out: Gemini CLI keeps `mcp.allowed` and `mcp.excluded`.
    pub(crate) fn left_out(&self, name: &str) -> Option<&'static str> {
        let mcp = self.root.get("mcp")?;
        let lists = |key: &str| mcp.get(key).and_then(Value::as_array);
        let holds = |list: &Vec<Value>| list.iter().any(|entry| entry.as_str() == Some(name));
        if lists("excluded").is_some_and(holds) {
            return Some("mcp.excluded names it");
        }
        if lists("allowed").is_some_and(|list| !list.is_empty() && !holds(list)) {
            return Some("mcp.allowed does not name it");
        }
        None
    }
}

static NO_SERVERS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// Places named in one note.
const MOST_PLACES: usize = 5;

/// Nothing, or a table with nothing in it.
fn is_empty(table: &Value) -> bool {
    table.is_null() || table.as_object().is_some_and(Map::is_empty)
}

pub(crate) fn looks_like_a_server(value: &Value) -> bool {
    ["command", "url", "httpUrl", "serverUrl"]
        .iter()
        .any(|field| value.get(field).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found<'a>(root: &'a Value, notes: &mut Vec<Problem>) -> ServerMap<'a> {
        find(root, "f", None, notes).unwrap().remove(0)
    }

    #[test]
    fn of_two_tables_the_one_that_is_ignored_is_told() {
        let (a, b) = (json!({"a": {}}), json!({"b": {}}));
        for (root, path, reported) in [
            (
                json!({"servers": b, "mcpServers": a}),
                "mcpServers",
                &["servers"][..],
            ),
            (
                json!({"mcp": {"servers": b}, "mcpServers": a, "servers": b}),
                "mcpServers",
                &["servers", "mcp.servers"],
            ),
            (
                json!({"mcp": {"servers": b}, "servers": a}),
                "servers",
                &["mcp.servers"],
            ),
            (json!({"mcpServers": {}, "servers": b}), "servers", &[]),
            (json!({"mcpServers": a, "servers": null}), "mcpServers", &[]),
            (json!({"mcpServers": {}, "servers": {}}), "mcpServers", &[]),
        ] {
            let mut notes = Vec::new();
            assert_eq!(found(&root, &mut notes).at.path, path, "{root}");
            let expected: Vec<_> = reported
                .iter()
                .map(|key| {
                    format!("f: {key}: ignored beside {path}, put all servers into one of them")
                })
                .collect();
            let notes: Vec<_> = notes.iter().map(Problem::to_string).collect();
            assert_eq!(notes, expected, "{root}");
        }
    }

    #[test]
    fn servers_are_found_under_every_clients_key() {
        for (root, path) in [
            (
                json!({"mcpServers": {"a": {}}, "theme": "dark"}),
                "mcpServers",
            ),
            (json!({"inputs": [], "servers": {"a": {}}}), "servers"),
            (
                json!({"mcp": {"servers": {"a": {}}}, "editor.fontSize": 12}),
                "mcp.servers",
            ),
            (json!({"a": {"command": "x"}}), ""),
        ] {
            let found = found(&root, &mut Vec::new());
            assert_eq!(found.at.path, path);
            assert_eq!(found.servers.keys().collect::<Vec<_>>(), ["a"]);
        }
        assert!(found(&json!({}), &mut Vec::new()).servers.is_empty());
    }

    #[test]
    fn a_file_without_servers_says_what_was_expected() {
        let message = |root: Value| {
            find(&root, "f", None, &mut Vec::new())
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(
            message(json!({"mcpservers": {}})),
            "f: no servers here, did you mean mcpServers instead of mcpservers?"
        );
        assert_eq!(
            message(json!({"a": 1})),
            "f: no servers here, expected mcpServers, servers, or a table of servers"
        );
        assert_eq!(
            message(json!([])),
            "f: a list is not allowed here, expected a table with mcpServers"
        );
        assert_eq!(
            message(json!({"mcpServers": []})),
            "f: mcpServers: a list is not allowed, expected a table of servers"
        );
    }
}
