//! Variables of one server: `MCP_SERVER_<NAME>_<SETTING>`.

use super::{Environment, VariableLayer, place};
use crate::diagnostic::{Problem, nearest};
use crate::layers::Layer;
use crate::settings::settings;
use crate::settings_macro::Setting;

impl Environment {
    /// `MCP_SERVER_<NAME>_<SETTING>`: settings of the server named `server`; `prefixes` are those of all servers.
    pub(crate) fn server_layer(
        &self,
        server: &str,
        prefixes: &[String],
        problems: &mut Vec<Problem>,
    ) -> Layer {
        let prefix = server_prefix(server);
        let of_longer_name = |name: &str| {
            prefixes
                .iter()
                .any(|other| other.len() > prefix.len() && name.starts_with(other.as_str()))
        };
        let rows = settings();
        let suffixes = suffixes(&rows);
        let mut layer = VariableLayer::default();
        for name in self.with_prefix(&prefix) {
            let suffix = &name[prefix.len()..];
            match suffixes.iter().position(|known| known == suffix) {
                Some(index) => {
                    if let Some(value) = self.get(name) {
                        layer.set(&rows[index].name, name, value, problems);
                    }
                }
                None if of_longer_name(name)
                    || suffixes.iter().any(|known| ends_with_word(suffix, known)) => {}
                None => {
                    if let Some(near) = nearest(suffix, suffixes.iter().map(String::as_str)) {
                        let problem = place(name).problem("no setting has this variable");
                        problems.push(problem.hint(format!("did you mean {prefix}{near}?")));
                    }
                }
            }
        }
        layer.finish()
    }

    /// Variables that set nothing: they name a setting, but no server, or a server, but nothing that is set there. Those
    /// that [`server_layer`](Self::server_layer) reports are left out.
    pub(crate) fn unknown_variables(&self, prefixes: &[String], notes: &mut Vec<Problem>) {
        let suffixes = suffixes(&settings());
        let sets_or_nearly = |suffix: &str| {
            suffixes.iter().any(|known| known == suffix)
                || !suffixes.iter().any(|known| ends_with_word(suffix, known))
                    && nearest(suffix, suffixes.iter().map(String::as_str)).is_some()
        };
        for name in self.with_prefix(SERVER) {
            let mut of_servers = prefixes
                .iter()
                .filter_map(|prefix| name.strip_prefix(prefix.as_str()))
                .peekable();
            let named = of_servers.peek().is_some();
            if of_servers.any(sets_or_nearly) {
                continue;
            }
            let meant = suffixes
                .iter()
                .filter(|known| ends_with_word(&name[SERVER.len()..], known))
                .max_by_key(|known| known.len());
            if let Some(setting) = meant {
                let problem = place(name).problem("no server has the name this variable speaks of");
                notes.push(problem.hint(suggestion(name, setting, prefixes)));
            } else if named {
                let problem = place(name).problem("no setting has this variable");
                notes.push(problem.hint("expected MCP_SERVER_<NAME>_<SETTING>"));
            }
        }
    }
}

/// `github-mcp.v2` is `MCP_SERVER_GITHUB_MCP_V2_`: what a variable's name cannot hold is an underscore.
pub(crate) fn server_prefix(server: &str) -> String {
    let name: String = server
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("{SERVER}{name}_")
}

/// Whether a variable is a server's, and says what is set for it.
pub(super) fn names_a_setting(name: &str) -> bool {
    let suffixes = suffixes(&settings());
    name.strip_prefix(SERVER)
        .is_some_and(|rest| suffixes.iter().any(|known| ends_with_word(rest, known)))
}

/// Every setting as it stands behind the prefix of a server.
fn suffixes(rows: &[Setting]) -> Vec<String> {
    rows.iter()
        .map(|row| row.name.replace('.', "_").to_ascii_uppercase())
        .collect()
}

/// What may have been meant by a variable that speaks of no server there is.
fn suggestion(name: &str, setting: &str, prefixes: &[String]) -> String {
    /// Longer lists are not useful.
    const MOST: usize = 3;
    let there: Vec<String> = prefixes
        .iter()
        .map(|prefix| format!("{prefix}{setting}"))
        .collect();
    match nearest(name, there.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if there.is_empty() => "there are no servers".to_owned(),
        None if there.len() > MOST => format!("expected one such as {}", there[..MOST].join(", ")),
        None => format!("expected {}", there.join(" or ")),
    }
}

/// `B_MAX_WAITERS` ends with the word `MAX_WAITERS`: it speaks of a server whose name ends in `B`.
fn ends_with_word(text: &str, word: &str) -> bool {
    text.strip_suffix(word)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('_'))
}

/// What the variables of all servers begin with.
const SERVER: &str = "MCP_SERVER_";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{environment::tests::environment, settings::PoolSettings};

    #[test]
    fn a_servers_variable_is_told_from_that_of_a_longer_name() {
        let environment = environment(&[
            ("MCP_SERVER_A_MAX_CONNECTIONS", "1"),
            ("MCP_SERVER_A_B_MAX_CONNECTIONS", "2"),
            ("MCP_SERVER_A_B_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "9"),
        ]);
        let mut problems = Vec::new();
        let prefixes = [server_prefix("a"), server_prefix("a-b")];
        let a = environment
            .server_layer("a", &prefixes, &mut problems)
            .settings;
        let ab = environment
            .server_layer("a-b", &prefixes, &mut problems)
            .settings;
        assert_eq!(problems, []);
        assert_eq!(a, PoolSettings::new().max_connections(1));
        assert_eq!(ab.get("max_connections"), Some(2.into()));
        assert_eq!(ab.get("circuit_breaker.failure_threshold"), Some(9.into()));
    }

    fn reported(variables: &[&str], servers: &[&str]) -> Vec<String> {
        let pairs: Vec<_> = variables.iter().map(|name| (*name, "1")).collect();
        let prefixes: Vec<_> = servers.iter().map(|name| server_prefix(name)).collect();
        let mut notes = Vec::new();
        environment(&pairs).unknown_variables(&prefixes, &mut notes);
        notes.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_variable_for_no_server_is_noted() {
        let variables = ["MCP_SERVER_GITHUB_MAX_WAITERS", "MCP_SERVER_URL"];
        let no_server = "environment: MCP_SERVER_GITHUB_MAX_WAITERS: no server has the name this variable speaks of";
        for (servers, hint) in [
            (
                &["gitlab"][..],
                "did you mean MCP_SERVER_GITLAB_MAX_WAITERS?",
            ),
            (&["db"], "expected MCP_SERVER_DB_MAX_WAITERS"),
            (&[], "there are no servers"),
        ] {
            assert_eq!(
                reported(&variables, servers),
                [format!("{no_server}, {hint}")]
            );
        }
        assert!(reported(&variables, &["github"]).is_empty());
    }

    #[test]
    fn a_server_that_is_there_does_not_hide_a_variable_for_one_that_is_not() {
        let variables = ["MCP_SERVER_A_B_MAX_WAITERS", "MCP_SERVER_A_MAX_WAITERS"];
        assert_eq!(
            reported(&variables, &["a"]),
            [
                "environment: MCP_SERVER_A_B_MAX_WAITERS: no server has the name this variable speaks of, \
                 did you mean MCP_SERVER_A_MAX_WAITERS?"
            ]
        );
        assert!(reported(&variables, &["a", "a-b"]).is_empty());
        assert_eq!(
            reported(&["MCP_SERVER_A_COLOUR"], &["a"]),
            [
                "environment: MCP_SERVER_A_COLOUR: no setting has this variable, \
                 expected MCP_SERVER_<NAME>_<SETTING>"
            ]
        );
    }
}
