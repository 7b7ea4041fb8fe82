//! The settings file: `mcp-pool.toml`, or `.yaml`, `.yml`, `.json`.
//!
//! It holds what is ours alone and would be out of place in a file that other clients read: `[defaults]` for every
//! server, `[limits]` over all of them, `[aggregator]` for all of them as one, and
//! `[gateway]`. It lies beside the servers' file, and one is enough: two of them is a
//! mistake, not a layering.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::aggregator::AggregatorSettings;
use crate::diagnostic::{Place, Problem};
use crate::file;
use crate::limits::LimitSettings;
use crate::settings::PoolSettings;
use crate::value::shown;

/// What a settings file says.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    pub(crate) at: Place,
    pub(crate) defaults: PoolSettings,
    pub(crate) limits: LimitSettings,
    pub(crate) aggregator: AggregatorSettings,
    /// The table `gateway`, which may hold references to variables.
    pub(crate) gateway: Option<Value>,
}

impl Default for SettingsFile {
    fn default() -> Self {
        Self {
            at: Place::new("settings", ""),
            defaults: PoolSettings::new(),
            limits: LimitSettings::new(),
            aggregator: AggregatorSettings::new(),
            gateway: None,
        }
    }
}

/// The settings file in the first of `folders` that has one. Every path looked at joins `looked_at`.
pub(crate) fn sibling_files<'a>(
    folders: impl Iterator<Item = &'a Path>,
    looked_at: &mut Vec<PathBuf>,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    for folder in folders {
        let candidates = NAMES.map(|name| folder.join(name));
        let mut found: Vec<&PathBuf> = candidates.iter().filter(|path| path.is_file()).collect();
        looked_at.extend(
            candidates
                .iter()
                .filter(|path| !found.contains(path))
                .cloned(),
        );
        if found.len() > 1 {
            let names: Vec<_> = found.iter().map(|path| path.to_string_lossy()).collect();
            let problem =
                Place::new(names[0].as_ref(), "").problem(format!("{} is there too", names[1]));
            problems.push(problem.hint("keep one settings file"));
        }
        if !found.is_empty() {
            return Some(found.swap_remove(0).clone());
        }
    }
    None
}

/// Reads a settings file, collecting everything that is wrong with it.
pub(crate) fn read(
    path: &Path,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<Problem>,
) -> SettingsFile {
    let at = Place::new(path.to_string_lossy(), "");
    let mut settings = SettingsFile {
        at: at.clone(),
        ..SettingsFile::default()
    };
    let root = match file::read(path)
        .and_then(|text| file::parse(&text, file::Format::of(path), &at.source, notes))
    {
        Ok(root) => root,
        Err(problem) => {
            problems.push(problem);
            return settings;
        }
    };
    let Some(tables) = root.as_object() else {
        problems.push(at.problem(format!(
            "{} is not allowed here, expected a table with defaults",
            shown(&root)
        )));
        return settings;
    };
    for (name, value) in tables {
        let at = at.key(name);
        match name.as_str() {
            "defaults" => settings.defaults = PoolSettings::read(value, &at, problems),
            "limits" => settings.limits = LimitSettings::read(value, &at, problems),
            "aggregator" => {
                settings.aggregator = AggregatorSettings::read(value, &at, problems);
            }
            "gateway" => settings.gateway = Some(value.clone()),
            "$schema" if matches!(value, Value::String(_)) => {}
            _ => problems.push(unknown_table(&at, name)),
        }
    }
    settings
}

fn unknown_table(at: &Place, name: &str) -> Problem {
    let problem = Problem::unknown(
        at,
        "table",
        name,
        ["defaults", "limits", "aggregator", "gateway"],
    );
    if problem.hint.is_some() {
        problem
    } else if crate::settings::settings()
        .iter()
        .any(|row| row.name == name)
    {
        problem.hint("settings belong under defaults")
    } else {
        problem.hint("expected defaults, limits, aggregator or gateway")
    }
}

const NAMES: [&str; 4] = [
    "mcp-pool.toml",
    "mcp-pool.yaml",
    "mcp-pool.yml",
    "mcp-pool.json",
];
