//! Did you mean …? Which name is near to what was written, and how are names listed?

/// The name that was meant: contained in what was written, or the other way round, or a typing error away.
pub(crate) fn nearest(written: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let written = written.to_lowercase();
    let distance = |name: &str| {
        let name = name.to_lowercase();
        let contained = written.len().min(name.len()) > 3 && (name.contains(&written) || written.contains(&name));
        if contained { 1 } else { keystrokes(&written, &name) }
    };
    names
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 2).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The Levenshtein distance.
fn keystrokes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in to.chars().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.chars().count()]
}

/// `a`, `b` and `c`, in backticks.
pub(crate) fn list(names: impl Iterator<Item = &'static str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let names = || ["isolation", "read_only", "join", "max_attempts", "on"].into_iter();
        for (written, meant) in [
            ("isolaton", Some("isolation")),
            ("isolation_level", Some("isolation")),
            ("readonly", Some("read_only")),
            ("attempts", Some("max_attempts")),
            ("jion", Some("join")),
            ("timeout", None),
            ("connection", None),
        ] {
            assert_eq!(nearest(written, names()), meant, "{written}");
        }
    }

    #[test]
    fn a_list_ends_in_and() {
        assert_eq!(list(["a"].into_iter()), "`a`");
        assert_eq!(list(["a", "b", "c"].into_iter()), "`a`, `b` and `c`");
    }
}
