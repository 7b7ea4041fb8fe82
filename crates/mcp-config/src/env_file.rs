//! Files of environment variables, as `envFile` names them.
//!
//! The form that VS Code reads: `NAME=value` on each line. `#` begins a comment on a line of its own or after a space. Quotes
//! around a value are removed, and `\n` inside double quotes is a line break. Values are not expanded: a password with a `$`
//! stays as it is.

use std::collections::BTreeMap;

/// The variables of the text, and the numbers of lines that are none.
pub(crate) fn parse(text: &str) -> (BTreeMap<String, String>, Vec<usize>) {
    let (mut variables, mut strange) = (BTreeMap::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        match line.split_once('=') {
            Some((name, value)) if is_name(name.trim()) => {
                variables.insert(name.trim().to_owned(), unquote(value.trim()));
            }
            _ => strange.push(number + 1),
        }
    }
    (variables, strange)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\'', '`'] {
        if let Some((inner, _)) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.split_once(quote))
        {
            return if quote == '"' {
                inner.replace("\\n", "\n").replace("\\r", "\r")
            } else {
                inner.to_owned()
            };
        }
    }
    let end = value.find(" #").unwrap_or(value.len());
    value[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_editors_read_it() {
        let text = "# keys\nA=1\nexport B = two words # note\nC=\"x\\ny\" # z\nD='$A #'\n\nE=\nF=a=b#c\nnonsense\nBAD NAME=1";
        let (variables, strange) = parse(text);
        let found: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "x\ny"),
                ("D", "$A #"),
                ("E", ""),
                ("F", "a=b#c")
            ]
        );
        assert_eq!(strange, [9, 10]);
    }
}
