//! The kinds of findings. Each has a section of its id in `docs/doctor.md`, and its id never gets another meaning.

use serde::Serialize;

use super::finding::Finding;

/// Where a report shows a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Section {
    Config,
    Runtime,
    Server,
    Clients,
    Network,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It works, and could work better or be safer.
    Warning,
    /// Something does not work.
    Error,
}

/// A kind of finding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) id: &'static str,
    pub(super) section: Section,
    pub(super) severity: Severity,
}

impl Kind {
    /// A finding of this kind.
    pub(super) fn found(self, message: impl Into<String>) -> Finding {
        Finding::new(self, message.into())
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal, $section:ident, $severity:ident;)+) => {
        $($(#[doc = $doc])+
        pub(super) const $name: Kind = Kind {
            id: $id,
            section: Section::$section,
            severity: Severity::$severity,
        };)+

        #[cfg(test)]
        const ALL: &[Kind] = &[$($name),+];
    };
}

kinds! {
    /// A file of servers or settings cannot be used.
    BROKEN_FILE = "MP001", Config, Error;
    /// No server is configured.
    NO_SERVERS = "MP002", Config, Error;
    /// The entry of a server is wrong.
    BROKEN_ENTRY = "MP003", Config, Error;
    /// A variable that an entry needs is not set.
    UNSET_VARIABLE = "MP004", Config, Error;
    /// An entry has a field that is not known.
    UNKNOWN_FIELD = "MP005", Config, Warning;
    /// Something in the configuration has no effect, or is odd.
    ODD_SETTING = "MP006", Config, Warning;
    /// A secret stands in plain text.
    PLAIN_SECRET = "MP007", Config, Warning;
    /// A file with secrets can be read by other users.
    READABLE_SECRETS = "MP008", Config, Warning;

    /// The command of a server is not found.
    NO_COMMAND = "MP101", Runtime, Error;
    /// The command of a server may not be run.
    NOT_EXECUTABLE = "MP102", Runtime, Error;
    /// The folder in which a server is to start does not exist.
    NO_FOLDER = "MP103", Runtime, Error;
    /// A launcher does not say its version.
    BROKEN_LAUNCHER = "MP104", Runtime, Warning;
    /// A launcher is too old for most servers.
    OLD_LAUNCHER = "MP105", Runtime, Warning;
    /// The state folder can be read by other users.
    READABLE_STATE = "MP106", Runtime, Warning;
    /// The daemon's socket is left over from one that has ended.
    STALE_SOCKET = "MP107", Runtime, Warning;
    /// The daemon is of another version.
    OTHER_VERSION = "MP108", Runtime, Warning;
    /// The daemon does not answer.
    SILENT_DAEMON = "MP109", Runtime, Error;

    /// A server does not open.
    DOES_NOT_OPEN = "MP201", Server, Error;
    /// A server is not ready within the limit.
    OPENS_TOO_LATE = "MP202", Server, Error;
    /// A server wants other credentials.
    WANTS_LOGIN = "MP203", Server, Error;
    /// A server does not list its tools.
    DOES_NOT_LIST = "MP204", Server, Error;
    /// A server says that it has tools, and lists none.
    NO_TOOLS = "MP205", Server, Warning;
    /// A server opens slowly.
    OPENS_SLOWLY = "MP206", Server, Warning;
    /// The list of tools is large.
    LARGE_LIST = "MP207", Server, Warning;
    /// A tool is exposed under another name than its own.
    CHANGED_NAME = "MP208", Server, Warning;
    /// Two tools have one name.
    CLASHING_NAME = "MP209", Server, Warning;
    /// A server writes on stdout what is no message.
    NOISE = "MP210", Server, Warning;
    /// A server does not answer two requests at once.
    ONE_AT_A_TIME = "MP211", Server, Error;
    /// A second process of a server does not open beside the first.
    NO_SECOND = "MP212", Server, Warning;
    /// A server uses much memory.
    LARGE_MEMORY = "MP213", Server, Warning;
    /// No tool of any server can be used.
    NO_USABLE_TOOL = "MP214", Server, Error;

    /// The file of a client cannot be read.
    BROKEN_CLIENT_FILE = "MP301", Clients, Warning;
    /// A client has a server both by itself and through mcp-pool.
    TWICE_IN_CLIENT = "MP302", Clients, Warning;
    /// A client takes fewer tools than there are.
    TOO_MANY_TOOLS = "MP303", Clients, Warning;

    /// The host of a server is not known.
    UNKNOWN_HOST = "MP401", Network, Error;
    /// No connection can be made to a server.
    NO_CONNECTION = "MP402", Network, Error;
    /// Secrets are sent without encryption.
    PLAIN_HTTP = "MP403", Network, Warning;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_id_has_one_section_of_the_page_and_the_page_no_others() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/doctor.md");
        let page = std::fs::read_to_string(page).unwrap();
        let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
        let described: Vec<_> = headings
            .map(|heading| heading.split(':').next().unwrap_or_default())
            .collect();
        let ids: Vec<_> = ALL.iter().map(|kind| kind.id).collect();
        assert_eq!(described, ids);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn the_first_digit_of_an_id_is_that_of_its_section() {
        for kind in ALL {
            let digit = char::from(b'0' + kind.section as u8);
            assert!(kind.id.starts_with(&format!("MP{digit}")), "{}", kind.id);
        }
    }
}
