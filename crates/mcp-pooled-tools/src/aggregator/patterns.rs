//! Patterns of text: the globs of filters and the templates of resources.

/// A pattern without branches: literal text with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// Any one character.
    One,
    /// Any number of characters, none of them a slash.
    Segment,
    /// Any number of characters.
    Any,
}

impl Pattern {
    /// A glob: `*` stands for any text, `?` for one character.
    #[must_use]
    pub fn glob(glob: &str) -> Self {
        let parts = glob.chars().map(|c| match c {
            '*' => Part::Any,
            '?' => Part::One,
            literal => Part::Literal(literal),
        });
        Self::of(parts)
    }

    /// What a URI template (RFC 6570) may expand to. `{name}` stands for text without a slash, the other kinds of
    /// expressions for any text.
    pub(crate) fn template(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once('{') {
            let Some((expression, after)) = after.split_once('}') else {
                break;
            };
            parts.extend(literal.chars().map(Part::Literal));
            let spans = expression.starts_with(['+', '#', '.', '/', ';', '?', '&'])
                || expression.contains('*');
            parts.push(if spans { Part::Any } else { Part::Segment });
            rest = after;
        }
        parts.extend(rest.chars().map(Part::Literal));
        Self::of(parts)
    }

    fn of(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.dedup_by(|next, before| next == before && matches!(next, Part::Any | Part::Segment));
        Self(parts)
    }

    /// How many characters it names: of two patterns that match, the one with more is meant.
    pub(crate) fn specificity(&self) -> usize {
        let literal = |part: &&Part| matches!(part, Part::Literal(_));
        self.0.iter().filter(literal).count()
    }

    /// Whether the whole of `text` fits. Takes time in proportion to the lengths of both; a pattern or a text longer
    /// than servers have a reason for never fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        const MAX_PARTS: usize = 512;
        const MAX_TEXT: usize = 4_096;
        let parts = &self.0;
        if parts.len() > MAX_PARTS || text.len() > MAX_TEXT || !self.may_begin(text) {
            return false;
        }
        // `reached[i]`: the text so far fits the first `i` parts.
        let mut reached = vec![false; parts.len() + 1];
        reached[0] = true;
        skip_gaps(parts, &mut reached);
        for c in text.chars() {
            let mut next = vec![false; parts.len() + 1];
            for (at, part) in parts.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match part {
                    Part::Literal(literal) if *literal == c => next[at + 1] = true,
                    Part::One => next[at + 1] = true,
                    Part::Any => next[at] = true,
                    Part::Segment if c != '/' => next[at] = true,
                    _ => {}
                }
            }
            skip_gaps(parts, &mut next);
            reached = next;
        }
        reached[parts.len()]
    }

    fn may_begin(&self, text: &str) -> bool {
        let mut text = text.chars();
        let literals = self.0.iter().map_while(|part| match part {
            Part::Literal(c) => Some(*c),
            _ => None,
        });
        literals.into_iter().all(|c| text.next() == Some(c))
    }
}

/// A gap may be empty.
fn skip_gaps(parts: &[Part], reached: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        if reached[at] && matches!(part, Part::Any | Part::Segment) {
            reached[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_hold_the_whole_name() {
        for (glob, name, fits) in [
            ("read_*", "read_file", true),
            ("read_*", "thread_file", false),
            ("*", "", true),
            ("*delete*", "bulk_delete_all", true),
            ("get_?", "get_x", true),
            ("get_?", "get_", false),
            ("exact", "exactly", false),
            ("**", "anything", true),
            ("a*b*c", "aXbXbc", true),
            ("*ü?", "über-ü!", true),
        ] {
            assert_eq!(Pattern::glob(glob).matches(name), fits, "{glob} {name}");
        }
    }

    #[test]
    fn templates_match_what_they_expand_to() {
        for (template, uri, fits) in [
            ("repo://{owner}/{name}", "repo://me/mine", true),
            ("repo://{owner}/{name}", "repo://me/mine/file", false),
            ("file:///{+path}", "file:///a/b/c", true),
            ("file:///{path*}", "file:///a/b", true),
            ("x://items{?page,size}", "x://items", true),
            ("x://items{?page,size}", "x://items?page=2", true),
            ("x://{id}.json", "x://17.json", true),
            ("x://{id}.json", "x://17.xml", false),
            ("x://{unclosed", "x://{unclosed", true),
        ] {
            assert_eq!(
                Pattern::template(template).matches(uri),
                fits,
                "{template} {uri}"
            );
        }
    }

    #[test]
    fn a_hostile_template_costs_no_more_than_its_length_times_that_of_the_uri() {
        let hostile = Pattern::template(&"{a}x".repeat(250));
        assert!(!hostile.matches(&format!("{}!/", "x".repeat(4_000))));
        assert!(!Pattern::glob(&"?".repeat(5_000)).matches(&"x".repeat(5_000)));
    }

    #[test]
    fn the_pattern_that_names_more_is_the_more_specific() {
        let (special, general) = (
            Pattern::template("x://users/{id}"),
            Pattern::template("x://{+rest}"),
        );
        assert!(special.specificity() > general.specificity());
    }
}
