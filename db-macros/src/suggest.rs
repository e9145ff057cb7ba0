//! Suggestions: the name nearest to what was written, and lists of names.

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

/// The one name that was meant by part of it: whole words from its beginning or end, or at least four letters that it begins with. The
/// name and its words are lower-case letters, each word a typing error or two away. `None` where several fit.
pub(crate) fn by_part<'a>(written: &str, names: &[&'a [&'a str]]) -> Option<usize> {
    let slip = |part: &str| {
        let distance = keystrokes(written, part);
        (distance <= (part.len() / 4).min(2)).then_some(distance)
    };
    let fits = |words: &&[&str]| {
        let parts = (1..=words.len()).flat_map(|count| [words[..count].concat(), words[words.len() - count..].concat()]);
        let begun = written.len() >= 4 && words.iter().any(|word| word.starts_with(written));
        parts.filter_map(|part| slip(&part)).chain(begun.then_some(0)).min()
    };
    let distances: Vec<_> = names.iter().map(fits).collect();
    let least = distances.iter().flatten().min()?;
    let mut nearest = (0..names.len()).filter(|index| distances[*index].as_ref() == Some(least));
    nearest.next().filter(|_| nearest.next().is_none())
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
