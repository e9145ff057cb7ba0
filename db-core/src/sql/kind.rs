//! Classification of a statement's text: what it may do to the transaction and to the session.
//!
//! The text is read token by token, without allocation. Ordinary statements are classified faster, by the module `plain`.
//!
//! What is not certain gets the cautious answer: a text that is not understood is [`Effect::Compound`], and a function that is not known to be
//! built in may write and may change the session.
//!
//! A text says nothing of the views, triggers and stored functions behind the names in it: a view can call a function that writes.

mod functions;
mod lexer;
mod plain;
#[cfg(test)]
mod tests;

use functions::Call;
use lexer::{Lexer, Quotes, Space, Token, Word};

/// The answer of [`of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatementKind {
    pub effect: Effect,
    /// It may leave something in the session that outlives the transaction.
    pub session: bool,
    /// It locks rows, and does not wait for other locks, or for another time than the session's settings say.
    pub nowait: bool,
    /// It may ask for a file of the client's.
    pub local_infile: bool,
    /// It may have a RETURNING clause.
    pub returning: bool,
    /// It may contain other statements: an error may be that of one of them, after others were executed.
    pub contains: bool,
}

/// What a statement may do to the transaction it runs in. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// It does not write, as far as its text tells.
    Reads,
    /// It may write, and cannot end the transaction but by failing. Triggers and stored functions cannot either (1422).
    Writes,
    /// It sets a savepoint. To go back to it, or to release it, ends those that were set later.
    Savepoint,
    /// It may commit what went before it, and contains no other statement.
    Commits,
    /// It may contain other statements, may roll back, or is not understood.
    Compound,
}

impl StatementKind {
    /// The effect, and nothing else.
    const fn having(effect: Effect) -> Self {
        Self { effect, session: false, nowait: false, local_infile: false, returning: false, contains: false }
    }

    /// Whether the transaction may end with it, though it does not fail.
    pub fn may_commit(self) -> bool {
        self.effect >= Effect::Commits
    }

    fn or(self, other: Self) -> Self {
        Self {
            effect: self.effect.max(other.effect),
            session: self.session | other.session,
            nowait: self.nowait & other.nowait,
            local_infile: self.local_infile | other.local_infile,
            returning: self.returning | other.returning,
            contains: self.contains | other.contains,
        }
    }
}

/// Classifies a text of one or more statements.
pub(crate) fn of(sql: &str) -> StatementKind {
    plain::of(sql.as_bytes()).unwrap_or_else(|| of_any(sql))
}

/// Reads the text token by token.
#[cold]
fn of_any(sql: &str) -> StatementKind {
    let first = Reader::read(sql, Quotes::ESCAPED);
    if first.ambiguous { of_ambiguous(sql, first) } else { first.kind }
}

/// Where a string ends depends on the session's `sql_mode`.
#[cold]
fn of_ambiguous(sql: &str, first: Reading) -> StatementKind {
    let readings = [first, Reader::read(sql, Quotes::ANSI), Reader::read(sql, Quotes::PLAIN)];
    // Read in one of the other ways, most texts end inside of a string: the server refuses them then, and executes nothing.
    let executed = readings.iter().filter(|reading| !reading.refused).map(|reading| reading.kind);
    executed.reduce(StatementKind::or).unwrap_or(first.kind)
}

/// What one way to read a text gives.
#[derive(Clone, Copy)]
struct Reading {
    kind: StatementKind,
    ambiguous: bool,
    refused: bool,
}

struct Reader<'s> {
    lexer: Lexer<'s>,
    kind: StatementKind,
    /// The word before, as a number. 0: something else.
    before: u64,
    /// FOR UPDATE, FOR SHARE or LOCK IN SHARE MODE was met.
    locks: bool,
    /// LOAD DATA.
    loads: bool,
}

/// Where the text is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A name in front of a parenthesis is a function's.
    Expressions,
    /// Behind INSERT, REPLACE and LOAD: it is the table's.
    Target,
    /// Behind WITH and ANALYZE, outside of parentheses: it is that of a common table expression, and the verb is still to come.
    Prelude,
    /// In DDL: it is that of a table, a key or a type.
    Names,
}

macro_rules! words {
    ($($name:ident)*) => { $(const $name: u64 = lexer::key(stringify!($name).as_bytes());)* };
}

words! {
    AGAINST ALTER ANALYZE BEGIN CACHE CALL CHECK CHECKSUM COMMIT CREATE DATA DATABASE DEFAULT DELETE DESC DESCRIBE DO DROP EXECUTE EXPLAIN FLUSH FOR
    FORMAT GRANT HANDLER IMPORT INSERT INSTALL INTO LOAD LOCAL LOCK LOCKED MODE NEXT NEXTVAL NOWAIT OPTIMIZE OR PASSWORD PREPARE
    RENAME REPAIR REPLACE RESET RESOURCE REVOKE ROLE SCHEMA SELECT SET SHARE SHOW SKIP START TABLE TRUNCATE UNLOCK UPDATE USE VALUE
    VALUES WAIT WITH WORK XML
}

/// In place of a word: a closing parenthesis.
const CLOSE: u64 = 1;

impl<'s> Reader<'s> {
    fn read(sql: &'s str, quotes: Quotes) -> Reading {
        let kind = StatementKind::having(Effect::Reads);
        let mut reader = Self { lexer: Lexer::new(sql.as_bytes(), quotes), kind, before: 0, locks: false, loads: false };
        let understood = reader.statement().is_some();
        let Self { lexer, mut kind, .. } = reader;
        if !understood {
            kind.effect = Effect::Compound;
            kind.session = true;
            kind.nowait = false;
            kind.local_infile |= mentions_infile(sql.as_bytes());
            kind.contains = !is_one_statement(Lexer::new(sql.as_bytes(), quotes));
        }
        Reading { kind, ambiguous: lexer.ambiguous, refused: lexer.unterminated && !lexer.several }
    }

    /// `None`: the statement is not understood, or may contain others.
    fn statement(&mut self) -> Option<()> {
        let first = loop {
            match self.lexer.token()? {
                Token::Open => {}
                Token::Word(word) => break word,
                _ => return None,
            }
        };
        match first.key {
            SELECT | VALUES | TABLE | DO | SHOW => self.rest(Place::Expressions),
            INSERT | REPLACE => self.writes(Place::Target),
            UPDATE | DELETE => self.writes(Place::Expressions),
            WITH => self.prelude(),
            SET => self.set(),
            EXPLAIN | DESC | DESCRIBE => self.explain(),
            ANALYZE => self.analyze(),
            USE => self.session(Self::rest, Place::Names),
            HANDLER => self.session(Self::writes, Place::Names),
            LOAD => self.load(),
            CREATE => self.create(),
            DROP => self.drop(),
            BEGIN => self.begin(),
            LOCK | UNLOCK | FLUSH => self.session(Self::commits, Place::Names),
            ALTER | TRUNCATE | RENAME | GRANT | REVOKE | START | COMMIT | OPTIMIZE | REPAIR | CHECK | CHECKSUM | CACHE | RESET
            | INSTALL | IMPORT => self.commits(Place::Names),
            _ if first.is("UNINSTALL") => self.commits(Place::Names),
            _ if first.is("SAVEPOINT") => {
                self.at_least(Effect::Savepoint);
                self.rest(Place::Names)
            }
            // On purpose not above: ROLLBACK, RELEASE, XA, CALL, PREPARE, EXECUTE, KILL.
            _ => None,
        }
    }

    fn at_least(&mut self, effect: Effect) {
        self.kind.effect = self.kind.effect.max(effect);
    }

    fn session(&mut self, go_on: impl FnOnce(&mut Self, Place) -> Option<()>, place: Place) -> Option<()> {
        self.kind.session = true;
        go_on(self, place)
    }

    fn writes(&mut self, place: Place) -> Option<()> {
        self.at_least(Effect::Writes);
        self.rest(place)
    }

    fn commits(&mut self, place: Place) -> Option<()> {
        self.at_least(Effect::Commits);
        self.rest(place)
    }

    fn load(&mut self) -> Option<()> {
        if !matches!(self.lexer.word()?.key, DATA | XML) {
            return self.commits(Place::Names);
        }
        self.loads = true;
        loop {
            match self.lexer.token()? {
                Token::Word(word) if word.key == TABLE => return self.writes(Place::Target),
                Token::Word(word) => self.kind.local_infile |= word.key == LOCAL,
                Token::Other => {}
                _ => return None,
            }
        }
    }

    fn explain(&mut self) -> Option<()> {
        match self.lexer.token()? {
            Token::Word(word) if word.key == ANALYZE => self.prelude(),
            Token::End | Token::Semicolon | Token::Executable => None,
            _ => self.rest(Place::Expressions),
        }
    }

    /// DDL, or (MariaDB) the execution of a statement.
    fn analyze(&mut self) -> Option<()> {
        let mut ahead = self.lexer.clone();
        match ahead.word()?.key {
            SELECT | INSERT | REPLACE | UPDATE | DELETE | WITH | FORMAT | VALUES => self.prelude(),
            _ => self.commits(Place::Names),
        }
    }

    /// What stands before the verb of the statement, and all of that. A statement whose verb is not seen (it may be in parentheses)
    /// is a query or changes rows.
    fn prelude(&mut self) -> Option<()> {
        self.rest(Place::Prelude)
    }

    fn create(&mut self) -> Option<()> {
        let mut word = self.lexer.word()?;
        if word.key == OR {
            self.lexer.word()?;
            word = self.lexer.word()?;
        }
        self.temporary(word)
    }

    fn drop(&mut self) -> Option<()> {
        let word = self.lexer.word()?;
        match word.key {
            PREPARE => None,
            // It may be the session's own.
            DATABASE | SCHEMA => self.session(Self::commits, Place::Names),
            _ => self.temporary(word),
        }
    }

    /// Temporary tables come and go without a commit, and stay in the session.
    fn temporary(&mut self, word: Word<'_>) -> Option<()> {
        if word.is("TEMPORARY") && self.lexer.word()?.key == TABLE {
            self.session(Self::writes, Place::Names)
        } else {
            self.commits(Place::Names)
        }
    }

    /// MariaDB's `BEGIN NOT ATOMIC` contains statements.
    fn begin(&mut self) -> Option<()> {
        self.at_least(Effect::Commits);
        loop {
            match self.lexer.token()? {
                Token::Word(word) if word.key == WORK => {}
                Token::Semicolon => return self.end(),
                Token::End => return Some(()),
                _ => return None,
            }
        }
    }

    /// SET of variables does not commit. Of `autocommit`, passwords and roles it does, in any place of the list.
    fn set(&mut self) -> Option<()> {
        self.kind.session = true;
        let mut empty = true;
        loop {
            match self.lexer.token()? {
                Token::Word(word) => match word.key {
                    PASSWORD | ROLE | RESOURCE => self.at_least(Effect::Commits),
                    DEFAULT if empty => self.at_least(Effect::Commits),
                    _ if word.is("AUTOCOMMIT") || word.is("AUTHORIZATION") => self.at_least(Effect::Commits),
                    _ if empty && word.is("STATEMENT") => return None,
                    _ => {
                        self.word(word, Place::Expressions);
                        self.before = word.key;
                    }
                },
                Token::Variable(name) if names_autocommit(name) => self.at_least(Effect::Commits),
                Token::Name(name) => {
                    if names_autocommit(name) || name.eq_ignore_ascii_case(b"PASSWORD") {
                        self.at_least(Effect::Commits);
                    }
                    self.name(Place::Expressions);
                }
                Token::Executable => return None,
                Token::End | Token::Semicolon if empty => return None,
                Token::End => return Some(()),
                Token::Semicolon => return self.end(),
                Token::Variable(_) | Token::Assign | Token::Open | Token::Close | Token::Other => self.before = 0,
            }
            empty = false;
        }
    }

    /// The rest of a statement whose first words are known.
    fn rest(&mut self, mut place: Place) -> Option<()> {
        loop {
            match self.lexer.token()? {
                Token::Other | Token::Open => self.before = 0,
                Token::Close => self.before = CLOSE,
                Token::Word(word) => {
                    place = self.word(word, place);
                    self.before = word.key;
                }
                Token::Name(_) => {
                    self.name(place);
                    self.before = 0;
                }
                Token::Variable(_) => {
                    // SELECT … INTO @a, and a variable in the list of LOAD DATA.
                    self.kind.session |= self.before == INTO || self.loads;
                    self.before = 0;
                }
                Token::Assign => self.kind.session = true,
                Token::Executable => {
                    // Executed or not, by the server's version. With these verbs outside of it neither makes another statement of it.
                    if self.kind.may_commit() || matches!(place, Place::Prelude | Place::Names) {
                        return None;
                    }
                    self.at_least(Effect::Writes);
                    self.kind.session = true;
                }
                Token::Semicolon => {
                    self.end()?;
                    break;
                }
                Token::End => break,
            }
        }
        if place == Place::Prelude {
            self.at_least(Effect::Writes);
        }
        Some(())
    }

    /// Behind a semicolon nothing may follow but more of them.
    fn end(&mut self) -> Option<()> {
        self.lexer.several = true;
        loop {
            match self.lexer.token()? {
                Token::Semicolon => {}
                Token::End => return Some(()),
                _ => return None,
            }
        }
    }

    /// Where the text is read behind this word.
    #[inline]
    fn word(&mut self, word: Word<'_>, place: Place) -> Place {
        self.stored_elsewhere();
        let mut place = place;
        match word.key {
            UPDATE | SHARE if self.before == FOR => self.locks = true,
            MODE if self.before == SHARE => self.locks = true,
            NOWAIT => self.kind.nowait |= self.locks,
            LOCKED if self.before == SKIP => self.kind.nowait |= self.locks,
            NEXTVAL => self.sequence(),
            VALUE if self.before == NEXT => self.sequence(),
            SELECT | INSERT | REPLACE | UPDATE | DELETE | VALUES | VALUE | TABLE | SET | WITH => place = self.verb(word, place),
            0 => self.kind.returning |= word.is("RETURNING"),
            _ => self.kind.nowait |= self.before == WAIT && self.locks && word.is_number(),
        }
        if self.calls(place)
            && let Some(space) = self.lexer.opens()
        {
            // MATCH (…) AGAINST (…): a function's name does not follow a parenthesis.
            let match_against = self.before == CLOSE && word.key == AGAINST;
            self.called(match (match_against, word.qualified) {
                (true, _) => Call::Harmless,
                (false, true) => Call::Unknown,
                (false, false) => functions::call(word.text(), lexer::key(word.text()), space == Space::Without),
            });
        }
        place
    }

    fn verb(&mut self, word: Word<'_>, place: Place) -> Place {
        match (place, word.key) {
            (Place::Target, SELECT | VALUES | VALUE | SET | TABLE | WITH) => Place::Expressions,
            (Place::Prelude, SELECT | VALUES | TABLE) if self.lexer.depth == 0 => Place::Expressions,
            (Place::Prelude, INSERT | REPLACE) if self.lexer.depth == 0 => {
                self.at_least(Effect::Writes);
                Place::Target
            }
            (Place::Prelude, UPDATE | DELETE) if self.lexer.depth == 0 => {
                self.at_least(Effect::Writes);
                Place::Expressions
            }
            // CREATE TABLE … SELECT.
            (Place::Names, SELECT) => Place::Expressions,
            _ => place,
        }
    }

    /// A name in quotes.
    fn name(&mut self, place: Place) {
        self.stored_elsewhere();
        if self.calls(place) && self.lexer.opens().is_some() {
            self.called(Call::Unknown);
        }
    }

    /// Whether a name in front of a parenthesis is a function's.
    fn calls(&self, place: Place) -> bool {
        place == Place::Expressions || place == Place::Prelude && self.lexer.depth > 0
    }

    fn called(&mut self, call: Call) {
        match call {
            Call::Harmless => {}
            Call::Session => self.kind.session = true,
            Call::Unknown => {
                self.kind.session = true;
                self.at_least(Effect::Writes);
            }
        }
    }

    /// What follows INTO and is no variable: OUTFILE, DUMPFILE, or a variable of a stored procedure.
    fn stored_elsewhere(&mut self) {
        if self.before == INTO && self.kind.effect == Effect::Reads {
            self.kind.session = true;
            self.at_least(Effect::Writes);
        }
    }

    /// A sequence of MariaDB's is changed, and its last value is the session's.
    fn sequence(&mut self) {
        self.called(Call::Unknown);
    }
}

/// Whether a text that is not understood is a single statement that the server executes as a whole, or refuses as a whole.
fn is_one_statement(mut lexer: Lexer<'_>) -> bool {
    let first = loop {
        match lexer.token() {
            Some(Token::Open) => {}
            Some(Token::Word(word)) => break word,
            _ => return false,
        }
    };
    // SET STATEMENT … FOR, and BEGIN NOT ATOMIC. MariaDB's IF, LOOP and so on have semicolons.
    if matches!(first.key, CALL | EXECUTE | BEGIN | SET) {
        return false;
    }
    let mut ended = false;
    loop {
        match lexer.token() {
            Some(Token::End) => return true,
            Some(Token::Semicolon) => ended = true,
            Some(Token::Executable) | None => return false,
            Some(_) if ended => return false,
            Some(_) => {}
        }
    }
}

fn names_autocommit(name: &[u8]) -> bool {
    const AUTOCOMMIT: &[u8] = b"AUTOCOMMIT";
    name.len() >= AUTOCOMMIT.len() && name[name.len() - AUTOCOMMIT.len()..].eq_ignore_ascii_case(AUTOCOMMIT)
}

fn mentions_infile(sql: &[u8]) -> bool {
    sql.windows(6).any(|window| window.eq_ignore_ascii_case(b"INFILE"))
}
