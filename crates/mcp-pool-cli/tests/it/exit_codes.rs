//! Exit codes.

use crate::home::Home;

#[test]
fn an_unknown_command_is_a_wrong_usage() {
    let home = Home::new();
    home.command(&["lst"]).assert().code(1);
}

#[test]
fn the_version_is_asked_for_with_success() {
    let home = Home::new();
    home.command(&["--version"]).assert().code(0);
}
