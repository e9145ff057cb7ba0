//! The tokens of a statement's text, as far as its classification needs them.

/// How a session reads a backslash in quotes. Three of the four combinations occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quotes {
    /// In `'…'` it escapes what follows.
    single: bool,
    /// In `"…"` it does.
    double: bool,
}

impl Quotes {
    pub(super) const ESCAPED: Self = Self { single: true, double: true };
    /// `ANSI_QUOTES`: what stands in double quotes is a name.
    pub(super) const ANSI: Self = Self { single: true, double: false };
    /// `NO_BACKSLASH_ESCAPES`.
    pub(super) const PLAIN: Self = Self { single: false, double: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'s> {
    Word(Word<'s>),
    /// In backticks or double quotes: it may be a name.
    Name(&'s [u8]),
    /// `@name` or `@@scope.name`, with what follows the first `@`. The rest of a name in quotes is the next token.
    Variable(&'s [u8]),
    /// `:=`
    Assign,
    Open,
    Close,
    Semicolon,
    /// The beginning of a comment that some servers execute. Its words follow as tokens.
    Executable,
    Other,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'s> {
    text: &'s [u8],
    /// The word as a number, see [`key`]. 0 for longer ones.
    pub(super) key: u64,
    /// Behind a dot.
    pub(super) qualified: bool,
}

/// Reads a text once, from its beginning.
#[derive(Clone)]
pub(super) struct Lexer<'s> {
    sql: &'s [u8],
    at: usize,
    quotes: Quotes,
    pub(super) depth: u32,
    /// The next word is behind a dot.
    dot: bool,
    /// Inside of a comment that some servers execute.
    executable: bool,
    /// Where a string ends depended on how quotes are read.
    pub(super) ambiguous: bool,
    /// A string, or a name in quotes, has no end: the server refuses the statement as it stands.
    pub(super) unterminated: bool,
    /// Behind a semicolon: what stands before it is executed.
    pub(super) several: bool,
}

/// A word of up to eight letters, in any case, as a number. Of a longer one the first letters are pushed out.
pub(super) const fn key(word: &[u8]) -> u64 {
    let mut key = 0;
    let mut at = 0;
    while at < word.len() {
        key = key << 8 | (word[at] & UPPER) as u64;
        at += 1;
    }
    key
}

impl<'s> Word<'s> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    pub(super) fn text(&self) -> &'s [u8] {
        self.text
    }

    pub(super) fn is_number(&self) -> bool {
        self.text.first().is_some_and(u8::is_ascii_digit)
    }
}

/// Without the bit that makes a letter small. No other byte of a word becomes a letter by that.
const UPPER: u8 = 0xDF;

/// What a byte begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Space,
    Word,
    Other,
    Special,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Special; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t'..=b'\r' => Class::Space,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' | 0x80.. => Class::Word,
            b',' | b'=' | b'<' | b'>' | b'?' | b'+' | b'!' | b'%' | b'&' | b'|' | b'^' | b'~' | b'{' | b'}' | b'[' | b']' => Class::Other,
            _ => Class::Special,
        };
        byte += 1;
    }
    classes
};

pub(super) fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

impl<'s> Lexer<'s> {
    pub(super) fn new(sql: &'s [u8], quotes: Quotes) -> Self {
        Self { sql, at: 0, quotes, depth: 0, dot: false, executable: false, ambiguous: false, unterminated: false, several: false }
    }

    /// The next token. `None`: the text is not understood.
    #[inline(always)]
    pub(super) fn token(&mut self) -> Option<Token<'s>> {
        loop {
            let Some(&byte) = self.sql.get(self.at) else {
                return (!self.executable).then_some(Token::End);
            };
            match class(byte) {
                Class::Space => self.at += 1,
                Class::Word => return self.word_token(),
                Class::Other => {
                    self.at += 1;
                    self.dot = false;
                    return Some(Token::Other);
                }
                Class::Special => {
                    if let Some(token) = self.special(byte)? {
                        return Some(token);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn word_token(&mut self) -> Option<Token<'s>> {
        let start = self.at;
        let mut end = start;
        let mut key = 0_u64;
        while let Some(&byte) = self.sql.get(end)
            && class(byte) == Class::Word
        {
            // Of a longer word the first letters are pushed out.
            key = key << 8 | u64::from(byte & UPPER);
            end += 1;
        }
        self.at = end;
        let key = if end - start > 8 { 0 } else { key };
        // MySQL's dollar quotes.
        let word = Word { text: &self.sql[start..end], key, qualified: std::mem::take(&mut self.dot) };
        (self.sql[start] != b'$').then_some(Token::Word(word))
    }

    /// The token that begins here, if one does: a comment is none.
    fn special(&mut self, byte: u8) -> Option<Option<Token<'s>>> {
        let rest = &self.sql[self.at + 1..];
        if self.executable && !matches!(byte, b'*' | b'.' | b'(' | b')') {
            return None;
        }
        if byte == b'.' {
            self.at += 1;
            self.dot = true;
            return Some(None);
        }
        self.dot = false;
        let (token, length) = match (byte, rest) {
            (b'(', _) => {
                self.depth += 1;
                (Some(Token::Open), 1)
            }
            (b')', _) => {
                self.depth = self.depth.checked_sub(1)?;
                (Some(Token::Close), 1)
            }
            (b'\'', _) => (Some(Token::Other), self.quoted(b'\'', self.quotes.single)?),
            (b'"', _) => {
                let length = self.quoted(b'"', self.quotes.double)?;
                (Some(Token::Name(&rest[..length - 2])), length)
            }
            (b'`', _) => {
                let length = self.quoted(b'`', false)?;
                (Some(Token::Name(&rest[..length - 2])), length)
            }
            (b';', _) => (Some(Token::Semicolon), 1),
            (b'@', _) => {
                let is_in_name = |&byte: &u8| class(byte) == Class::Word || matches!(byte, b'@' | b'.');
                let length = rest.iter().position(|byte| !is_in_name(byte)).unwrap_or(rest.len());
                (Some(Token::Variable(&rest[..length])), 1 + length)
            }
            (b':', [b'=', ..]) => (Some(Token::Assign), 2),
            (b'#', _) => (None, line(rest)? + 1),
            (b'-', [b'-', after @ ..]) if after.first().is_none_or(|&byte| class(byte) == Class::Space) => (None, line(rest)? + 1),
            // Some servers take this for a comment.
            (b'-', [b'-', after, ..]) if after.is_ascii_control() => return None,
            (b'/', [b'*', b'!', ..]) => {
                self.executable = true;
                (Some(Token::Executable), 3)
            }
            (b'/', [b'*', b'M' | b'm', b'!', ..]) => {
                self.executable = true;
                (Some(Token::Executable), 4)
            }
            (b'/', [b'*', comment @ ..]) => {
                let length = comment.windows(2).position(|end| end == b"*/")?;
                // A string in a hint may hold what looks like its end.
                if comment[0] == b'+' && !is_balanced(&comment[..length]) {
                    return None;
                }
                (None, 2 + length + 2)
            }
            (b'*', [b'/', ..]) if self.executable => {
                self.executable = false;
                (None, 2)
            }
            (b'*' | b'-' | b'/' | b':', _) => (Some(Token::Other), 1),
            // A backslash, or a control character.
            _ => return None,
        };
        self.at += length;
        Some(token)
    }

    /// The length of what is in quotes here, with them.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Option<usize> {
        let text = &self.sql[self.at..];
        let mut end = 1;
        loop {
            let Some(length) = position(&text[end..], quote) else {
                self.unterminated = true;
                return None;
            };
            end += length;
            // Here `text[end]` is a quote.
            if quote != b'`' && text[end - 1] == b'\\' && is_escaped(&text[1..end]) {
                self.ambiguous = true;
                if escapes {
                    end += 1;
                    continue;
                }
            }
            if text.get(end + 1) != Some(&quote) {
                return Some(end + 1);
            }
            end += 2;
        }
    }

    /// Whether a parenthesis opens behind the token that was read last, with or without a space between.
    #[inline(always)]
    pub(super) fn opens(&self) -> Option<Space> {
        let mut at = self.at;
        while class(*self.sql.get(at)?) == Class::Space {
            at += 1;
        }
        let spaces = at - self.at;
        match self.sql[at] {
            b'(' if spaces == 0 => Some(Space::Without),
            b'(' => Some(Space::With),
            // A comment, perhaps.
            b'/' | b'-' | b'#' => self.opens_behind_comment(),
            _ => None,
        }
    }

    #[cold]
    fn opens_behind_comment(&self) -> Option<Space> {
        (self.clone().token() == Some(Token::Open)).then_some(Space::With)
    }

    /// The next token, if it is a word.
    pub(super) fn word(&mut self) -> Option<Word<'s>> {
        match self.token()? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Without the bytes of this class at its end.
#[inline]
pub(super) fn trim_end(mut text: &[u8], unwanted: Class) -> &[u8] {
    while let [before @ .., last] = text
        && class(*last) == unwanted
    {
        text = before;
    }
    text
}

/// Between a name and the parenthesis behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Without,
    With,
}

/// The length of the rest of the line. `None`: at a zero byte the server goes on reading.
fn line(text: &[u8]) -> Option<usize> {
    let line = position(text, b'\n').unwrap_or(text.len());
    (!text[..line].contains(&0)).then_some(line)
}

/// Whether what follows this text is escaped by it: it ends with an odd number of backslashes.
fn is_escaped(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn is_balanced(comment: &[u8]) -> bool {
    b"'\"`".iter().all(|quote| comment.iter().filter(|byte| *byte == quote).count() % 2 == 0)
}

/// Where the byte is first. Most of a long string is looked at 32 bytes at a time.
fn position(text: &[u8], wanted: u8) -> Option<usize> {
    let mut skipped = 0;
    for chunk in text.chunks_exact(32) {
        if chunk.iter().fold(false, |found, byte| found | (*byte == wanted)) {
            break;
        }
        skipped += chunk.len();
    }
    text[skipped..].iter().position(|byte| *byte == wanted).map(|at| skipped + at)
}
