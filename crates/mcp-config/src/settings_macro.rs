//! The macro that generates the types of settings from one table.
//!
//! Each setting needs a field of a layer, a setter, a field of the effective settings, a default, a reader, a check and a row
//! of the documentation. The table in [`settings`](crate::settings) is their only source.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::diagnostic::{Place, Problem};

/// A setting in the documentation.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// Its name in a file; those of a group carry the group's name and a dot.
    pub name: String,
    /// The environment variable that sets it for every server.
    pub variable: String,
    /// The built-in value, as a file would hold it.
    pub default: serde_json::Value,
    /// What its numbers count, or the words it takes.
    pub unit: String,
    /// Which values are allowed, as errors say it.
    pub expects: &'static str,
    /// The same as a JSON Schema.
    pub schema: serde_json::Value,
    /// What it does, from the documentation of its setter.
    pub description: String,
}

/// A table of settings: a layer of them, and how it is read, checked and completed.
pub(crate) trait SettingsTable:
    Clone + Default + Serialize + DeserializeOwned + From<Self::Effective>
{
    /// A value for every setting.
    type Effective: Clone;

    fn rows() -> Vec<Setting>;
    fn value(&self, name: &str) -> Option<serde_json::Value>;
    fn set(&mut self, name: &str, value: &serde_json::Value) -> Option<Result<(), String>>;
    fn check(&self, at: &Place, problems: &mut Vec<Problem>);
    fn allowed(&self) -> Self;
    fn fill(&self) -> Self::Effective;
}

macro_rules! settings {
    (
        $(#[$partial_meta:meta])* partial $Partial:ident;
        $(#[$effective_meta:meta])* effective $Effective:ident;
        variables $prefix:literal;
        $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $rule:expr;)+
        $(group { $(#[doc = $group_doc:literal])+ $group:ident: $GroupPartial:ident => $GroupEffective:ident; })?
    ) => {
        $(#[$partial_meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        pub struct $Partial {
            $($name: Option<$type>,)+
            $($group: $GroupPartial,)?
        }

        impl $Partial {
            /// Nothing set.
            pub fn new() -> Self {
                Self::default()
            }

            $($(#[doc = $doc])+
            #[must_use]
            pub fn $name(mut self, value: $type) -> Self {
                self.$name = Some(value);
                self
            })+

            $($(#[doc = $group_doc])+
            #[must_use]
            pub fn $group(mut self, value: $GroupPartial) -> Self {
                self.$group = value.over(self.$group);
                self
            })?

            /// These settings over `lower`: what is set here wins, the rest comes from there.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self {
                    $($name: self.$name.or(lower.$name),)+
                    $($group: self.$group.over(lower.$group),)?
                }
            }

            /// Whether nothing is set.
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// The value set for a setting, as a file would hold it; `None` if it is not set or there is none
            /// of that name.
            pub fn get(&self, name: &str) -> Option<serde_json::Value> {
                match name {
                    $(stringify!($name) => self.$name.map(SettingValue::to_json),)+
                    _ => {
                        $(if let Some(rest) = name.strip_prefix(concat!(stringify!($group), ".")) {
                            return self.$group.get(rest);
                        })?
                        None
                    }
                }
            }

            /// Sets one setting from a file's or a variable's value. `None` if there is none of that name.
            pub(crate) fn set(&mut self, name: &str, value: &serde_json::Value) -> Option<Result<(), String>> {
                match name {
                    $(stringify!($name) => Some($rule.read(value).map(|value| self.$name = Some(value))),)+
                    _ => {
                        $(if let Some(rest) = name.strip_prefix(concat!(stringify!($group), ".")) {
                            return self.$group.set(rest, value);
                        })?
                        None
                    }
                }
            }

            /// Reads a table, collecting everything that is wrong with it.
            pub(crate) fn read(table: &serde_json::Value, at: &Place, problems: &mut Vec<Problem>) -> Self {
                let mut settings = Self::default();
                let Some(table) = table.as_object() else {
                    problems.push(at.problem(format!("{} is not allowed, expected a table of settings", shown(table))));
                    return settings;
                };
                for (name, value) in table {
                    if problems.len() > MOST_PROBLEMS {
                        problems.push(at.problem("too many problems, the rest is not listed"));
                        break;
                    }
                    let at = at.key(name);
                    $(if name == stringify!($group) {
                        settings.$group = $GroupPartial::read(value, &at, problems);
                        continue;
                    })?
                    match settings.set(name, value) {
                        Some(Ok(())) => {}
                        Some(Err(message)) => problems.push(at.problem(message)),
                        None => problems.push(Problem::unknown(&at, "setting", name, [
                            $(stringify!($name),)+ $(stringify!($group),)?
                        ])),
                    }
                }
                settings
            }

            /// Checks every set value against its rule: values from code were not read by one.
            pub(crate) fn check(&self, at: &Place, problems: &mut Vec<Problem>) {
                $(if let Some(Err(message)) = self.$name.map(|value| $rule.check(value)) {
                    problems.push(at.key(stringify!($name)).problem(message));
                })+
                $(self.$group.check(&at.key(stringify!($group)), problems);)?
            }

            /// The settings without the values that [`check`](Self::check) reports.
            pub(crate) fn allowed(&self) -> Self {
                Self {
                    $($name: self.$name.filter($rule.allows),)+
                    $($group: self.$group.allowed(),)?
                }
            }

            /// The table as rows of the documentation.
            pub(crate) fn rows() -> Vec<Setting> {
                let mut rows = vec![$(Setting {
                    name: stringify!($name).to_owned(),
                    variable: concat!($prefix, stringify!($name)).to_ascii_uppercase(),
                    default: <$type as SettingValue>::to_json($default),
                    unit: $rule.shape.unit(),
                    expects: $rule.expects,
                    schema: $rule.shape.schema(),
                    description: [$($doc),+].map(str::trim).join(" "),
                }),+];
                $(rows.extend($GroupPartial::rows().into_iter().map(|row| Setting {
                    name: format!("{}.{}", stringify!($group), row.name),
                    ..row
                }));)?
                rows.shrink_to_fit();
                rows
            }
        }

        impl SettingsTable for $Partial {
            type Effective = $Effective;

            fn rows() -> Vec<Setting> {
                Self::rows()
            }

            fn value(&self, name: &str) -> Option<serde_json::Value> {
                self.get(name)
            }

            fn set(&mut self, name: &str, value: &serde_json::Value) -> Option<Result<(), String>> {
                self.set(name, value)
            }

            fn check(&self, at: &Place, problems: &mut Vec<Problem>) {
                self.check(at, problems);
            }

            fn allowed(&self) -> Self {
                self.allowed()
            }

            fn fill(&self) -> $Effective {
                $Effective::fill(self)
            }
        }

        impl Serialize for $Partial {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if let Some(value) = self.$name {
                    map.serialize_entry(stringify!($name), &value.to_json())?;
                })+
                $(if !self.$group.is_empty() {
                    map.serialize_entry(stringify!($group), &self.$group)?;
                })?
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for $Partial {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let table = serde_json::Value::deserialize(deserializer)?;
                let mut problems = Vec::new();
                let settings = Self::read(&table, &Place::new("settings", ""), &mut problems);
                ConfigError::check(problems).map_err(D::Error::custom)?;
                Ok(settings)
            }
        }

        $(#[$effective_meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct $Effective {
            $($(#[doc = $doc])+ pub $name: $type,)+
            $($(#[doc = $group_doc])+ pub $group: $GroupEffective,)?
        }

        impl $Effective {
            /// Every setting that is set, and the built-in default for the rest.
            pub(crate) fn fill(settings: &$Partial) -> Self {
                Self {
                    $($name: settings.$name.unwrap_or($default),)+
                    $($group: $GroupEffective::fill(&settings.$group),)?
                }
            }
        }

        impl Default for $Effective {
            fn default() -> Self {
                Self::fill(&$Partial::default())
            }
        }

        impl Serialize for $Effective {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry(stringify!($name), &self.$name.to_json())?;)+
                $(map.serialize_entry(stringify!($group), &self.$group)?;)?
                map.end()
            }
        }

        impl From<$Effective> for $Partial {
            /// Every setting set, to the value it has.
            fn from(effective: $Effective) -> Self {
                Self {
                    $($name: Some(effective.$name),)+
                    $($group: effective.$group.into(),)?
                }
            }
        }
    };
}

pub(crate) use settings;
