//! The nearest of the names there are, for a name that is not among them.

/// `; did you mean ...?` if a name is near enough, else nothing.
pub(crate) fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wrong, names) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// The name that is most like `wrong`, if one is like it. Of `server.tool` the tool alone may be like it.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let own = name.rsplit('.').next().unwrap_or(&name);
        likeness(&wrong, &name).max(likeness(&wrong, own))
    };
    names
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

/// From 0 to 1.
fn likeness(wrong: &str, name: &str) -> f64 {
    let typed = strsim::jaro_winkler(wrong, name);
    // Two letters that changed places are one slip; in short names Jaro-Winkler makes much of it.
    let slips = strsim::osa_distance(wrong, name);
    // `status` is meant for `git_status`, though most letters differ.
    let is_part =
        wrong.len() > 2 && name.len() > 2 && (name.contains(wrong) || wrong.contains(name));
    match is_part || (slips == 1 && name.len() > 2) {
        true => typed.max(NEAR),
        false => typed,
    }
}

/// Jaro-Winkler, from 0 to 1. Below it names have little in common.
const NEAR: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let names = ["get_current_time", "convert_time", "echo"];
        assert_eq!(nearest("get_curent_time", names), Some("get_current_time"));
        assert_eq!(nearest("Echo", names), Some("echo"));
        assert_eq!(nearest("kye", ["key"]), Some("key"));
        assert_eq!(nearest("ehco", ["kit.echo", "kit.add"]), Some("kit.echo"));
        assert_eq!(nearest("convert", names), Some("convert_time"));
        assert_eq!(nearest("delete_everything", names), None);
        assert_eq!(nearest("x", []), None);
    }
}
