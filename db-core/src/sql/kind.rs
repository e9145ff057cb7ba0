//! What may this SQL text do to the transaction it runs in?
//!
//! Asked once per statement, so it is one pass over the bytes, without allocating and without parsing: it knows
//! neither strings nor comments past the first word, and where that could matter it answers
//! [`StatementKind::MayCommit`], which is never wrong, only slower.

#[cfg(test)]
mod tests;

/// The answer of [`of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatementKind {
    /// Cannot commit, and cannot end the transaction but by failing. One statement, so its reply tells all of it.
    ///
    /// Triggers and stored functions it calls cannot commit either (1422).
    Plain,
    /// May commit or roll back, openly or implicitly, or hides statements: DDL, `CALL`, `COMMIT`, several statements.
    MayCommit,
}

/// The statements that neither commit implicitly nor contain others, on MySQL 9 and MariaDB 10.11.
///
/// `SET` is looked at further. `ANALYZE` is DDL on one and a query on the other; `HANDLER`, `LOAD DATA`, `KILL` and the
/// like commit nothing, and are not worth an entry.
fn is_plain(word: &[u8]) -> bool {
    let mut upper = [0; 8];
    let Some(upper) = upper.get_mut(..word.len()) else { return false };
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    matches!(
        &*upper,
        b"SELECT"
            | b"INSERT"
            | b"UPDATE"
            | b"DELETE"
            | b"REPLACE"
            | b"WITH"
            | b"SHOW"
            | b"EXPLAIN"
            | b"DESCRIBE"
            | b"DESC"
            | b"VALUES"
            | b"TABLE"
            | b"DO"
            | b"USE"
    )
}

/// Judges a text of one or more statements, by a list of what is known to be harmless.
pub(crate) fn of(sql: &str) -> StatementKind {
    let (word, rest) = first_word(sql.as_bytes());
    let harmless = is_plain(word) || word.eq_ignore_ascii_case(b"SET") && sets_only_variables(rest);
    if harmless && is_one_statement(sql.as_bytes()) { StatementKind::Plain } else { StatementKind::MayCommit }
}

/// The first word after white space, comments and opening parentheses, and what follows it. The word is empty where
/// the text starts otherwise.
fn first_word(mut sql: &[u8]) -> (&[u8], &[u8]) {
    loop {
        sql = match sql {
            [b'(', rest @ ..] => rest,
            [first, rest @ ..] if is_space(*first) => rest,
            [b'#', rest @ ..] => after(rest, b"\n"),
            [b'-', b'-', rest @ ..] if rest.first().is_none_or(|&next| is_space(next)) => after(rest, b"\n"),
            [b'/', b'*', rest @ ..] => after(rest, b"*/"),
            _ => break,
        };
    }
    // In a name these follow a letter; then it is not one of the words above.
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    let end = sql.iter().position(|byte| !is_in_name(byte)).unwrap_or(sql.len());
    sql.split_at(end)
}

fn after<'s>(sql: &'s [u8], mark: &[u8]) -> &'s [u8] {
    let end = sql.windows(mark.len()).position(|window| window == mark);
    end.map_or(&[], |end| &sql[end + mark.len()..])
}

/// Whether the text has no `;` but at its end, and no executable comment (`/*!`, MariaDB's `/*M!`). Strings are not
/// excepted: where one ends depends on `sql_mode` (`NO_BACKSLASH_ESCAPES`, `ANSI_QUOTES`). Comments after the last `;`
/// are not either: what looks like one may be in a string (`SELECT ';-- ', 1; COMMIT`).
fn is_one_statement(sql: &[u8]) -> bool {
    // Most texts have neither, and this is asked of sixteen bytes at a time.
    if !sql.iter().fold(false, |found, byte| found | matches!(byte, b';' | b'*')) {
        return true;
    }
    for (at, byte) in sql.iter().enumerate() {
        match byte {
            b';' => return sql[at..].iter().all(|&byte| byte == b';' || is_space(byte)),
            b'*' if at > 0 && sql[at - 1] == b'/' && matches!(sql[at + 1..], [b'!', ..] | [b'M' | b'm', b'!', ..]) => {
                return false;
            }
            _ => {}
        }
    }
    true
}

/// Whether what follows `SET` sets variables, and neither commits nor runs another statement. `SET autocommit = 1` commits, under
/// whatever name and behind whatever comma; `SET PASSWORD` and the settings of accounts do; `SET STATEMENT … FOR …` is any statement.
fn sets_only_variables(rest: &[u8]) -> bool {
    const OTHERWISE: [&[u8]; 6] = [b"", b"STATEMENT", b"PASSWORD", b"DEFAULT", b"ROLE", b"RESOURCE"];
    const AUTOCOMMIT: &[u8] = b"autocommit";
    let assigned = match first_word(rest) {
        // `@name`, `@@name`, `` `name` ``
        (b"", [b'@', name @ ..]) => !name.is_empty(),
        (word, _) => !OTHERWISE.iter().any(|other| word.eq_ignore_ascii_case(other)),
    };
    assigned && !rest.windows(AUTOCOMMIT.len()).any(|window| window.eq_ignore_ascii_case(AUTOCOMMIT))
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
