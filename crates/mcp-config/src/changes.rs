//! Differences between two configurations, in the terms a pool acts on.
//!
//! A server with another transport needs a new pool. One with other settings keeps its pool and its sessions.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::config::{Config, Entry};

/// The differences from one configuration to the next, by server name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// Usable now, and not before.
    pub added: Vec<String>,
    /// Usable before, and not now: gone, or switched off.
    pub removed: Vec<String>,
    /// With new problems. A pool that runs may keep its old configuration.
    pub broken: Vec<String>,
    /// Not usable before or now, without new problems, but different: gone, or switched off for another reason.
    pub unusable: Vec<String>,
    /// With another transport, or other settings that act when a session opens (`inherit_env`, `lifecycle`, `protocol_version`,
    /// `max_message_size`): a new pool, and the old one drains.
    pub replaced: Vec<String>,
    /// With other settings only: the pool changes in place and keeps its sessions.
    pub reconfigured: Vec<String>,
    /// Exposed otherwise where many servers are one, and whichever of the above: nothing of the pool changes for that.
    pub exposed: Vec<String>,
    /// Whether the settings of the aggregate differ.
    pub aggregator: bool,
    /// Whether the configuration of the gateway differs.
    pub gateway: bool,
    /// Whether limits over all servers differ.
    pub limits: bool,
}

impl Changes {
    /// Whether no difference concerns a pool.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Config {
    /// What changes from this configuration to `next`.
    ///
    /// ```
    /// use mcp_config::Loader;
    ///
    /// let load = |text| Loader::new().environment([("HOME", "/home/me")]).text(".mcp.json", text).load();
    /// let old = load(r#"{"a": {"command": "x"}, "b": {"command": "y"}}"#)?;
    /// let new = load(r#"{"a": {"command": "x", "pool": {"max_connections": 3}}, "c": {"command": "y"}}"#)?;
    /// let changes = old.changes_to(&new);
    /// assert_eq!((changes.added, changes.removed), (vec!["c".to_owned()], vec!["b".to_owned()]));
    /// assert_eq!((changes.replaced, changes.reconfigured), (vec![], vec!["a".to_owned()]));
    /// # Ok::<(), mcp_config::ConfigError>(())
    /// ```
    pub fn changes_to(&self, next: &Self) -> Changes {
        let mut changes = Changes {
            limits: self.limits != next.limits,
            aggregator: self.aggregator != next.aggregator,
            gateway: self.gateway != next.gateway,
            ..Changes::default()
        };
        for (name, old) in self.servers.iter().filter(|(_, entry)| entry.is_usable()) {
            match next.servers.get(name) {
                Some(new) if !new.problems().is_empty() => changes.broken.push(name.clone()),
                None => changes.removed.push(name.clone()),
                Some(new) if !new.is_usable() => changes.removed.push(name.clone()),
                Some(new) if needs_a_new_pool(old, new) => changes.replaced.push(name.clone()),
                Some(new) if old.settings() != new.settings() => {
                    changes.reconfigured.push(name.clone());
                }
                Some(_) => {}
            }
        }
        for (name, new) in &next.servers {
            let old = self.servers.get(name).map(Entry::exposure);
            if old.is_some_and(|old| old != new.exposure()) {
                changes.exposed.push(name.clone());
            }
        }
        let is_new = |name: &String| !self.servers.get(name).is_some_and(Entry::is_usable);
        let usable = next.servers.iter().filter(|(_, entry)| entry.is_usable());
        changes
            .added
            .extend(usable.map(|(name, _)| name.clone()).filter(is_new));
        let names = self.servers.keys().chain(next.servers.keys());
        for name in names.collect::<BTreeSet<_>>() {
            let (old, new) = (self.servers.get(name), next.servers.get(name));
            if old.is_some_and(Entry::is_usable)
                || new.is_some_and(Entry::is_usable)
                || old.and_then(Entry::disabled) == new.and_then(Entry::disabled)
            {
                continue;
            }
            let is_wrong = new.is_some_and(|new| !new.problems().is_empty());
            let list = if is_wrong {
                &mut changes.broken
            } else {
                &mut changes.unusable
            };
            list.push(name.clone());
        }
        changes
    }
}

fn needs_a_new_pool(old: &Entry, new: &Entry) -> bool {
    let reached = |entry: &Entry| entry.server().ok().map(|server| server.transport().clone());
    let opened = |entry: &Entry| {
        let settings = entry.settings();
        (
            settings.inherit_env,
            settings.lifecycle,
            settings.protocol_version,
            settings.max_message_size,
        )
    };
    reached(old) != reached(new) || opened(old) != opened(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Loader;

    fn load(text: &str) -> Config {
        Loader::new()
            .environment([("A", "x"), ("B", "x")])
            .text("f", text)
            .load()
            .unwrap()
    }

    fn changes(old: &str, new: &str) -> Changes {
        load(old).changes_to(&load(new))
    }

    #[test]
    fn the_same_server_written_otherwise_is_no_change() {
        let old = r#"{"mcpServers": {"a": {"command": "${A}", "args": [], "note": 1}}}"#;
        assert!(
            changes(
                old,
                r#"{"a": {"type": "stdio", "command": "${B}", "pool": {"max_waiters": 1000}}}"#
            )
            .is_empty()
        );
    }

    #[test]
    fn a_server_reached_otherwise_is_replaced_and_one_sized_otherwise_is_not() {
        let a = r#"{"a": {"command": "x", "env": {"T": "1"}}}"#;
        assert_eq!(
            changes(a, r#"{"a": {"command": "x", "env": {"T": "2"}}}"#).replaced,
            ["a"]
        );
        assert_eq!(
            changes(
                a,
                r#"{"a": {"command": "x", "env": {"T": "1"}, "pool": {"inherit_env": true}}}"#
            )
            .replaced,
            ["a"]
        );
        let resized = changes(
            a,
            r#"{"a": {"command": "x", "env": {"T": "1"}, "pool": {"max_waiters": 1}}}"#,
        );
        assert_eq!(
            (resized.reconfigured, resized.replaced),
            (vec!["a".to_owned()], vec![])
        );
    }

    #[test]
    fn a_server_that_breaks_is_told_from_one_that_goes_and_one_that_is_mended_is_added() {
        let (good, bad) = (
            r#"{"a": {"command": "x"}}"#,
            r#"{"a": {"command": "${NOPE}"}}"#,
        );
        let (off, worse) = (
            r#"{"a": {"command": "x", "disabled": true}}"#,
            r#"{"a": {"command": "${NEVER}"}}"#,
        );
        let counts = |old, new| {
            let Changes {
                removed,
                broken,
                unusable,
                ..
            } = changes(old, new);
            [removed, broken, unusable].map(|names| names.len())
        };
        assert_eq!(counts(good, bad), [0, 1, 0]);
        assert_eq!(counts(good, off), [1, 0, 0]);
        assert_eq!(counts(good, "{}"), [1, 0, 0]);
        assert_eq!(counts(bad, worse), [0, 1, 0]);
        assert_eq!(counts(off, bad), [0, 1, 0]);
        assert_eq!(counts(bad, off), [0, 0, 1]);
        assert_eq!(counts(off, "{}"), [0, 0, 1]);
        assert_eq!(counts("{}", off), [0, 0, 1]);
        assert_eq!(changes(bad, good).added, ["a"]);
        assert!(changes(bad, bad).is_empty());
    }
}
