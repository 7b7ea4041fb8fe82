//! Exposed names of tools and prompts: a pure function of server and name.
//!
//! A name never depends on which other servers there are, or in which order they were added. Two different pairs never
//! get the same plain name, so nothing has to be renamed when a server joins or leaves.
//!
//! A plain name is `server__tool`, and only where the first `__` in it is the one that was put there. Everything else
//! gets six hex digits of a hash of the full pair: names that are too long, names with characters that clients refuse,
//! names whose server has a `__` of its own, and names that already end like a hash. So plain and hashed names cannot
//! meet.

use mcp_config::Prefix;

/// How names are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) prefix: Prefix,
    /// Bytes that a name has at most.
    pub(crate) max_name: usize,
}

impl Naming {
    /// Room for a hash and a few characters of server and tool.
    const LEAST_MAX_NAME: usize = 24;

    /// The name under which `name` of `server` is exposed: at most `max_name` characters of `[a-zA-Z0-9_-]`.
    pub(crate) fn exposed(&self, server: &str, name: &str) -> String {
        let bare = self.prefix == Prefix::Never;
        let plain = if bare {
            name.to_owned()
        } else {
            format!("{server}{SEPARATOR}{name}")
        };
        let unambiguous = bare || plain.find(SEPARATOR) == Some(server.len());
        let fits = (1..=self.max_name).contains(&plain.len()) && plain.bytes().all(is_allowed);
        if fits && unambiguous && !ends_like_a_hash(&plain) {
            return plain;
        }
        self.hashed(server, name)
    }

    fn hashed(&self, server: &str, name: &str) -> String {
        let room = self.max_name.max(Self::LEAST_MAX_NAME) - HASH_DIGITS - 1;
        let (server_text, name_text) = (sanitized(server), sanitized(name));
        let mut exposed = if self.prefix == Prefix::Never {
            name_text
        } else {
            // The tool says more than the server, so a long server name is cut first, to two fifths.
            let for_server = (room * 2 / 5).max(room.saturating_sub(2 + name_text.len()));
            let server_text = &server_text[..server_text.len().min(for_server)];
            format!("{server_text}{SEPARATOR}{name_text}")
        };
        exposed.truncate(room);
        let hash = fingerprint([server, name]);
        let folded = (hash ^ (hash >> 24) ^ (hash >> 48)) & 0xff_ffff;
        format!("{exposed}_{folded:06x}")
    }
}

/// FNV-1a over the parts, each ended by a byte that UTF-8 does not have. The same in every process and on every machine.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = parts
        .into_iter()
        .flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

/// One byte for each character, `_` for those that are not allowed: any part of it is text again.
fn sanitized(text: &str) -> String {
    let allowed = |c: char| u8::try_from(c).is_ok_and(is_allowed);
    text.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn ends_like_a_hash(name: &str) -> bool {
    let Some((_, end)) = name.rsplit_once('_') else {
        return false;
    };
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    end.len() == HASH_DIGITS && end.bytes().all(is_digit)
}

const SEPARATOR: &str = "__";
const HASH_DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const NAMING: Naming = Naming {
        prefix: Prefix::Always,
        max_name: 52,
    };

    fn exposed(server: &str, name: &str) -> String {
        NAMING.exposed(server, name)
    }

    #[test]
    fn ordinary_names_are_joined_and_nothing_else() {
        for (server, tool, name) in [
            ("time", "get_current_time", "time__get_current_time"),
            ("my-server", "a__b", "my-server__a__b"),
            ("a", "_b", "a___b"),
            ("", "b", "__b"),
        ] {
            assert_eq!(exposed(server, tool), name);
        }
    }

    #[test]
    fn names_stay_the_same_from_release_to_release() {
        for (server, tool, name) in [
            ("a__b", "c", "a__b__c_b66761"),
            ("git", "日志", "git_____0432c0"),
            ("s", "fix_abcdef", "s__fix_abcdef_735450"),
        ] {
            assert_eq!(
                exposed(server, tool),
                name,
                "clients keep names in their settings"
            );
        }
    }

    #[test]
    fn a_separator_in_a_server_name_is_not_taken_for_ours() {
        let names = [
            ("a__b", "c"),
            ("a", "b__c"),
            ("a_", "_b"),
            ("a", "__b"),
            ("a__", "b"),
        ];
        let mut exposed: Vec<_> = names.map(|(server, tool)| exposed(server, tool)).to_vec();
        exposed.sort();
        exposed.dedup();
        assert_eq!(exposed.len(), names.len(), "{exposed:?}");
        assert!(
            exposed.contains(&"a__b__c".to_owned()),
            "the one key server has none stays plain"
        );
    }

    #[test]
    fn a_name_of_200_characters_is_cut_and_keeps_its_server_and_a_part_of_the_tool() {
        let (server, tool) = ("s".repeat(200), "t".repeat(200));
        for (server, tool) in [(&*server, "tool"), ("server", &*tool), (&server, &tool)] {
            let name = exposed(server, tool);
            assert_eq!(name.len(), 52, "{name}");
            let (in_name_server, in_name_tool) = name.split_once("__").unwrap();
            assert!(
                server.starts_with(in_name_server) && in_name_server.len() >= 6,
                "{name}"
            );
            assert!(in_name_tool.len() > HASH_DIGITS + 4, "{name}");
        }
        let other = format!("{tool}x");
        assert_ne!(exposed("server", &tool), exposed("server", &other));
    }

    #[test]
    fn a_tool_that_looks_like_a_hashed_name_does_not_take_its_place() {
        let hashed = exposed("a__b", "c");
        let (server, tool) = hashed.split_once("__").unwrap();
        assert_ne!(exposed(server, tool), hashed);
    }

    #[test]
    fn without_a_prefix_the_name_is_the_tool_s() {
        let naming = Naming {
            prefix: Prefix::Never,
            ..NAMING
        };
        assert_eq!(naming.exposed("time", "now"), "now");
        assert!(naming.exposed("time", "jetzt!").starts_with("jetzt__"));
        let long = "t".repeat(60);
        assert_ne!(naming.exposed("a", &long), naming.exposed("b", &long));
    }

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab_]{0,5}",
            "[a-z_-]{1,12}",
            "\\PC{0,30}",
            "[a-f0-9_]{1,9}",
            "[a-z]{40,80}"
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_name_is_one_that_clients_take(server in part(), tool in part(), max in 24_usize..=128) {
            for prefix in [Prefix::Always, Prefix::Never] {
                let name = Naming { prefix, max_name: max }.exposed(&server, &tool);
                prop_assert!(!name.is_empty() && name.len() <= max, "{name}");
                prop_assert!(name.bytes().all(is_allowed), "{name}");
            }
        }

        #[test]
        fn different_pairs_have_different_names(pairs in prop::collection::hash_set((part(), part()), 1..60)) {
            let mut named = HashMap::new();
            for (server, tool) in pairs {
                let name = exposed(&server, &tool);
                if let Some(other) = named.insert(name.clone(), (server.clone(), tool.clone())) {
                    prop_assert!(false, "{name}: {other:?} and {:?}", (server, tool));
                }
            }
        }
    }
}
