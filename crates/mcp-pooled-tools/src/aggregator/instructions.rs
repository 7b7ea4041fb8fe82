//! The instructions of all servers as one text.

/// Merges the instructions of servers under their names, in at most `limit` bytes. The longest are trimmed first. Servers
/// whose lists are missing are named before them.
pub(crate) fn merged(texts: &[(&str, &str)], missing: &[&str], limit: usize) -> Option<String> {
    let texts: Vec<_> = texts
        .iter()
        .map(|(server, text)| (heading(server), text.trim()))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let mut merged = String::new();
    if !missing.is_empty() {
        let named = missing.join(", ");
        merged = cut(&format!("Not available at present: {named}."), limit / 4);
    }
    let room = limit.saturating_sub(merged.len());
    // A heading needs some text under it to be worth its bytes.
    let least = |heading: &str| heading.len() + 2 * BREAK.len() + LEAST_TEXT;
    let mut taken = 0;
    let shown = texts.iter().take_while(|(heading, text)| {
        taken += least(heading).min(heading.len() + 2 * BREAK.len() + text.len());
        taken <= room
    });
    let shown = shown.count();
    let texts = &texts[..shown];
    let headings: usize = texts
        .iter()
        .map(|(heading, _)| heading.len() + 2 * BREAK.len())
        .sum();
    let longest = longest_allowed(
        texts.iter().map(|(_, text)| text.len()),
        room.saturating_sub(headings),
    );
    for (heading, text) in texts {
        if !merged.is_empty() {
            merged.push_str(BREAK);
        }
        merged.push_str(heading);
        merged.push_str(BREAK);
        merged.push_str(&cut(text, longest));
    }
    (!merged.is_empty()).then_some(merged)
}

/// The length beyond which texts are trimmed, so that all together have `room`.
fn longest_allowed(lengths: impl Iterator<Item = usize>, room: usize) -> usize {
    let mut lengths: Vec<_> = lengths.collect();
    lengths.sort_unstable();
    let mut room = room;
    for (at, length) in lengths.iter().enumerate() {
        let share = room / (lengths.len() - at);
        if *length > share {
            return share;
        }
        room -= length;
    }
    usize::MAX
}

/// At most `limit` bytes of the text, with a mark where it was cut.
fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let Some(room) = limit.checked_sub(MARK.len()) else {
        return String::new();
    };
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
    format!("{}{MARK}", text[..end.unwrap_or(0)].trim_end())
}

/// The name of a server on a line of its own, whatever it holds.
fn heading(server: &str) -> String {
    format!("# {}", server.escape_debug())
}

/// Bytes of the merged instructions: clients cut or drop longer ones.
pub(crate) const MAX_INSTRUCTIONS: usize = 2_048;
const BREAK: &str = "\n\n";
const LEAST_TEXT: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_text_stands_under_the_name_of_its_server() {
        let texts = [("git", "Use log.\n"), ("time", ""), ("web", " Fetch. ")];
        let text = merged(&texts, &["slow", "dead"], MAX_INSTRUCTIONS).unwrap();
        assert_eq!(
            text,
            "Not available at present: slow, dead.\n\n# git\n\nUse log.\n\n# web\n\nFetch."
        );
        assert_eq!(merged(&[("time", " ")], &[], MAX_INSTRUCTIONS), None);
    }

    #[test]
    fn the_longest_is_trimmed_first() {
        let (long, longer, short) = ("l".repeat(900), "x".repeat(5_000), "short");
        let texts = [("a", &*long), ("b", &*longer), ("c", short)];
        let text = merged(&texts, &[], MAX_INSTRUCTIONS).unwrap();
        assert!(
            text.len() <= MAX_INSTRUCTIONS && text.len() > MAX_INSTRUCTIONS - 8,
            "{}",
            text.len()
        );
        assert!(text.contains(&long) && text.ends_with(short));
        assert!(text.contains("x…"));
    }

    proptest! {
        #[test]
        fn the_limit_holds_whatever_the_texts(
            texts in prop::collection::vec(("\\PC{0,40}", "\\PC{0,600}"), 0..60),
            missing in prop::collection::vec("\\PC{0,80}", 0..40),
        ) {
            let texts: Vec<_> = texts.iter().map(|(server, text)| (&**server, &**text)).collect();
            let missing: Vec<_> = missing.iter().map(String::as_str).collect();
            let merged = merged(&texts, &missing, MAX_INSTRUCTIONS).unwrap_or_default();
            prop_assert!(merged.len() <= MAX_INSTRUCTIONS, "{}", merged.len());
        }
    }
}
