//! Environment variables: which of them are settings, and of what.
//!
//! Other programs share the environment. A misspelt `MCP_POOL_MAX_CONECTIONS` must be reported, or it would silently do
//! nothing; but a cluster that runs a service named `mcp-pool` injects `MCP_POOL_SERVICE_HOST` into everything, and
//! that must not stop a program. So a near miss is a problem, and any other unknown variable is a note.

mod servers;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::aggregator::AggregatorSettings;
use crate::diagnostic::{Place, Problem, nearest};
use crate::enums::Sharing;
use crate::gateway::GatewayConfig;
use crate::layers::{Layer, LayerSource};
use crate::limits::{LimitSettings, Switches};
use crate::settings::{PoolSettings, settings};
use crate::settings_macro::SettingsTable;
use crate::value;

pub(crate) use servers::server_prefix;

/// Variables by name. A copy: two loads of the same [`Loader`](crate::Loader) see the same ones.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    pub(crate) variables: BTreeMap<String, String>,
    /// Names of those whose values are not UTF-8. They are set, and cannot be used.
    pub(crate) unreadable: BTreeSet<String>,
}

impl Environment {
    /// The variables of this process.
    pub(crate) fn of_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            // What has no such name cannot be asked for.
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => environment.set(name, value),
                Err(_) => drop(environment.unreadable.insert(name)),
            }
        }
        environment
    }

    pub(crate) fn set(&mut self, name: String, value: String) {
        self.unreadable.remove(&name);
        self.variables.insert(name, value);
    }

    /// Takes these over, too; they win.
    pub(crate) fn extend(&mut self, other: Self) {
        for (name, value) in other.variables {
            self.set(name, value);
        }
        for name in other.unreadable {
            self.variables.remove(&name);
            self.unreadable.insert(name);
        }
    }

    /// A variable that is set and not blank: scripts pass on what they do not have as an empty one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.trim().is_empty())
    }

    /// `MCP_POOL_*` and `MCP_CIRCUIT_BREAKER_*`: settings of every server.
    pub(crate) fn pool_layer(
        &self,
        problems: &mut Vec<Problem>,
        notes: &mut Vec<Problem>,
    ) -> Layer {
        let layer = self.layer(problems);
        let rows = settings();
        let known = || rows.iter().map(|row| row.variable.as_str());
        for name in self
            .with_prefix("MCP_POOL_")
            .chain(self.with_prefix("MCP_CIRCUIT_BREAKER_"))
        {
            if known().any(|variable| variable == name) {
                continue;
            }
            let problem = place(name).problem("no setting has this variable");
            match nearest(name, known()) {
                Some(near) => problems.push(problem.hint(format!("did you mean {near}?"))),
                None => notes.push(problem),
            }
        }
        layer
    }

    /// Variables of ours whose values are not UTF-8.
    pub(crate) fn not_utf8(&self, problems: &mut Vec<Problem>) {
        let ours = |name: &str| {
            let settings = settings().into_iter().chain(LimitSettings::rows());
            let settings = settings.chain(AggregatorSettings::rows());
            let mut settings = settings.chain(GatewayConfig::rows());
            ALONE.contains(&name)
                || servers::names_a_setting(name)
                || settings.any(|row| row.variable == name)
        };
        for name in self.unreadable.iter().filter(|name| ours(name)) {
            let problem = place(name).problem("its value is not UTF-8");
            problems.push(problem.hint("set it to a text, or unset it"));
        }
    }

    /// Misspelt names of the variables that stand alone, such as `MCP_SINGLE_CONECTION`.
    pub(crate) fn misspelt(&self, problems: &mut Vec<Problem>) {
        let rows = LimitSettings::rows()
            .into_iter()
            .chain(AggregatorSettings::rows())
            .chain(GatewayConfig::rows());
        let limits = rows.map(|row| row.variable);
        let known: Vec<String> = limits.chain(ALONE.map(str::to_owned)).collect();
        let elsewhere = ["MCP_POOL_", "MCP_CIRCUIT_BREAKER_", "MCP_SERVER_"];
        for name in self.with_prefix("MCP_") {
            if elsewhere.iter().any(|prefix| name.starts_with(prefix))
                || known.iter().any(|known| known == name)
            {
                continue;
            }
            if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
                let problem = place(name).problem("no setting has this variable");
                problems.push(problem.hint(format!("did you mean {near}?")));
            }
        }
    }

    /// The layer of a table of settings, each set by its variable.
    pub(crate) fn layer<S: SettingsTable>(&self, problems: &mut Vec<Problem>) -> Layer<S> {
        let mut layer = VariableLayer::default();
        for row in S::rows() {
            if let Some(value) = self.get(&row.variable) {
                layer.set(&row.name, &row.variable, value, problems);
            }
        }
        layer.finish()
    }

    /// `MCP_SINGLE_CONNECTION` and the other switches. Set but empty is off.
    pub(crate) fn switches(&self, problems: &mut Vec<Problem>) -> Switches {
        let mut switch = |name: &str| match self.get(name) {
            None => false,
            Some(text) => value::FLAG
                .read(&Value::from(text))
                .unwrap_or_else(|message| {
                    problems.push(place(name).problem(message));
                    false
                }),
        };
        Switches {
            single_connection: switch(SINGLE_CONNECTION),
            disable_health_checks: switch(DISABLE_HEALTH_CHECKS),
            enable_mocks: switch(ENABLE_MOCKS),
        }
    }

    fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let after = self.variables.range::<str, _>((
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        ));
        after
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(prefix))
    }
}

/// The layers of `MCP_SINGLE_CONNECTION` and `MCP_DISABLE_HEALTH_CHECKS`: above everything, code too, because they are
/// for looking into a running case.
pub(crate) fn switch_layers(switches: Switches) -> Vec<Layer> {
    let layer = |variable: &str, settings, names: &[&str]| Layer {
        settings,
        source: LayerSource::Variables(
            names
                .iter()
                .map(|name| ((*name).to_owned(), variable.to_owned()))
                .collect(),
        ),
    };
    let single = || {
        let settings = PoolSettings::new()
            .min_connections(0)
            .max_connections(1)
            .sharing(Sharing::Exclusive)
            .max_direct(0);
        let names = [
            "min_connections",
            "max_connections",
            "sharing",
            "max_direct",
        ];
        layer(SINGLE_CONNECTION, settings, &names)
    };
    let unprobed = || {
        let settings = PoolSettings::new().health_check_interval(value::LONGEST_TIME);
        layer(DISABLE_HEALTH_CHECKS, settings, &["health_check_interval"])
    };
    let single = switches.single_connection.then(single);
    let unprobed = switches.disable_health_checks.then(unprobed);
    single.into_iter().chain(unprobed).collect()
}

fn place(variable: &str) -> Place {
    Place::new("environment", variable)
}

#[derive(Default)]
struct VariableLayer<S> {
    settings: S,
    names: BTreeMap<String, String>,
}

impl<S: SettingsTable> VariableLayer<S> {
    fn set(&mut self, setting: &str, variable: &str, text: &str, problems: &mut Vec<Problem>) {
        match self.settings.set(setting, &Value::from(text)) {
            Some(Err(message)) => problems.push(place(variable).problem(message)),
            Some(Ok(())) => {
                self.names.insert(setting.to_owned(), variable.to_owned());
            }
            None => {}
        }
    }

    fn finish(self) -> Layer<S> {
        Layer {
            settings: self.settings,
            source: LayerSource::Variables(self.names),
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.variables.len())
    }
}

/// The variable that names the servers' file.
pub(crate) const CONFIG_PATH: &str = "MCP_CONFIG_PATH";

const SINGLE_CONNECTION: &str = "MCP_SINGLE_CONNECTION";
const DISABLE_HEALTH_CHECKS: &str = "MCP_DISABLE_HEALTH_CHECKS";
const ENABLE_MOCKS: &str = "MCP_ENABLE_MOCKS";

/// Those that are no row of a table.
const ALONE: [&str; 4] = [
    CONFIG_PATH,
    SINGLE_CONNECTION,
    DISABLE_HEALTH_CHECKS,
    ENABLE_MOCKS,
];

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn environment(pairs: &[(&str, &str)]) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in pairs {
            environment.set((*name).to_owned(), (*value).to_owned());
        }
        environment
    }

    #[test]
    fn a_near_miss_is_a_problem_and_a_stranger_is_a_note() {
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        environment(&[
            ("MCP_POOL_MAX_CONECTIONS", "5"),
            ("MCP_POOL_SERVICE_HOST", "10.0.0.1"),
        ])
        .pool_layer(&mut problems, &mut notes);
        assert_eq!(
            problems[0].to_string(),
            "environment: MCP_POOL_MAX_CONECTIONS: no setting has this variable, did you mean MCP_POOL_MAX_CONNECTIONS?"
        );
        assert_eq!((problems.len(), notes.len()), (1, 1));
    }

    #[test]
    fn switches_are_on_by_the_usual_words_and_off_when_empty() {
        let mut problems = Vec::new();
        let switches = environment(&[("MCP_SINGLE_CONNECTION", "1"), ("MCP_ENABLE_MOCKS", "")])
            .switches(&mut problems);
        assert!(
            switches.single_connection && !switches.enable_mocks && !switches.disable_health_checks
        );
        assert_eq!(problems, []);
        environment(&[("MCP_ENABLE_MOCKS", "maybe")]).switches(&mut problems);
        assert_eq!(
            problems[0].to_string(),
            "environment: MCP_ENABLE_MOCKS: \"maybe\" is not allowed, expected true or false"
        );
    }

    #[test]
    fn a_misspelt_switch_is_a_problem_and_a_foreign_variable_is_not() {
        let mut problems = Vec::new();
        environment(&[
            ("MCP_SINGLE_CONECTION", "1"),
            ("MCP_TIMEOUT", "1"),
            ("MCP_TOOL_TIMEOUT", "1"),
            ("MCP_CONFIG_PATH", "x"),
        ])
        .misspelt(&mut problems);
        assert_eq!(
            problems.iter().map(Problem::to_string).collect::<Vec<_>>(),
            [
                "environment: MCP_SINGLE_CONECTION: no setting has this variable, did you mean MCP_SINGLE_CONNECTION?"
            ]
        );
    }

    #[test]
    fn an_empty_variable_sets_nothing() {
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        let environment = environment(&[("MCP_POOL_MAX_WAITERS", " "), ("MCP_MAX_CONNECTING", "")]);
        assert!(
            environment
                .pool_layer(&mut problems, &mut notes)
                .settings
                .is_empty()
        );
        assert!(
            environment
                .layer::<LimitSettings>(&mut problems)
                .settings
                .is_empty()
        );
        assert_eq!((problems, notes), (vec![], vec![]));
    }
}
