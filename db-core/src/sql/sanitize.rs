//! What may be shown of a statement's text? Names and keywords, never a value.
//!
//! A value may stand in any text, also in one with placeholders: it may have been formatted into it. So what is a value goes, and
//! where it cannot be told what is one, all the rest goes. Where a string ends can depend on the session's `sql_mode`, which
//! nobody here knows: only what every mode reads alike is shown.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

/// Of a longer text, no more than this many characters are shown.
const LONGEST: usize = 4096;

/// What stands for a value: a placeholder.
const VALUE: &str = "?";

/// What stands for the rest.
const REST: char = '…';

/// Shows a text of one or more statements with placeholders in place of literals, and without comments.
#[derive(Clone, Copy)]
pub(crate) struct QueryText<'s>(pub(crate) &'s str);

/// What a text begins with, and how many bytes of it that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Shown(usize),
    Value(usize),
    Comment(usize),
    /// What this is depends on something that is not known here.
    Unclear,
}

impl fmt::Display for QueryText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0;
        let mut room = LONGEST;
        while !text.is_empty() {
            let piece = first_piece(text);
            let (shown, taken) = match piece {
                Piece::Shown(len) => (&text[..len], len),
                Piece::Value(len) => (VALUE, len),
                Piece::Comment(len) => (" ", len),
                Piece::Unclear => return f.write_char(REST),
            };
            if shown.len() > room {
                return f.write_char(REST);
            }
            room -= shown.len();
            f.write_str(shown)?;
            text = &text[taken..];
        }
        Ok(())
    }
}

fn first_piece(text: &str) -> Piece {
    let bytes = text.as_bytes();
    match bytes {
        [b'\'' | b'"', ..] => quoted(bytes).map_or(Piece::Unclear, Piece::Value),
        [b'`', ..] => quoted(bytes).map_or(Piece::Unclear, Piece::Shown),
        // Comments that are executed, and hints: the server reads what is in them.
        [b'/', b'*', b'!' | b'+', ..] | [b'/', b'*', b'M' | b'm', b'!', ..] => Piece::Unclear,
        [b'/', b'*', rest @ ..] => find(rest, b"*/").map_or(Piece::Unclear, |end| Piece::Comment(2 + end + 2)),
        [b'-', b'-'] | [b'-', b'-', b' ' | b'\t'..=b'\r', ..] | [b'#', ..] => {
            let line = find(bytes, b"\n").unwrap_or(bytes.len());
            // At a zero the server goes on reading.
            if bytes[..line].contains(&0) { Piece::Unclear } else { Piece::Comment(line) }
        }
        // No comment, unless what follows is shown as a space.
        [b'-', b'-', next, ..] if next.is_ascii_control() || b"#/".contains(next) => Piece::Unclear,
        [b'0'..=b'9', ..] => Piece::Value(bytes.iter().position(|&byte| !is_in_number(byte)).unwrap_or(bytes.len())),
        [first, ..] if begins_word(*first) => word(bytes),
        [b' ' | b'\t'..=b'\r', ..] => Piece::Shown(1),
        [first, ..] if b"()+-*/%=<>!&|^~,.;:@{}[]?".contains(first) => Piece::Shown(1),
        // `$$`, where texts in other languages begin; a backslash; control characters.
        _ => Piece::Unclear,
    }
}

/// The length of what is in quotes, with them. `None` if it has no end, or if that depends on whether a backslash escapes it.
fn quoted(bytes: &[u8]) -> Option<usize> {
    let quote = bytes[0];
    let mut at = 1;
    loop {
        at += bytes[at..].iter().position(|&byte| byte == quote)?;
        // In a name a backslash is nothing special.
        if quote != b'`' && bytes[at - 1] == b'\\' {
            return None;
        }
        if bytes.get(at + 1) != Some(&quote) {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// A word. One that a quote follows at once must be a known mark of a string's form.
fn word(bytes: &[u8]) -> Piece {
    let len = bytes.iter().position(|&byte| !is_in_word(byte)).unwrap_or(bytes.len());
    let (word, rest) = bytes.split_at(len);
    let marks_string = matches!(word, [b'n' | b'N' | b'x' | b'X' | b'b' | b'B'] | [b'_', ..]);
    if matches!(rest, [b'\'' | b'"', ..]) && !marks_string { Piece::Unclear } else { Piece::Shown(len) }
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | 0x80..)
}

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

fn is_in_number(byte: u8) -> bool {
    is_in_word(byte) || byte == b'.'
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
