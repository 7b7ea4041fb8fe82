//! What is exposed of one server: filters, aliases and descriptions of its tools.

use mcp_config::{EffectiveAggregator, Exposure, Prefix};

use super::{kind::ListKind, names::Naming, patterns::Pattern};

/// What is exposed of one server, ready to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    exposure: Exposure,
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

impl Filter {
    pub(crate) fn of(exposure: &Exposure) -> Self {
        let patterns = |globs: &[String]| globs.iter().map(|glob| Pattern::glob(glob)).collect();
        Self {
            allow: patterns(exposure.allowed()),
            deny: patterns(exposure.denied()),
            exposure: exposure.clone(),
        }
    }

    /// Whether the tool that its server calls `tool` is exposed.
    pub(crate) fn exposes(&self, tool: &str) -> bool {
        let fits = |pattern: &Pattern| pattern.matches(tool);
        (self.allow.is_empty() || self.allow.iter().any(fits)) && !self.deny.iter().any(fits)
    }

    /// The name of a tool or prompt before its prefix.
    pub(crate) fn own_name<'a>(&'a self, kind: ListKind, name: &'a str) -> &'a str {
        let alias = self
            .exposure
            .alias_of(name)
            .filter(|_| kind == ListKind::Tools);
        alias.unwrap_or(name)
    }

    /// The description that stands in for the server's.
    pub(crate) fn description_of(&self, tool: &str) -> Option<&str> {
        self.exposure.description_of(tool)
    }

    /// How names of this server are made.
    pub(crate) fn naming(&self, of_all: &EffectiveAggregator, fixed: Option<Prefix>) -> Naming {
        let own = self.exposure.effective(of_all.clone());
        Naming {
            prefix: fixed.unwrap_or(own.prefix),
            max_name: own.max_name as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_stays_denied_and_what_is_not_allowed_is_not_exposed() {
        let exposure = Exposure::new().allow(["read_*", "list"]).deny(["*_secret"]);
        let filter = Filter::of(&exposure);
        for (tool, exposed) in [
            ("read_file", true),
            ("list", true),
            ("lists", false),
            ("read_secret", false),
            ("write_file", false),
        ] {
            assert_eq!(filter.exposes(tool), exposed, "{tool}");
        }
        assert!(Filter::default().exposes("anything"));
        assert!(!Filter::of(&Exposure::new().deny(["*"])).exposes("anything"));
    }

    #[test]
    fn an_alias_changes_the_name_and_not_what_filters_see() {
        let exposure = Exposure::new().allow(["search_repositories"]);
        let exposure = Filter::of(&exposure.alias("search_repositories", "search"));
        assert!(exposure.exposes("search_repositories"));
        assert!(!exposure.exposes("search"));
        assert_eq!(
            exposure.own_name(ListKind::Tools, "search_repositories"),
            "search"
        );
        assert_eq!(exposure.own_name(ListKind::Tools, "other"), "other");
    }
}
