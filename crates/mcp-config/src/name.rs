//! Validation of server names, which go into logs, metrics and errors.

use crate::diagnostic::{Place, Problem, is_unprintable};

/// What is wrong with a name; `at` is where the server is named.
pub(crate) fn check(name: &str, at: &Place, problems: &mut Vec<Problem>) {
    if name.trim().is_empty() {
        problems.push(at.problem("a server's name is empty"));
    }
    if name.contains(is_unprintable) {
        let problem = at
            .key(name)
            .problem("a server's name cannot hold a control character");
        problems.push(problem);
    }
}
