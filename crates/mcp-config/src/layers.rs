//! Layers of settings, merged by figment, and the rules between settings.
//!
//! figment merges the layers and knows which of them each value came from. It is hidden in this file, because it is before
//! 1.0 and must stay replaceable. A layer holds only values that passed their own rule, so that merging cannot fail on a
//! value and one wrong setting does not hide the next.
//!
//! Rules between settings have one principle: **a default that was not set gives way to a value that was.** Setting
//! `max_connections = 1` is no error because the default minimum is 2. Only two values that were both set and contradict
//! each other are reported.

use std::collections::BTreeMap;
use std::time::Duration;

use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;

use crate::diagnostic::{ConfigError, Place, Problem};
use crate::enums::Sharing;
use crate::known_servers::KnownServer;
use crate::origin::{Origin, SettingOrigin};
use crate::settings::{EffectiveSettings, PoolSettings};
use crate::settings_macro::SettingsTable;
use crate::value::LONGEST_TIME;

/// The settings of one source.
#[derive(Debug, Clone)]
pub(crate) struct Layer<S = PoolSettings> {
    pub(crate) settings: S,
    pub(crate) source: LayerSource,
}

/// Where the settings of a layer come from.
#[derive(Debug, Clone)]
pub(crate) enum LayerSource {
    /// A table in a file, at this place.
    File(Place),
    /// One place in a file for every setting of the layer.
    Field(Place),
    /// Variables: the setting's name to the variable's.
    Variables(BTreeMap<String, String>),
    /// The table of well-known servers.
    Known(&'static KnownServer),
    /// Code, for one server.
    Code,
    /// Code, for all servers.
    CodeForAll,
}

impl PoolSettings {
    /// These settings with the built-in defaults below them.
    ///
    /// A default that was not touched gives way to what is set: with `max_connections(1)` the effective
    /// `min_connections` is 1, with `min_connections(20)` the effective `max_connections` is 20.
    ///
    /// # Errors
    /// All values that are not allowed, and all that contradict each other.
    pub fn effective(&self) -> Result<EffectiveSettings, ConfigError> {
        let layer = Layer {
            settings: self.clone(),
            source: LayerSource::Code,
        };
        let mut problems = Vec::new();
        self.check(&Place::new("code", ""), &mut problems);
        let effective = resolve(&[&layer], &Place::new("code", ""), &mut problems);
        ConfigError::check(problems)?;
        Ok(effective)
    }
}

/// Merges `layers`, the lowest first, over the defaults. Contradictions are reported at `at`.
pub(crate) fn resolve(
    layers: &[&Layer],
    at: &Place,
    problems: &mut Vec<Problem>,
) -> EffectiveSettings {
    Resolution::new(layers, at, problems).effective()
}

/// Every effective setting with its origin. It is computed on request: kept, it would be most of a server's memory.
pub(crate) fn explain(layers: &[&Layer], at: &Place) -> Vec<SettingOrigin> {
    let mut problems = Vec::new();
    let mut resolution = Resolution::new(layers, at, &mut problems);
    let effective = resolution.effective();
    resolution.origins(&effective)
}

/// Merges the layers of a table that has no rules between its settings, the lowest first, over the defaults. Returns the
/// effective settings, and the origin of each.
pub(crate) fn resolve_table<S: SettingsTable>(
    layers: &[Layer<S>],
    problems: &mut Vec<Problem>,
) -> (S::Effective, Vec<SettingOrigin>) {
    let merged = Merged::new(layers);
    let effective = merged.extract::<S>(problems).fill();
    let origins = merged.origins(S::from(effective.clone())).collect();
    (effective, origins)
}

/// Layers merged by figment, to which each layer is named by its position.
struct Merged<'a> {
    figment: Figment,
    sources: Vec<&'a LayerSource>,
}

impl<'a> Merged<'a> {
    /// Merges layers, the lowest first. Values that their own rule does not allow are left out.
    fn new<S: SettingsTable + 'a>(layers: impl IntoIterator<Item = &'a Layer<S>>) -> Self {
        let mut sources = Vec::new();
        let mut figment = Figment::new();
        for layer in layers {
            figment = figment.merge(Positioned(sources.len(), layer.settings.allowed()));
            sources.push(&layer.source);
        }
        Self { figment, sources }
    }

    fn extract<S: SettingsTable>(&self, problems: &mut Vec<Problem>) -> S {
        self.figment.extract().unwrap_or_else(|error| {
            problems.push(Problem::new("settings", "", error.to_string()));
            S::default()
        })
    }

    /// Every setting, in the order of the documentation, with its value in `effective`.
    fn origins<S: SettingsTable>(&self, effective: S) -> impl Iterator<Item = SettingOrigin> {
        S::rows().into_iter().map(move |row| SettingOrigin {
            value: effective.value(&row.name).unwrap_or_default(),
            origin: self.origin(&row.name),
            setting: row.name,
        })
    }

    /// The origin of a setting.
    fn origin(&self, setting: &str) -> Origin {
        Origin::of(self.source(setting), setting)
    }

    fn source(&self, setting: &str) -> Option<&'a LayerSource> {
        Some(self.sources[self.position(setting)?])
    }

    /// The position of the highest layer that has the setting.
    fn position(&self, setting: &str) -> Option<usize> {
        self.figment.find_metadata(setting)?.name.parse().ok()
    }

    fn value(&self, setting: &str) -> serde_json::Value {
        let value = self.figment.find_value(setting).ok();
        serde_json::to_value(value).unwrap_or_default()
    }
}

/// Settings as figment takes them.
struct Positioned<S>(usize, S);

impl<S: Serialize> Provider for Positioned<S> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.1).data()
    }
}

struct Resolution<'a> {
    merged: Merged<'a>,
    at: &'a Place,
    problems: &'a mut Vec<Problem>,
    follows: BTreeMap<&'static str, &'static str>,
}

impl<'a> Resolution<'a> {
    fn new(layers: &[&'a Layer], at: &'a Place, problems: &'a mut Vec<Problem>) -> Self {
        Self {
            merged: Merged::new(layers.iter().copied()),
            at,
            problems,
            follows: BTreeMap::new(),
        }
    }

    fn effective(&mut self) -> EffectiveSettings {
        let merged: PoolSettings = self.merged.extract(self.problems);
        self.apply_rules(EffectiveSettings::fill(&merged))
    }

    fn apply_rules(&mut self, mut s: EffectiveSettings) -> EffectiveSettings {
        self.at_most(
            ("min_connections", &mut s.min_connections),
            ("max_connections", &mut s.max_connections),
        );
        if s.sharing == Sharing::Exclusive {
            for (name, value) in [
                ("max_in_flight", &mut s.max_in_flight),
                ("scale_up_at", &mut s.scale_up_at),
            ] {
                if *value != 1 {
                    *value = 1;
                    self.follows.insert(name, "sharing");
                }
            }
        }
        self.at_most(
            ("scale_up_at", &mut s.scale_up_at),
            ("max_in_flight", &mut s.max_in_flight),
        );
        let breaker = &mut s.circuit_breaker;
        self.at_most(
            (
                "circuit_breaker.success_threshold",
                &mut breaker.success_threshold,
            ),
            (
                "circuit_breaker.half_open_max_calls",
                &mut breaker.half_open_max_calls,
            ),
        );
        self.at_most(
            (
                "circuit_breaker.recovery_timeout",
                &mut breaker.recovery_timeout,
            ),
            (
                "circuit_breaker.max_recovery_timeout",
                &mut breaker.max_recovery_timeout,
            ),
        );
        if s.probe_timeout >= s.health_check_interval {
            match (
                self.is_set("probe_timeout"),
                self.is_set("health_check_interval"),
            ) {
                (true, true) => {
                    self.contradiction(
                        ("probe_timeout", "less than"),
                        ("health_check_interval", "more than"),
                    );
                }
                (true, false) => {
                    s.health_check_interval = (s.probe_timeout * 2).min(LONGEST_TIME);
                    self.follows
                        .insert("health_check_interval", "probe_timeout");
                }
                (false, _) => {
                    s.probe_timeout = (s.health_check_interval / 2).max(Duration::from_nanos(1));
                    self.follows
                        .insert("probe_timeout", "health_check_interval");
                }
            }
        }
        s
    }

    /// The first setting is at most the second. The one that was not set gives way.
    fn at_most<T: PartialOrd + Copy>(
        &mut self,
        (low, low_value): (&'static str, &mut T),
        (high, high_value): (&'static str, &mut T),
    ) {
        if *low_value <= *high_value {
            return;
        }
        match (self.is_set(low), self.is_set(high)) {
            (true, true) => self.contradiction((low, "at most"), (high, "at least")),
            (true, false) => {
                *high_value = *low_value;
                self.follows.insert(high, low);
            }
            (false, _) => {
                *low_value = *high_value;
                self.follows.insert(low, high);
            }
        }
    }

    /// Reports the setting in the higher layer: that of the server's own entry, and not the default of all servers.
    fn contradiction(
        &mut self,
        (low, relation): (&'static str, &str),
        (high, inverse): (&'static str, &str),
    ) {
        let merged = &self.merged;
        let (wrong, relation, other) = if merged.position(high) > merged.position(low) {
            (high, inverse, low)
        } else {
            (low, relation, high)
        };
        let place = merged.origin(wrong).place(self.at, wrong);
        self.problems.push(place.problem(format!(
            "{} must be {relation} {other}, which is {} ({})",
            merged.value(wrong),
            merged.value(other),
            merged.origin(other)
        )));
    }

    /// Whether a user set it. The table of well-known servers gives way like a built-in default.
    fn is_set(&self, setting: &str) -> bool {
        let source = self.merged.source(setting);
        source.is_some_and(|source| !matches!(source, LayerSource::Known(_)))
    }

    fn origins(&self, effective: &EffectiveSettings) -> Vec<SettingOrigin> {
        let values = PoolSettings::from(effective.clone());
        let origins = self.merged.origins(values).map(|mut origin| {
            if let Some(other) = self.follows.get(origin.setting.as_str()) {
                origin.origin = Origin::Follows(other);
            }
            origin
        });
        origins.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::CircuitBreakerSettings;

    fn effective(settings: PoolSettings) -> EffectiveSettings {
        settings.effective().unwrap()
    }

    #[test]
    fn an_untouched_default_gives_way_to_what_was_set() {
        assert_eq!(
            effective(PoolSettings::new().max_connections(1)).min_connections,
            1
        );
        assert_eq!(
            effective(PoolSettings::new().min_connections(20)).max_connections,
            20
        );
        assert_eq!(
            effective(PoolSettings::new().max_in_flight(4)).scale_up_at,
            4
        );
        assert_eq!(
            effective(PoolSettings::new().scale_up_at(40)).max_in_flight,
            40
        );
        let short = effective(PoolSettings::new().health_check_interval(Duration::from_secs(3)));
        assert_eq!(short.probe_timeout, Duration::from_millis(1500));
        let long = effective(PoolSettings::new().probe_timeout(Duration::from_secs(90)));
        assert_eq!(long.health_check_interval, Duration::from_secs(180));
        let breaker = CircuitBreakerSettings::new().success_threshold(7);
        assert_eq!(
            effective(PoolSettings::new().circuit_breaker(breaker))
                .circuit_breaker
                .half_open_max_calls,
            7
        );
        let breaker = CircuitBreakerSettings::new().recovery_timeout(Duration::from_secs(1200));
        let breaker = effective(PoolSettings::new().circuit_breaker(breaker)).circuit_breaker;
        assert_eq!(breaker.max_recovery_timeout, Duration::from_secs(1200));
    }

    #[test]
    fn exclusive_implies_one_call_in_flight() {
        let settings = effective(
            PoolSettings::new()
                .sharing(Sharing::Exclusive)
                .max_in_flight(16)
                .scale_up_at(3),
        );
        assert_eq!((settings.max_in_flight, settings.scale_up_at), (1, 1));
    }

    #[test]
    fn two_contradicting_values_are_an_error_and_all_are_told() {
        let error = PoolSettings::new()
            .min_connections(5)
            .max_connections(2)
            .probe_timeout(Duration::from_secs(9))
            .health_check_interval(Duration::from_secs(9))
            .effective()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "code: min_connections: 5 must be at most max_connections, which is 2 (code)\n\
             code: probe_timeout: 9 must be less than health_check_interval, which is 9 (code)"
        );
    }

    #[test]
    fn a_value_from_code_is_held_to_the_same_rules() {
        let error = PoolSettings::new()
            .max_connections(0)
            .call_timeout(Duration::ZERO)
            .effective()
            .unwrap_err();
        assert_eq!(error.problems().len(), 2, "{error}");
        assert!(
            error
                .to_string()
                .contains("code: max_connections: 0 is not allowed"),
            "{error}"
        );
    }

    #[test]
    fn the_last_layer_wins_and_its_name_is_kept() {
        let file = Layer {
            settings: PoolSettings::new().max_connections(3).max_waiters(7),
            source: LayerSource::File(Place::new("mcp-pool.toml", "defaults")),
        };
        let names = BTreeMap::from([(
            "max_connections".to_owned(),
            "MCP_POOL_MAX_CONNECTIONS".to_owned(),
        )]);
        let variables = Layer {
            settings: PoolSettings::new().max_connections(5),
            source: LayerSource::Variables(names),
        };
        let mut problems = Vec::new();
        resolve(&[&file, &variables], &Place::new("x", ""), &mut problems);
        assert_eq!(problems, []);
        let origins = explain(&[&file, &variables], &Place::new("x", ""));
        let origin = |name: &str| {
            let found = origins
                .iter()
                .find(|origin| origin.setting == name)
                .unwrap();
            (found.value.clone(), found.origin.to_string())
        };
        assert_eq!(
            origin("max_connections"),
            (5.into(), "MCP_POOL_MAX_CONNECTIONS".to_owned())
        );
        assert_eq!(
            origin("max_waiters"),
            (7.into(), "mcp-pool.toml: defaults.max_waiters".to_owned())
        );
        assert_eq!(origin("retry_attempts"), (3.into(), "default".to_owned()));
    }

    #[test]
    fn layers_of_the_breaker_merge_setting_by_setting() {
        let layer = |settings, path: &str| Layer {
            settings,
            source: LayerSource::File(Place::new("f", path)),
        };
        let lower = CircuitBreakerSettings::new()
            .failure_threshold(9)
            .success_threshold(1);
        let upper = CircuitBreakerSettings::new().failure_threshold(8);
        let layers = [
            layer(PoolSettings::new().circuit_breaker(lower), "lower"),
            layer(PoolSettings::new().circuit_breaker(upper), "upper"),
        ];
        let layers = layers.each_ref();
        let effective = resolve(&layers, &Place::new("x", ""), &mut Vec::new());
        let breaker = &effective.circuit_breaker;
        assert_eq!(
            (breaker.failure_threshold, breaker.success_threshold),
            (8, 1)
        );
        let origins: Vec<_> = explain(&layers, &Place::new("x", ""))
            .iter()
            .map(|origin| origin.origin.to_string())
            .collect();
        assert!(
            origins.contains(&"f: upper.circuit_breaker.failure_threshold".to_owned()),
            "{origins:?}"
        );
        assert!(
            origins.contains(&"f: lower.circuit_breaker.success_threshold".to_owned()),
            "{origins:?}"
        );
    }
}
