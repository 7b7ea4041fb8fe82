//! Settings of the aggregate of all servers, and what is exposed of each server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::diagnostic::{ConfigError, MOST_PROBLEMS, Place, Problem};
use crate::enums::Prefix;
use crate::settings_macro::{Setting, SettingsTable, settings};
use crate::value::{self, SettingValue, shown};

settings! {
    /// A layer of settings of the aggregate: those that are set, and no others. Of all servers in the table `aggregator` of
    /// a settings file, of one server in that of its entry.
    partial AggregatorSettings;
    /// How servers are merged.
    effective EffectiveAggregator;
    variables "MCP_AGGREGATOR_";
    /// Whether names of tools and prompts begin with their server: `server__tool`. Without a prefix, a name that two
    /// servers have is not exposed.
    prefix: Prefix = Prefix::Always, value::PREFIX;
    /// Characters that an exposed name has at most; longer ones are cut, and end with a hash. Clients allow 64, and add up
    /// to 12 of their own.
    max_name: u32 = 52, value::NAME_LENGTH;
    /// How long a listing waits for a server whose lists are not known yet.
    list_timeout: Duration = Duration::from_secs(5), value::TIME;
}

impl EffectiveAggregator {
    /// Every setting there is, as rows for documentation.
    pub fn settings() -> Vec<Setting> {
        AggregatorSettings::rows()
    }
}

/// What is exposed of one server, and how. Without settings: everything, as its server has it.
///
/// ```
/// use mcp_config::{Exposure, ServerConfig};
///
/// let exposure = Exposure::new().allow(["read_*", "list_*"]).alias("list_directory", "ls");
/// let files = ServerConfig::stdio("mcp-server-filesystem").exposure(exposure);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Exposure {
    #[serde(flatten)]
    settings: AggregatorSettings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aliases: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    descriptions: BTreeMap<String, String>,
}

impl Exposure {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exposes only tools whose name fits one of these globs (`*` for any text, `?` for one character), beside those given
    /// before.
    #[must_use]
    pub fn allow<G: Into<String>>(mut self, globs: impl IntoIterator<Item = G>) -> Self {
        self.allow.extend(globs.into_iter().map(Into::into));
        self
    }

    /// Exposes no tool whose name fits one of these globs, whatever is allowed.
    #[must_use]
    pub fn deny<G: Into<String>>(mut self, globs: impl IntoIterator<Item = G>) -> Self {
        self.deny.extend(globs.into_iter().map(Into::into));
        self
    }

    /// Exposes a tool as if its server called it `alias`: 1 to 64 of the characters `a-z`, `A-Z`, `0-9`, `_` and `-`.
    #[must_use]
    pub fn alias(mut self, tool: impl Into<String>, alias: impl Into<String>) -> Self {
        self.aliases.insert(tool.into(), alias.into());
        self
    }

    /// Describes a tool in these words instead of its server's.
    #[must_use]
    pub fn description(mut self, tool: impl Into<String>, description: impl Into<String>) -> Self {
        self.descriptions.insert(tool.into(), description.into());
        self
    }

    /// Sets what holds for this server instead of what holds for all; settings given before stay unless given again.
    #[must_use]
    pub fn with(mut self, settings: AggregatorSettings) -> Self {
        self.settings = settings.over(self.settings);
        self
    }

    /// The globs of tools that are exposed; all of them are if there is none.
    pub fn allowed(&self) -> &[String] {
        &self.allow
    }

    /// The globs of tools that are not exposed.
    pub fn denied(&self) -> &[String] {
        &self.deny
    }

    /// The alias of a tool.
    pub fn alias_of(&self, tool: &str) -> Option<&str> {
        self.aliases.get(tool).map(String::as_str)
    }

    /// The description that stands in for that of the server.
    pub fn description_of(&self, tool: &str) -> Option<&str> {
        self.descriptions.get(tool).map(String::as_str)
    }

    /// The settings that hold for this server, over those of all.
    pub fn effective(&self, of_all: EffectiveAggregator) -> EffectiveAggregator {
        EffectiveAggregator::fill(&self.settings.clone().over(of_all.into()))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the table `aggregator` of an entry, collecting everything that is wrong with it.
    pub(crate) fn read(table: &Value, at: &Place, problems: &mut Vec<Problem>) -> Self {
        let mut exposure = Self::default();
        let Some(table) = table.as_object() else {
            let message = format!(
                "{} is not allowed, expected a table of settings",
                shown(table)
            );
            problems.push(at.problem(message));
            return exposure;
        };
        for (name, value) in table.iter().filter(|(_, value)| !value.is_null()) {
            let at = at.key(name);
            match name.as_str() {
                "allow" => exposure.allow = texts(value, &at, problems),
                "deny" => exposure.deny = texts(value, &at, problems),
                "aliases" => exposure.aliases = table_of_texts(value, &at, problems),
                "descriptions" => exposure.descriptions = table_of_texts(value, &at, problems),
                _ => match exposure.settings.set(name, value) {
                    Some(Ok(())) => {}
                    Some(Err(message)) => problems.push(at.problem(message)),
                    None => {
                        let settings = AggregatorSettings::rows().into_iter().map(|row| row.name);
                        let known: Vec<_> = settings.chain(FIELDS.map(str::to_owned)).collect();
                        let known = known.iter().map(String::as_str);
                        problems.push(Problem::unknown(&at, "setting", name, known));
                    }
                },
            }
        }
        exposure
    }

    /// Everything wrong that is not wrong with a single value of a file.
    pub(crate) fn check(&self, at: &Place, problems: &mut Vec<Problem>) {
        self.settings.check(at, problems);
        let at = at.key("aliases");
        let mut taken = BTreeMap::new();
        for (tool, alias) in &self.aliases {
            let at = at.key(tool);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if !(1..=64).contains(&alias.len()) || !alias.bytes().all(allowed) {
                let found = shown(&alias.as_str().into());
                let problem = at.problem(format!("{found} is not allowed as an alias"));
                problems.push(
                    problem.hint("expected 1 to 64 letters, digits, hyphens and underscores"),
                );
            }
            if let Some(other) = taken.insert(alias, tool) {
                let problem = at.problem(format!("{other} has the alias {alias}, too"));
                problems.push(problem.hint("give each tool an alias of its own"));
            }
        }
    }
}

fn texts(value: &Value, at: &Place, problems: &mut Vec<Problem>) -> Vec<String> {
    let Value::Array(list) = value else {
        problems.push(at.problem(format!(
            "{} is not allowed, expected a list of globs",
            shown(value)
        )));
        return Vec::new();
    };
    let mut texts = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        match value {
            Value::String(text) => texts.push(text.clone()),
            other => {
                let message = format!("{} is not allowed, expected a glob", shown(other));
                problems.push(at.index(index).problem(message));
            }
        }
    }
    texts
}

fn table_of_texts(
    value: &Value,
    at: &Place,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let Value::Object(table) = value else {
        problems.push(at.problem(format!(
            "{} is not allowed, expected a table by tool",
            shown(value)
        )));
        return BTreeMap::new();
    };
    let mut texts = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::String(text) => drop(texts.insert(name.clone(), text.clone())),
            other => {
                let message = format!("{} is not allowed, expected a text", shown(other));
                problems.push(at.key(name).problem(message));
            }
        }
    }
    texts
}

const FIELDS: [&str; 4] = ["allow", "deny", "aliases", "descriptions"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: &Value) -> (Exposure, Vec<String>) {
        let mut problems = Vec::new();
        let at = Place::new("f", "aggregator");
        let exposure = Exposure::read(table, &at, &mut problems);
        exposure.check(&at, &mut problems);
        (exposure, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_table_says_what_code_says() {
        let (read, problems) = read(&json!({
            "allow": ["read_*"], "deny": ["*_all"], "aliases": {"read_file": "cat"},
            "descriptions": {"read_file": "Reads."}, "prefix": "never", "list_timeout": "2s", "max_name": null,
        }));
        let settings = AggregatorSettings::new().prefix(Prefix::Never);
        let exposure = Exposure::new()
            .allow(["read_*"])
            .deny(["*_all"])
            .alias("read_file", "cat")
            .description("read_file", "Reads.")
            .with(settings.list_timeout(Duration::from_secs(2)));
        assert_eq!((read.clone(), problems), (exposure, vec![]));
        let effective = read.effective(EffectiveAggregator::default());
        assert_eq!((effective.prefix, effective.max_name), (Prefix::Never, 52));
    }

    #[test]
    fn everything_wrong_is_reported_with_its_place() {
        let (_, problems) = read(&json!({
            "alow": [], "deny": "x", "allow": [7], "prefix": "sometimes", "max_name": 3,
            "aliases": {"a": "x y", "b": "same", "c": "same"}, "descriptions": {"a": 1},
        }));
        for problem in [
            "f: aggregator.alow: unknown setting, did you mean allow?",
            "f: aggregator.deny: \"x\" is not allowed, expected a list of globs",
            "f: aggregator.allow[0]: 7 is not allowed, expected a glob",
            "f: aggregator.prefix: \"sometimes\" is not allowed, expected one of always, never",
            "f: aggregator.max_name: 3 is not allowed, expected a whole number from 24 to 128",
            "f: aggregator.aliases.a: \"x y\" is not allowed as an alias, expected 1 to 64 letters, digits, hyphens and underscores",
            "f: aggregator.aliases.c: b has the alias same, too, give each tool an alias of its own",
            "f: aggregator.descriptions.a: 1 is not allowed, expected a text",
        ] {
            assert!(
                problems.iter().any(|found| found == problem),
                "{problem}\nis not in {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 8, "{problems:#?}");
    }
}
