//! The classification of ordinary queries and changes of rows, at a few instructions per byte.
//!
//! An automaton passes over the text and stops where something may matter. A text with anything there that is not obviously harmless is left to
//! the reader of tokens, which would give the same answer for the others.

use super::functions::{self, Call};
use super::lexer::{Class, class, key, trim_end};
use super::{DELETE, Effect, INSERT, REPLACE, SELECT, StatementKind, TABLE, UPDATE};

/// Without the bits that make letters small.
const UPPER: u64 = u64::from_ne_bytes([0xDF; 8]);

/// Classifies a text. `None`: it is not that simple.
pub(super) fn of(text: &[u8]) -> Option<StatementKind> {
    of_trimmed(text.trim_ascii_start())
}

#[inline(never)]
fn of_trimmed(text: &[u8]) -> Option<StatementKind> {
    let first = u64::from_be_bytes(*text.first_chunk::<8>()?) & UPPER;
    // `is_table`: a name in front of a parenthesis is the table's.
    let (effect, mut is_table, verb) = match (first >> 16, first >> 8) {
        (SELECT, _) => (Effect::Reads, false, 6),
        (UPDATE | DELETE, _) => (Effect::Writes, false, 6),
        (INSERT, _) => (Effect::Writes, true, 6),
        (_, REPLACE) => (Effect::Writes, true, 7),
        _ => return None,
    };
    if class(text[verb]) == Class::Word {
        return None;
    }
    let (mut at, mut state, mut depth) = (verb, START, 0_u32);
    loop {
        (at, state) = run(text, at, state);
        state = match state {
            OPEN => {
                depth += 1;
                START
            }
            CLOSE => {
                depth = depth.checked_sub(1)?;
                START
            }
            OPEN_BEHIND_WORD if is_table || is_harmless(&text[..at]) => {
                depth += 1;
                START
            }
            OPEN_BEHIND_NAME if is_table => {
                depth += 1;
                START
            }
            OPERATOR if is_comment(&text[at..]) => return None,
            OPERATOR => START,
            INTO if effect == Effect::Reads => return None,
            KEYWORD if KEYWORDS.contains(&word_around(text, at).0.key) => return None,
            VERB if is_table => {
                let (word, end) = word_around(text, at);
                if word.key == TABLE {
                    return None;
                }
                if VERBS.contains(&word.key) {
                    if is_behind_dot(&text[..end - word.text.len()]) {
                        return None;
                    }
                    // A parenthesis behind it is no call.
                    is_table = false;
                    at = end;
                    state = START;
                    continue;
                }
                WORD
            }
            INTO | KEYWORD | VERB => WORD,
            SEMICOLON if text[at..].iter().all(|byte| *byte == b';' || class(*byte) == Class::Space) => break,
            state if state < STOPPED && !is_in_quotes(state) => break,
            _ => return None,
        };
        at += 1;
    }
    Some(StatementKind::having(effect))
}

/// Whether this ends with the name of a function that changes nothing, or a keyword.
#[inline(never)]
fn is_harmless(passed: &[u8]) -> bool {
    let named = trim_end(passed, Class::Space);
    let name = Word::last(named);
    let before = &named[..named.len() - name.text.len()];
    !is_behind_dot(before) && functions::call(name.text, name.key, named.len() == passed.len()) == Call::Harmless
}

fn is_behind_dot(before: &[u8]) -> bool {
    trim_end(before, Class::Space).ends_with(b".")
}

fn is_comment(text: &[u8]) -> bool {
    matches!(text, [b'#', ..] | [b'-', b'-', ..] | [b'/', b'*', ..])
}

/// A word, and its [`key`].
struct Word<'s> {
    text: &'s [u8],
    key: u64,
}

impl<'s> Word<'s> {
    /// The one with which the text ends.
    #[inline]
    fn last(text: &'s [u8]) -> Self {
        if let Some(letters) = text.last_chunk::<8>()
            && let Some(length) = letters.iter().rev().position(|byte| class(*byte) != Class::Word)
        {
            let key = u64::from_be_bytes(*letters) & UPPER & !(u64::MAX << (8 * length));
            return Self { text: &letters[8 - length..], key };
        }
        let text = &text[trim_end(text, Class::Word).len()..];
        Self { text, key: key(text) }
    }
}

/// The word around this place, and where it ends.
#[inline(never)]
fn word_around(text: &[u8], at: usize) -> (Word<'_>, usize) {
    let end = text[at..].iter().position(|byte| class(*byte) != Class::Word).map_or(text.len(), |length| at + length);
    (Word::last(&text[..end]), end)
}

/// A state of the automaton: what the bytes before mean for the next one.
type State = u8;

/// Behind an operator, a comma or a string.
const START: State = 0;
/// In a word that does not matter.
const WORD: State = 1;
/// In the spaces behind a word.
const GAP: State = 2;
/// Behind a name in quotes, and in the spaces behind it.
const NAME: State = 3;
const SINGLE_QUOTES: State = 4;
/// In single quotes, behind an odd number of backslashes.
const SINGLE_QUOTES_ESCAPE: State = 5;
const DOUBLE_QUOTES: State = 6;
const DOUBLE_QUOTES_ESCAPE: State = 7;
const BACKTICKS: State = 8;
/// Behind the first letters of a word in [`PREFIXES`]: three states for each.
const IN_PREFIX: State = 9;

/// From here on: why the automaton stopped.
const STOPPED: State = IN_PREFIX + 3 * PREFIX_COUNT as State;
/// At a parenthesis that opens, not behind a name.
const OPEN: State = STOPPED;
/// At one behind a word.
const OPEN_BEHIND_WORD: State = STOPPED + 1;
/// At one behind a name in quotes.
const OPEN_BEHIND_NAME: State = STOPPED + 2;
const CLOSE: State = STOPPED + 3;
/// At an operator, or the beginning of a comment.
const OPERATOR: State = STOPPED + 4;
/// In a word that begins like INTO.
const INTO: State = STOPPED + 5;
/// In a word that begins like one of [`KEYWORDS`].
const KEYWORD: State = STOPPED + 6;
/// In a word that begins like one of [`VERBS`].
const VERB: State = STOPPED + 7;
const SEMICOLON: State = STOPPED + 8;
/// At something else that matters, such as a variable, or a quote that is escaped or not depending on the session.
const OTHER: State = STOPPED + 9;

/// Words that make a statement not simple. FOR UPDATE does not without one of these.
const KEYWORDS: [u64; 6] = [key(b"NEXT"), key(b"NEXTVAL"), key(b"NOWAIT"), key(b"RETURNING"), key(b"SKIP"), key(b"WAIT")];

/// Words between the name of a table and its rows.
const VERBS: [u64; 5] = [key(b"SELECT"), key(b"SET"), key(b"VALUE"), key(b"VALUES"), key(b"WITH")];

const PREFIX_COUNT: usize = 11;
/// The first letters of these words, at most four of each, and where the automaton stops behind them.
const PREFIXES: [(&[u8], State); PREFIX_COUNT] = [
    (b"INTO", INTO),
    (b"NEXT", KEYWORD),
    (b"NOWA", KEYWORD),
    (b"RETU", KEYWORD),
    (b"SKIP", KEYWORD),
    (b"WAIT", KEYWORD),
    (b"SELE", VERB),
    (b"SET", VERB),
    (b"TABL", VERB),
    (b"VALU", VERB),
    (b"WITH", VERB),
];

const fn is_in_quotes(state: State) -> bool {
    SINGLE_QUOTES <= state && state <= BACKTICKS
}

/// Where the automaton stops, and in which state. At the end of the text it is in any.
#[inline(always)]
fn run(text: &[u8], at: usize, mut state: State) -> (usize, State) {
    let mut rest = &text[at..];
    let mut in_string = 0_u32;
    while let Some((block, behind)) = rest.split_first_chunk::<8>() {
        let a = step(state, block[0]);
        let b = step(a, block[1]);
        let c = step(b, block[2]);
        let d = step(c, block[3]);
        if d >= STOPPED {
            return stopped(text.len() - rest.len(), [a, b, c, d]);
        }
        let e = step(d, block[4]);
        let f = step(e, block[5]);
        let g = step(f, block[6]);
        let h = step(g, block[7]);
        if h >= STOPPED {
            return stopped(text.len() - rest.len() + 4, [e, f, g, h]);
        }
        state = h;
        rest = behind;
        if state == SINGLE_QUOTES {
            // Not in every string: for a short one it does not pay.
            in_string += 1;
            if in_string.is_multiple_of(4) {
                rest = skip_string(rest);
            }
        }
    }
    while let [byte, behind @ ..] = rest {
        state = step(state, *byte);
        if state >= STOPPED {
            break;
        }
        rest = behind;
    }
    (text.len() - rest.len(), state)
}

/// The automaton stays in the state in which it stopped.
#[inline]
fn stopped(at: usize, states: [State; 4]) -> (usize, State) {
    let running = usize::from(states[0] < STOPPED) + usize::from(states[1] < STOPPED) + usize::from(states[2] < STOPPED);
    (at + running, states[3])
}

/// Without that part of a string that has neither quotes nor backslashes, 32 bytes at a time.
#[inline(never)]
fn skip_string(mut text: &[u8]) -> &[u8] {
    while let Some((block, behind)) = text.split_first_chunk::<32>() {
        let contains = |wanted| block.iter().fold(false, |found, byte| found | (*byte == wanted));
        if contains(b'\'') | contains(b'\\') {
            break;
        }
        text = behind;
    }
    text
}

fn step(state: State, byte: u8) -> State {
    ROWS[usize::from(byte)][usize::from(state)]
}

type Row = [State; 256];

/// The row of each byte in [`TRANSITIONS`].
static ROWS: [&Row; 256] = {
    let mut rows = [&TRANSITIONS[0]; 256];
    let mut byte = 0;
    while byte < rows.len() {
        let mut class = 0;
        while BYTES[class] != representative(byte as u8) {
            class += 1;
        }
        rows[byte] = &TRANSITIONS[class];
        byte += 1;
    }
    rows
};

/// For each class of bytes, and each state, the next state.
static TRANSITIONS: [Row; BYTES.len()] = {
    let mut table = [[0; 256]; BYTES.len()];
    let mut class = 0;
    while class < table.len() {
        let mut state = 0;
        while state < 256 {
            table[class][state] = next(state as State, BYTES[class]);
            state += 1;
        }
        class += 1;
    }
    table
};

/// One byte of each class: the bytes of a class are treated alike.
const BYTES: &[u8; 39] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_$ ,-()'\"`\\;@";

const fn representative(byte: u8) -> u8 {
    match byte.to_ascii_uppercase() {
        b' ' | b'\t'..=b'\r' => b' ',
        b'0'..=b'9' | b'_' | 0x80.. => b'_',
        b'-' | b'/' | b'#' => b'-',
        byte @ (b'A'..=b'Z' | b'$' | b'(' | b')' | b'\'' | b'"' | b'`' | b'\\' | b';') => byte,
        b'*' | b'.' | b',' | b'=' | b'<' | b'>' | b'?' | b'+' | b'!' | b'%' | b'&' | b'|' | b'^' | b'~' | b'{' | b'}' | b'[' | b']' => b',',
        _ => b'@',
    }
}

const fn next(state: State, byte: u8) -> State {
    match (state, byte) {
        (STOPPED.., _) => state,
        (SINGLE_QUOTES, b'\'') => START,
        (SINGLE_QUOTES, b'\\') => SINGLE_QUOTES_ESCAPE,
        (SINGLE_QUOTES_ESCAPE, b'\'') | (DOUBLE_QUOTES_ESCAPE, b'"') => OTHER,
        (SINGLE_QUOTES | SINGLE_QUOTES_ESCAPE, _) => SINGLE_QUOTES,
        (DOUBLE_QUOTES, b'"') | (BACKTICKS, b'`') => NAME,
        (DOUBLE_QUOTES, b'\\') => DOUBLE_QUOTES_ESCAPE,
        (DOUBLE_QUOTES | DOUBLE_QUOTES_ESCAPE, _) => DOUBLE_QUOTES,
        (BACKTICKS, _) => BACKTICKS,
        (START | NAME, b' ') => state,
        (_, b' ') => GAP,
        (START, b'(') => OPEN,
        (NAME, b'(') => OPEN_BEHIND_NAME,
        (_, b'(') => OPEN_BEHIND_WORD,
        (_, b')') => CLOSE,
        (_, b'-') => OPERATOR,
        (_, b'\'') => SINGLE_QUOTES,
        (_, b'"') => DOUBLE_QUOTES,
        (_, b'`') => BACKTICKS,
        (_, b';') => SEMICOLON,
        (_, b',') => START,
        // MySQL's dollar quotes.
        (START | GAP | NAME, b'$') => OTHER,
        (_, b'A'..=b'Z' | b'_' | b'$') => in_word(state, byte),
        _ => OTHER,
    }
}

const fn in_word(state: State, byte: u8) -> State {
    // The letters before: the first ones of a word in the list.
    let (known, length) = match state {
        WORD => return WORD,
        IN_PREFIX.. => ((state - IN_PREFIX) as usize / 3, (state - IN_PREFIX) as usize % 3 + 1),
        _ => (0, 0),
    };
    let mut at = 0;
    while at < PREFIXES.len() {
        let (prefix, stop) = PREFIXES[at];
        if begins_with(prefix, PREFIXES[known].0, length) && prefix[length] == byte {
            return if prefix.len() == length + 1 { stop } else { IN_PREFIX + (3 * at + length) as State };
        }
        at += 1;
    }
    WORD
}

/// Whether both begin with the same letters, so many of them, and the first one goes on.
const fn begins_with(prefix: &[u8], known: &[u8], length: usize) -> bool {
    let mut at = 0;
    while at < length {
        if prefix[at] != known[at] {
            return false;
        }
        at += 1;
    }
    length < prefix.len()
}
