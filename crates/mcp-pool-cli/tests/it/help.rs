//! `--help` of every command, at 80 columns and without colours.

use insta::assert_snapshot;

use crate::home::Home;

/// All commands, each as the words that name it.
pub(crate) fn commands() -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    collect(&mut Vec::new(), &mut commands);
    commands
}

fn collect(above: &mut Vec<String>, commands: &mut Vec<Vec<String>>) {
    for name in listed(&of(above)) {
        above.push(name);
        commands.push(above.clone());
        collect(above, commands);
        above.pop();
    }
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let mut lines = help.lines().skip_while(|line| *line != "Commands:");
    lines.next();
    let lines = lines.take_while(|line| !line.is_empty());
    // Further lines of a description are indented deeper.
    let lines = lines.filter_map(|line| line.strip_prefix("  "));
    let names = lines.filter(|line| !line.starts_with(' '));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn of(command: &[String]) -> String {
    let mut arguments: Vec<_> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let home = Home::new();
    let mut command = home.command(&arguments);
    let output = command.env("COLUMNS", "80").env("NO_COLOR", "1").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_every_command_is_as_it_was_within_eighty_columns() {
    let mut all = of(&[]);
    for command in commands() {
        let name = command.join(" ");
        let rule = "-".repeat(80);
        all.push_str(&format!(
            "\n{rule}\nmcp-pool {name} --help\n\n{}",
            of(&command)
        ));
    }
    let wide = all.lines().filter(|line| line.chars().count() > 80);
    assert_eq!(wide.collect::<Vec<_>>(), [""; 0]);
    assert!(!all.contains('\u{1b}'));
    assert_snapshot!("help", all);
}
