//! Which tools a principal may use.

use std::collections::BTreeMap;

use mcp_pooled_tools::{Pattern, ToolTarget};

use crate::principal::{Principal, PrincipalKind};

/// Globs over `server.tool`, by principal.
#[derive(Debug)]
pub(crate) struct AllowLists {
    lists: BTreeMap<String, Vec<Pattern>>,
}

impl AllowLists {
    pub(crate) fn new(lists: &BTreeMap<String, Vec<String>>) -> Self {
        let globs = |list: &Vec<String>| list.iter().map(|glob| Pattern::glob(glob)).collect();
        let lists = lists.iter();
        Self {
            lists: lists
                .map(|(name, list)| (name.clone(), globs(list)))
                .collect(),
        }
    }

    /// Whether any tool is kept from this principal.
    pub(crate) fn restricts(&self, principal: &Principal) -> bool {
        self.of(principal).is_some()
    }

    pub(crate) fn permits(&self, principal: &Principal, target: &ToolTarget) -> bool {
        let name = format!("{}.{}", target.server, target.tool);
        self.of(principal)
            .is_none_or(|list| list.iter().any(|glob| glob.matches(&name)))
    }

    fn of(&self, principal: &Principal) -> Option<&Vec<Pattern>> {
        // The subject of a JWT must not pass for the holder of a token.
        let own = match principal.kind {
            PrincipalKind::Jwt => self.lists.get(&principal.to_string()),
            _ => self.lists.get(&*principal.name),
        };
        own.or_else(|| self.lists.get("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_without_an_entry_has_that_of_all() {
        let lists = [
            ("alice", vec!["time.*", "git.git_status"]),
            ("*", vec!["time.get_*"]),
            ("jwt:https://id#alice", vec![]),
        ];
        let lists = lists.map(|(name, list)| {
            (
                name.to_owned(),
                list.into_iter().map(str::to_owned).collect(),
            )
        });
        let lists = AllowLists::new(&BTreeMap::from(lists));
        let may = |kind, name: &str, server: &str, tool: &str| {
            let target = ToolTarget::new(server, tool);
            lists.permits(&Principal::new(kind, name), &target)
        };
        use PrincipalKind::{Jwt, Local, Token};
        assert!(may(Token, "alice", "time", "convert_time"));
        assert!(may(Token, "alice", "git", "git_status"));
        assert!(!may(Token, "alice", "git", "git_commit"));
        assert!(may(Token, "bob", "time", "get_current_time"));
        assert!(!may(Local, "local", "time", "convert_time"));
        assert!(!may(Jwt, "https://id#alice", "time", "convert_time"));
        assert!(!may(Jwt, "alice", "git", "git_status"), "another alice");
    }
}
