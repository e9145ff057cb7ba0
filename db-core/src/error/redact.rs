//! Redaction: a server's error message without the values that a caller put into its parameters.
//!
//! Names of keys, tables and columns stay, values go. Which messages carry values was read from the message lists of
//! MariaDB 10.11 and MySQL 9.7 (MariaDB's marks them: `%T`), so a code of theirs that is not named here keeps its text, and
//! a code neither has loses whatever is quoted.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

const REDACTED: &str = "<redacted>";

const QUOTES: [char; 2] = ['\'', '"'];

/// In bytes. Servers stop at 512, proxies go on a little.
const LONGEST: usize = 4096;

/// Where a proxy starts to repeat the statement and its parameters (Vitess), or TiDB the row's key.
const STATEMENT_FOLLOWS: [&str; 5] = ["Sql: ", "BindVars: ", "during query: ", "key={", "key: {"];

/// Where the values are in the messages of a code.
enum Values {
    None,
    /// From behind the first of the second to the last of the third, where the first precedes the first quote. The words
    /// before any value tell the language: in another one, the rest could be words of the value. Else, as `Quoted`.
    Between(&'static str, &'static str, &'static str),
    /// Between the outermost quotes; where there are none, everywhere.
    Quoted,
    /// Between the outermost quotes, if there are any.
    PerhapsQuoted,
    /// From the first digit on.
    Number,
    /// A piece of the statement's text.
    Statement,
    Everywhere,
}

fn values(code: u16) -> Values {
    use Values::*;

    match code {
        1062 | 1586 => Between("Duplicate entry ", "'", "' for key '"),
        1569 => Between("duplicate entry ", "'", "' for key '"),
        1292 | 1366 | 4153 => Between("value: ", "'", "' for column "),
        1411 => Between("value: ", "'", "' for function "),
        1741 => Between("Key value ", "'", "' was not found in table '"),
        1557 => Between("constraints for table ", "', entry '", "', key "),
        1761 | 1762 => Between("constraint for table ", "', record '", "' would lead to a duplicate entry"),
        1231 => Between("Variable ", "' can't be set to the value of '", "'"),
        1064 => Statement,
        // Strings, dates, numbers, time zones, locales, and expressions (1690), which are printed with their values;
        // constants in definitions of columns and partitions.
        1291 | 1298 | 1300 | 1367 | 1470 | 1525 | 1649 | 1690 | 1912 | 1916..=1918 | 1977 | 1978 => Quoted,
        // Names of GET_LOCK; options and arguments of other functions.
        3057 | 3131 | 4163 | 3148 | 3558..=3564 | 3676 | 3854 | 3935 | 3936 | 3938 | 4095 | 4096 | 4133 => Quoted,
        // Values assigned to system variables: character set, collation, storage engine, GTID, format of EXPLAIN, log services.
        // The SQLSTATE of a SIGNAL; ALGORITHM and LOCK of an ALTER.
        1115 | 1273 | 1286 | 1407 | 1772 | 1774 | 1791 | 1800 | 1801 | 3701 => Quoted,
        // 1105 is the catch-all of Vitess and of ExtractValue ("XPATH syntax error: '…'"), 1815 another; the others are
        // codes Vitess gives its own text.
        1041 | 1105 | 1203 | 1235 | 1815 | 3143 => PerhapsQuoted,
        // 1526: "Table has no partition for value 7". 1429 to 1434, 1477: a federated table's connection string, which holds
        // a password. 1676, 4058: the statement. 1767, 1790: the GTID assigned; 3136: version tokens. 6491: a JSON view's row, in
        // parentheses.
        1429..=1434 | 1477 | 1526 | 1676 | 1767 | 1790 | 3136 | 4058 | 6491 => Everywhere,
        // Coordinates and reference systems passed to spatial functions.
        3033 | 3548 | 3616 | 3617 | 3643 | 3726 | 3731 | 3732 => Number,
        5000.. => PerhapsQuoted,
        // 1644 too: what SIGNAL says is written to be read by the caller.
        _ => None,
    }
}

/// The message of this code, with [`REDACTED`] in place of each value. Where the format is not the expected one (another
/// language, a later version), more goes rather than less.
pub(super) fn message(code: u16, message: &str) -> Cow<'_, str> {
    // Cut before anything is looked for in it, and again where escapes have made it longer.
    match values_of(code, cut_off(message)) {
        Cow::Borrowed(text) => printable(text),
        Cow::Owned(text) => Cow::Owned(printable(&text).into_owned()),
    }
}

/// A message that ends within a value is cut off as the server itself cuts it off.
fn cut_off(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST)]
}

/// Without what a terminal would obey. Messages have lines, where they quote a statement.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

fn values_of(code: u16, message: &str) -> Cow<'_, str> {
    match STATEMENT_FOLLOWS.iter().filter_map(|mark| message.find(mark)).min() {
        Some(end) => without_statement(code, &message[..end]),
        None => without_values(code, message),
    }
}

/// For what precedes a statement. The mark may just as well have been in a value, and then no quote can be trusted to be
/// its end.
fn without_statement(code: u16, head: &str) -> Cow<'_, str> {
    let end = match values(code) {
        Values::None => head.len(),
        Values::PerhapsQuoted => head.find(QUOTES).unwrap_or(head.len()),
        Values::Everywhere | Values::Number => 0,
        Values::Between(..) | Values::Quoted | Values::Statement => head.find(QUOTES).unwrap_or(0),
    };
    cut(&head[..end], "")
}

fn without_values(code: u16, message: &str) -> Cow<'_, str> {
    match values(code) {
        Values::None => Cow::Borrowed(message),
        Values::Between(lead, open, close) => match between(message, lead, open, close) {
            // Without a column, "' for column " can only be part of the value, which ends the message.
            Some(_) if close == "' for column " && message.ends_with('\'') => quoted(message),
            Some((head, tail)) => cut(head, tail),
            None => quoted(message),
        },
        Values::Quoted => quoted(message),
        Values::PerhapsQuoted if !message.contains(QUOTES) => Cow::Borrowed(message),
        Values::PerhapsQuoted => quoted(message),
        Values::Number => match message.find(|c: char| c.is_ascii_digit()) {
            Some(digit) => cut(message[..digit].trim_end_matches('-'), ""),
            None => Cow::Borrowed(message),
        },
        Values::Statement => statement(message),
        Values::Everywhere => Cow::Borrowed(REDACTED),
    }
}

/// `… near 'FORM t WHERE name = 'x'' at line 1`: where the syntax is wrong is worth a word, and no more than that, for
/// literals follow. An odd number of quotes means that the piece begins within one.
fn statement(message: &str) -> Cow<'_, str> {
    let Some((head, tail)) = between(message, "near ", "'", "' at line ") else {
        return quoted(message);
    };
    let piece = &message[head.len()..message.len() - tail.len()];
    let is_odd = |quote| piece.matches(quote).count() % 2 == 1;
    let word_end =
        if is_odd('\'') || is_odd('"') { 0 } else { piece.find(|c: char| !c.is_ascii_alphabetic() && c != '_').unwrap_or(piece.len()) };
    if word_end == piece.len() { Cow::Borrowed(message) } else { cut(&message[..head.len() + word_end], tail) }
}

/// What is before and after the values, with the quotes. See [`Values::Between`].
fn between<'m>(message: &'m str, lead: &str, open: &str, close: &str) -> Option<(&'m str, &'m str)> {
    let first_quote = message.find(QUOTES).filter(|&at| message[..at].ends_with(lead))?;
    let start = first_quote + message[first_quote..].find(open)? + open.len();
    let end = start + message[start..].rfind(close)?;
    Some((&message[..start], &message[end..]))
}

fn quoted(message: &str) -> Cow<'_, str> {
    match (message.find(QUOTES), message.rfind(QUOTES)) {
        (Some(first), Some(last)) if first < last => cut(&message[..=first], &message[last..]),
        // A quote that is not closed: the message was cut off.
        (Some(first), _) => cut(&message[..=first], ""),
        _ => Cow::Borrowed(REDACTED),
    }
}

fn cut<'m>(head: &str, tail: &str) -> Cow<'m, str> {
    Cow::Owned([head, REDACTED, tail].concat())
}
