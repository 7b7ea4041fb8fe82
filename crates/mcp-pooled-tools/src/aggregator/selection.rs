//! Servers and tools by their references: `mcp.server` and `mcp.server.tool`, as configurations of agents name them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What of an aggregate is shown: tools by their servers, or all of a server.
pub(crate) type Selection = BTreeMap<Arc<str>, Selected>;

/// What of one server is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    All,
    /// These tools alone, as their server calls them.
    Tools(BTreeSet<String>),
}

impl Selected {
    pub(crate) fn has_tool(&self, tool: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tools(tools) => tools.contains(tool),
        }
    }

    fn add(&mut self, tool: Option<&str>) {
        match (self, tool) {
            (Self::Tools(tools), Some(tool)) => drop(tools.insert(tool.to_owned())),
            (all, None) => *all = Self::All,
            (Self::All, Some(_)) => {}
        }
    }
}

/// Adds a reference to a selection. Returns whether it names a server.
pub(crate) fn add(selection: &mut Selection, reference: &str, servers: &[Arc<str>]) -> bool {
    let Some((server, tool)) = parse(reference, servers) else {
        return false;
    };
    let nothing = || Selected::Tools(BTreeSet::new());
    selection.entry(server).or_insert_with(nothing).add(tool);
    true
}

/// Server and tool of a reference, with or without `mcp.` before it. Names of servers may hold dots: the longest that
/// fits is meant.
pub(crate) fn parse<'a>(
    reference: &'a str,
    servers: &[Arc<str>],
) -> Option<(Arc<str>, Option<&'a str>)> {
    let found = |reference: &'a str| {
        let fits = servers.iter().filter_map(|server| {
            let rest = reference.strip_prefix(&**server)?;
            match rest.strip_prefix('.') {
                Some(tool) if !tool.is_empty() => Some((Arc::clone(server), Some(tool))),
                None if rest.is_empty() => Some((Arc::clone(server), None)),
                _ => None,
            }
        });
        fits.max_by_key(|(server, _)| server.len())
    };
    reference
        .strip_prefix("mcp.")
        .and_then(found)
        .or_else(|| found(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Vec<Arc<str>> {
        ["time", "git", "io.github.x", "io", "mcp.odd"]
            .map(Arc::from)
            .to_vec()
    }

    #[test]
    fn references_name_a_server_or_one_of_its_tools() {
        for (reference, server, tool) in [
            ("mcp.time", "time", None),
            ("time", "time", None),
            (
                "mcp.time.get_current_time",
                "time",
                Some("get_current_time"),
            ),
            ("mcp.io.github.x", "io.github.x", None),
            (
                "mcp.io.github.x.search.all",
                "io.github.x",
                Some("search.all"),
            ),
            ("mcp.io.github", "io", Some("github")),
            ("mcp.odd", "mcp.odd", None),
        ] {
            let parsed = parse(reference, &servers());
            assert_eq!(parsed, Some((server.into(), tool)), "{reference}");
        }
        for reference in ["mcp.unknown", "mcp.", "", "mcp.timer", "mcp.time."] {
            assert_eq!(parse(reference, &servers()), None, "{reference}");
        }
    }

    #[test]
    fn a_whole_server_beside_one_of_its_tools_is_the_whole_server() {
        let mut selection = Selection::new();
        for reference in ["mcp.git.log", "mcp.time.now", "mcp.time", "mcp.time.later"] {
            assert!(add(&mut selection, reference, &servers()));
        }
        assert_eq!(selection["time"], Selected::All);
        assert!(selection["git"].has_tool("log") && !selection["git"].has_tool("push"));
    }
}
