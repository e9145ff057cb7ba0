//! The reference model: what the promise allows, over maps.
//!
//! It walks the tree of a body together with what the body was told, and keeps every state that the database can be in if all of that is
//! true (a *line*). A reply that no line explains, and a database that is in none of the states left at the end, break the promise.

#[cfg(test)]
mod tests;

use db_core::ErrorKind;

use crate::program::{Call, Ddl, How, Node, Procedure, Program, Statement, Value};
use crate::run::{Event, On, Seen, Told};
use crate::site::{Tables, World};
use crate::sql::{literal, note};

/// How the promise was broken, in which call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Broken {
    pub(crate) call: usize,
    pub(crate) rule: &'static str,
    pub(crate) detail: String,
}

type Checked<T> = Result<T, (&'static str, String)>;

/// What a body has done to its session. It ends with the attempt.
#[derive(Clone, Debug, PartialEq)]
struct Session {
    archive: bool,
    variable: Option<u32>,
    lenient: bool,
    autocommit: bool,
    /// A transaction was begun in spite of it.
    explicit: bool,
    completion: u8,
    read_only: bool,
    /// In each of the two databases.
    temporary: [bool; 2],
    lock: bool,
    tables_locked: bool,
    /// Whether it was prepared for the archive.
    prepared: Option<bool>,
}

impl Session {
    const NEW: Self = Self {
        archive: false,
        variable: None,
        lenient: false,
        autocommit: false,
        explicit: false,
        completion: 0,
        read_only: false,
        temporary: [false; 2],
        lock: false,
        tables_locked: false,
        prepared: None,
    };

    fn commits_each_statement(&self) -> bool {
        self.autocommit && !self.explicit
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Mark {
    open: World,
    hooks: usize,
    statements: u32,
    piece: u32,
    /// The transaction that the savepoint belongs to has not ended.
    valid: bool,
    rollback_only: bool,
    join_failed: bool,
}

/// One state of an open transaction, and of what is committed beside it.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    /// What was committed when the transaction began.
    before: World,
    durable: World,
    open: World,
    session: Session,
    marks: Vec<Mark>,
    /// What the body's own savepoint keeps, and how many nested calls it was set in.
    savepoint: Option<(World, usize)>,
    /// The body went back to it from inside of a nested call that began later: that one's savepoint is gone, and what the library knew its
    /// transaction by may be.
    went_back: bool,
    hooks: Vec<(On, u32)>,
    /// Statements that reached the server, and those that changed a table.
    statements: u32,
    writes: u32,
    /// Writes since the body has ended the transaction, and how many pieces with writes it has ended.
    piece: u32,
    pieces: u32,
    /// It did so with writes of other statements before it.
    torn: bool,
    /// A statement that may have ended the transaction was sent.
    unclear: bool,
    /// The statements up to here may be refused: the transaction was begun READ ONLY.
    read_only: bool,
    /// The session was made READ ONLY, which holds for this transaction if no statement had begun it.
    perhaps_read_only: bool,
    /// The body was told that the transaction is lost, or must be.
    doomed: bool,
    /// The body ended the transaction itself.
    ended: bool,
    /// All that the body was told has been done is there.
    whole: bool,
    rollback_only: bool,
    join_failed: bool,
    /// A panic on the way out of a nested call: nothing more may be committed.
    interrupted: bool,
    row_panic: bool,
    /// The conversion of the library's error panics.
    poisoned: bool,
    /// The connection may be closed by the body's own doing.
    loose: bool,
}

/// What may have gone wrong outside.
#[derive(Clone, Copy)]
struct Outside {
    fault: bool,
    rival: bool,
    ledger: bool,
    /// The fault meets one request alone.
    once: bool,
}

impl Outside {
    fn explains(self, kind: ErrorKind) -> bool {
        self.fault && matches!(kind, ErrorKind::ConnectionLost | ErrorKind::ConnectFailed | ErrorKind::Unavailable)
            || self.rival && matches!(kind, ErrorKind::Deadlock | ErrorKind::LockWaitTimeout)
    }
}

/// How a block ended.
#[derive(Clone, Debug, PartialEq)]
enum Flow {
    Done,
    Failed(Told),
    Panicked,
}

impl Line {
    fn new(durable: World, read_only: bool) -> Self {
        Self {
            before: durable.clone(),
            open: durable.clone(),
            durable,
            session: Session::NEW,
            marks: Vec::new(),
            savepoint: None,
            went_back: false,
            hooks: Vec::new(),
            statements: 0,
            writes: 0,
            piece: 0,
            pieces: 0,
            torn: false,
            unclear: false,
            read_only,
            perhaps_read_only: false,
            doomed: false,
            ended: false,
            whole: true,
            rollback_only: false,
            join_failed: false,
            interrupted: false,
            row_panic: false,
            poisoned: false,
            loose: false,
        }
    }

    fn tables(&mut self) -> &mut Tables {
        &mut self.open.0[usize::from(self.session.archive)]
    }

    fn write(&mut self, change: impl FnOnce(&mut Tables)) {
        change(self.tables());
        self.writes += 1;
        self.piece += 1;
    }

    fn add(&mut self, id: u8, by: i64) {
        self.write(|tables| *tables.accounts.entry(id).or_default() += by);
    }

    fn ends_transaction(&mut self) {
        self.ended = true;
        self.pieces += u32::from(self.piece > 0);
        self.piece = 0;
        self.session.explicit = false;
        self.savepoint = None;
        self.read_only = self.session.read_only;
        self.marks.iter_mut().for_each(|mark| mark.valid = false);
        self.loose |= self.session.completion == 2;
    }

    fn commits(&mut self) {
        self.durable = self.open.clone();
        self.ends_transaction();
    }

    fn rolls_back(&mut self) {
        self.open = self.durable.clone();
        self.ends_transaction();
    }

    /// The server has rolled back, and the body does not know.
    fn lost_unseen(&self) -> Self {
        let mut lost = self.clone();
        lost.open = lost.durable.clone();
        lost.whole = false;
        lost.savepoint = None;
        lost.session.explicit = false;
        for mark in &mut lost.marks {
            mark.open = lost.durable.clone();
            mark.valid = false;
        }
        lost
    }

    fn lost(&self) -> Self {
        Self { doomed: true, open: self.durable.clone(), ..self.clone() }
    }

    /// The states in which the statement may have left this one, given what the body was told.
    fn step(&self, statement: &Statement, how: How, told: &Told, outside: Outside) -> Vec<Self> {
        if matches!(statement, Statement::Reenter) {
            return if is_err(told, ErrorKind::AlreadyInTransaction) { vec![self.clone()] } else { Vec::new() };
        }
        if matches!(statement, Statement::ExecutePrepared(_)) && self.session.prepared.is_none() {
            return if matches!(told, Told::Ok(_)) { vec![self.clone()] } else { Vec::new() };
        }
        if self.doomed {
            return if matches!(told, Told::Err { .. }) { vec![self.clone()] } else { Vec::new() };
        }
        let mut lines = Vec::new();
        let mut after = self.clone();
        after.statements += 1;
        let ended_before = std::mem::take(&mut after.ended);
        let expected = after.apply(statement, how);
        after.torn |= after.ended && self.piece > 0;
        after.ended |= ended_before;
        // What was refused as no SQL has ended nothing; what was not answered may be anything.
        after.unclear |= may_end(statement) || *statement == Statement::Nonsense && !matches!(told, Told::Err { code: Some(1064), .. });
        if after.session.commits_each_statement() {
            after.pieces += u32::from(after.piece > 0);
            after.piece = 0;
            after.savepoint = None;
            after.durable = after.open.clone();
            after.marks.iter_mut().for_each(|mark| mark.valid = false);
        }
        if let Told::Err { kind, .. } = told
            && (outside.explains(*kind) || after.loose && *kind == ErrorKind::ConnectionLost)
        {
            let mut lost = self.lost();
            lost.statements += 1;
            lost.loose |= after.loose;
            // What it may have committed, it may have committed.
            if after.durable != self.durable {
                lines.push(Self { durable: after.durable.clone(), ended: true, ..lost.clone() });
            }
            // Where each row commits itself, those before the fault are there.
            if let Statement::Items { rows, .. } = statement
                && self.session.commits_each_statement()
            {
                let mut some = self.clone();
                for (k, v) in rows {
                    if some.tables().items.insert(*k, stored(v)).is_some() {
                        break;
                    }
                    lines.push(Self { durable: some.open.clone(), ended: true, ..lost.clone() });
                }
            }
            lost.ended |= after.ended;
            lost.unclear |= after.unclear;
            lines.push(lost);
        }
        // MySQL closes the connection in the middle of a procedure that commits with RELEASE, and says that the CALL was interrupted.
        if after.loose && matches!(statement, Statement::Call { .. }) && matches!(told, Told::Err { code: Some(1317), .. }) {
            lines.push(after.clone());
        }
        let deadlock_unseen = outside.rival
            && statement.conflicts()
            && (how.raw() || how == How::RowPanic || matches!(statement, Statement::Call { .. } | Statement::Compound { .. }));
        let fits = match (&expected, told) {
            (Expected::Ok(None), Told::Ok(None)) => true,
            (Expected::Ok(Some(wanted)), Told::Ok(Some(seen))) => wanted == seen,
            (Expected::Code(codes), Told::Err { code: Some(code), .. }) => codes.contains(code),
            (Expected::Panic, Told::Panicked) => true,
            // Not worked out: either it was done, or it was not.
            (Expected::Any, Told::Err { code: Some(_), .. }) => {
                let mut refused = self.clone();
                refused.statements += 1;
                if may_end(statement) {
                    let mut committed = refused.clone();
                    committed.commits();
                    lines.push(committed);
                }
                lines.push(refused);
                // A CALL that fails keeps what it did before.
                if matches!(statement, Statement::Call { .. } | Statement::Compound { .. } | Statement::Several(_)) {
                    lines.push(after.clone());
                }
                false
            }
            (Expected::Any, Told::Ok(_)) => true,
            (Expected::Any, Told::Panicked) => how == How::RowPanic,
            _ => false,
        };
        if let (Statement::Items { rows, .. }, true, true) = (statement, fits, matches!(expected, Expected::Code(_))) {
            // After a refused row of a batch the servers differ: nothing of the batch is there, or what came before.
            let mut before = self.clone();
            before.statements += 1;
            lines.push(before.clone());
            for (k, v) in rows {
                if before.tables().items.contains_key(k) {
                    break;
                }
                before.write(|tables| _ = tables.items.insert(*k, stored(v)));
                if before.session.commits_each_statement() {
                    before.durable = before.open.clone();
                }
                lines.push(before.clone());
            }
            // The batch is undone by a savepoint of its own. If the way back meets the fault, or if each row has committed itself, the body
            // is told the refusal, and the transaction is lost.
            if rows.len() > 1 && (outside.fault || before.session.commits_each_statement()) {
                let ended = before.session.commits_each_statement();
                let lost = lines.iter().map(|line| Self { ended: line.ended || ended, ..line.lost() }).collect::<Vec<_>>();
                lines.extend(lost);
            }
            return lines;
        }
        if fits {
            if deadlock_unseen {
                lines.push(self.deadlock_in(statement));
            }
            lines.push(after);
        }
        lines
    }

    /// The transaction was rolled back in the middle of the statement, which did not say so.
    fn deadlock_in(&self, statement: &Statement) -> Self {
        let mut lost = self.lost_unseen();
        lost.statements += 1;
        if let Statement::Call { id, by, .. } | Statement::Compound { id, by, .. } = statement {
            lost.add(*id, *by);
            if lost.session.commits_each_statement() {
                lost.durable = lost.open.clone();
            }
        }
        lost
    }

    /// Does what the statement does, and says what the body is then told.
    fn apply(&mut self, statement: &Statement, how: How) -> Expected {
        let answers_alike = matches!(statement, Statement::Probe | Statement::Nonsense | Statement::Read);
        let simple = matches!(
            statement,
            Statement::Add { .. }
                | Statement::Note(_)
                | Statement::Nine { .. }
                | Statement::Ten { .. }
                | Statement::Read
                | Statement::Probe
                | Statement::SetVariable(..)
                | Statement::CompletionType(_)
                | Statement::Use { .. }
                | Statement::LenientMode
                | Statement::Nonsense
                | Statement::SessionReadOnly
                | Statement::GetLock
        );
        let answer = if self.session.tables_locked || self.read_only && !simple || self.perhaps_read_only && !answers_alike {
            Some(Expected::Any)
        } else {
            None
        };
        if self.read_only
            && matches!(statement, Statement::Add { .. } | Statement::Note(_) | Statement::Nine { .. } | Statement::Ten { .. })
        {
            return Expected::Code(&[1792]);
        }
        let expected = match statement {
            Statement::Add { id, by } => {
                self.add(*id, *by);
                Expected::OK
            }
            Statement::Nine { by } => {
                self.add(9, *by);
                Expected::OK
            }
            Statement::Ten { by } => {
                self.add(10, *by);
                Expected::OK
            }
            Statement::Note(n) => {
                self.note(note(*n));
                Expected::OK
            }
            Statement::Item(k) => {
                if self.tables().items.contains_key(k) {
                    Expected::Code(&[1062])
                } else {
                    self.write(|tables| _ = tables.items.insert(*k, Some("one".into())));
                    Expected::OK
                }
            }
            Statement::Items { rows, .. } => {
                for (k, v) in rows {
                    if self.tables().items.contains_key(k) {
                        return answer.unwrap_or(Expected::Code(&[1062]));
                    }
                    self.write(|tables| _ = tables.items.insert(*k, stored(v)));
                }
                Expected::OK
            }
            Statement::Read | Statement::ReadLocking | Statement::TenLocking => {
                if how == How::RowPanic {
                    self.row_panic = true;
                    Expected::Panic
                } else {
                    Expected::OK
                }
            }
            Statement::Nonsense => Expected::Code(&[1064]),
            Statement::Several(all) => {
                let mut expected = Expected::OK;
                for (position, each) in all.iter().enumerate() {
                    match self.apply(each, How::Drop) {
                        Expected::Any => expected = Expected::Any,
                        Expected::Ok(_) if self.session.commits_each_statement() => self.durable = self.open.clone(),
                        Expected::Ok(_) => {}
                        // The rest of the text is not executed; a raw result hides an error behind its first reply.
                        _ if matches!(expected, Expected::Any) => return expected,
                        _ if position > 0 && how.raw() => return Expected::OK,
                        refused => return refused,
                    }
                }
                expected
            }
            Statement::Ddl(Ddl::Temporary) => Expected::OK,
            Statement::Ddl(ddl) => {
                self.commits();
                if *ddl == Ddl::DropMissing { Expected::Code(&[1051]) } else { Expected::OK }
            }
            Statement::Commit | Statement::Begin => {
                self.commits();
                self.session.explicit = *statement == Statement::Begin;
                // MySQL begins one that may write in a session that was made READ ONLY in the transaction before.
                if *statement == Statement::Begin {
                    self.perhaps_read_only |= std::mem::take(&mut self.read_only);
                }
                Expected::OK
            }
            Statement::Rollback => {
                self.rolls_back();
                Expected::OK
            }
            Statement::Call { procedure, id, by } | Statement::Compound { procedure, id, by } => match procedure {
                Procedure::Plain => {
                    self.add(*id, *by);
                    Expected::OK
                }
                Procedure::Pay => {
                    self.add(*id, *by);
                    self.commits();
                    Expected::OK
                }
                Procedure::Undo => {
                    if self.session.commits_each_statement() {
                        self.add(*id, *by);
                        self.durable = self.open.clone();
                    }
                    self.rolls_back();
                    Expected::OK
                }
                Procedure::Failing => {
                    self.add(*id, *by);
                    if how.raw() { Expected::OK } else { Expected::Code(&[1644]) }
                }
                Procedure::Assign => Expected::OK,
                Procedure::Swallow => {
                    self.add(9, *by);
                    self.add(10, *by);
                    self.add(*id, *by);
                    Expected::OK
                }
            },
            Statement::Use { archive } => {
                self.session.archive = *archive;
                Expected::OK
            }
            Statement::SetVariable(_, n) => {
                self.session.variable = Some(*n);
                Expected::OK
            }
            Statement::SetVariableAndPassword(n) => {
                self.session.variable = Some(*n);
                self.commits();
                Expected::OK
            }
            Statement::LenientMode => {
                self.session.lenient = true;
                Expected::OK
            }
            Statement::Autocommit => {
                if !self.session.autocommit {
                    self.session.autocommit = true;
                    self.commits();
                    // Each statement is a transaction now. On MariaDB it is one that may write.
                    self.perhaps_read_only |= std::mem::take(&mut self.read_only);
                }
                Expected::OK
            }
            Statement::CompletionType(n) => {
                self.session.completion = *n;
                Expected::OK
            }
            Statement::SessionReadOnly => {
                self.session.read_only = true;
                self.perhaps_read_only = true;
                Expected::OK
            }
            // Refused if the transaction has begun.
            Statement::TransactionReadOnly => {
                self.perhaps_read_only = true;
                return Expected::Any;
            }
            Statement::Savepoint => {
                self.savepoint = Some((self.open.clone(), self.marks.len()));
                Expected::OK
            }
            Statement::BackToSavepoint => match self.savepoint.clone() {
                Some((open, marks)) => {
                    self.open = open;
                    self.went_back |= self.marks.len() > marks;
                    self.marks.iter_mut().skip(marks).for_each(|mark| mark.valid = false);
                    Expected::OK
                }
                None => Expected::Code(&[1305]),
            },
            Statement::NoteVariable(n) => {
                let value = self.session.variable.map_or("NULL".into(), |value| value.to_string());
                self.note(format!("note {n}: {value}"));
                Expected::OK
            }
            Statement::Tight(n) => {
                if self.session.lenient {
                    self.write(|tables| {
                        tables.tight.push((*n, 127));
                        tables.tight.sort_unstable();
                    });
                    Expected::OK
                } else {
                    Expected::Code(&[1264])
                }
            }
            Statement::CreateTemporary => {
                let there = std::mem::replace(&mut self.session.temporary[usize::from(self.session.archive)], true);
                if there { Expected::Code(&[1050]) } else { Expected::OK }
            }
            Statement::NoteTemporary(n) => {
                if !self.session.temporary[usize::from(self.session.archive)] {
                    return answer.unwrap_or(Expected::Code(&[1146]));
                }
                self.note(format!("note {n}: 0"));
                Expected::OK
            }
            Statement::GetLock => {
                self.session.lock = true;
                Expected::OK
            }
            Statement::LockTables => {
                self.commits();
                self.session.tables_locked = true;
                Expected::OK
            }
            Statement::Probe => {
                let Session { archive, variable, lenient, autocommit, completion, lock, read_only, .. } = self.session;
                let completion = ["NO_CHAIN", "CHAIN", "RELEASE"][usize::from(completion)];
                let variable = variable.map_or("NULL".into(), |value| value.to_string());
                return Expected::Ok(Some(format!(
                    "{} {variable} {} {} {completion} {} {}",
                    u8::from(archive),
                    u8::from(lenient),
                    u8::from(autocommit),
                    u8::from(lock),
                    u8::from(read_only)
                )));
            }
            Statement::Prepare => {
                self.session.prepared = Some(self.session.archive);
                Expected::OK
            }
            Statement::ExecutePrepared(n) => {
                // Into the database that was the default one when it was prepared.
                let now = self.session.archive;
                self.session.archive = self.session.prepared.unwrap_or(now);
                self.note(note(*n));
                self.session.archive = now;
                Expected::OK
            }
            Statement::EvictPrepared => {
                self.statements += 32;
                Expected::OK
            }
            Statement::Reenter => Expected::OK,
        };
        answer.unwrap_or(expected)
    }

    fn note(&mut self, text: String) {
        self.write(|tables| {
            tables.notes.push(text);
            tables.notes.sort();
        });
    }

    fn enter(&mut self) {
        self.marks.push(Mark {
            open: self.open.clone(),
            hooks: self.hooks.len(),
            statements: self.statements,
            piece: self.piece,
            valid: !self.session.commits_each_statement(),
            rollback_only: std::mem::take(&mut self.rollback_only),
            join_failed: self.join_failed,
        });
    }

    /// The states after a nested call has ended, given what its caller was told.
    fn leave(mut self, join: bool, flow: &Flow, told: &Told, outside: Outside) -> Vec<Self> {
        let Some(mark) = self.marks.pop() else { return Vec::new() };
        let undone = *flow != Flow::Done || self.rollback_only;
        self.savepoint.take_if(|(_, marks)| undone && !join && *marks > self.marks.len());
        if let Some((_, marks)) = &mut self.savepoint {
            *marks = self.marks.len().min(*marks);
        }
        self.rollback_only = mark.rollback_only;
        if undone {
            self.hooks.truncate(mark.hooks);
            if !join {
                self.join_failed = mark.join_failed;
            }
            if join {
                self.join_failed = true;
            } else if self.statements > mark.statements && !self.doomed {
                self.open = mark.open;
                self.piece = mark.piece;
                self.doomed = !mark.valid;
            }
        }
        let fits = match (flow, told) {
            // A body that asked for the rollback gets its `Ok`; the transaction ends in an error.
            (Flow::Done, Told::Ok(_)) => !self.doomed || undone,
            (Flow::Done, Told::Err { .. }) => self.doomed,
            (Flow::Done, Told::Panicked) => self.doomed && self.poisoned,
            (Flow::Failed(error), told) => error == told || matches!((error, told), (Told::Poisoned, Told::Panicked)),
            (Flow::Panicked, Told::Panicked) => true,
            _ => false,
        };
        let mut lines = Vec::new();
        // ROLLBACK TO SAVEPOINT may meet the fault as well.
        if undone
            && !join
            && outside.fault
            && (fits || matches!(told, Told::Err { kind, .. } if outside.explains(*kind)) || self.poisoned && *told == Told::Panicked)
        {
            lines.push(self.lost());
        }
        // A panic on the way out of the call: the call is undone, or else nothing of the transaction is committed.
        if *flow == Flow::Failed(Told::Poisoned) && *told == Told::Panicked {
            let mut interrupted = self.lost();
            interrupted.interrupted = true;
            lines.push(interrupted);
        }
        if fits {
            // To its caller the call has failed: its hooks may be gone with it. Also if the conversion of the error has panicked.
            if !matches!(told, Told::Ok(_)) && self.hooks.len() > mark.hooks {
                let mut without = self.clone();
                without.hooks.truncate(mark.hooks);
                lines.push(without);
            }
            lines.push(self);
        }
        lines
    }

    /// What may be in the database after the transaction has ended so, and which hooks have run.
    fn end(&self, flow: &Flow, told: &Told, outside: Outside) -> Vec<(World, Ran)> {
        let undone = || {
            vec![(
                self.durable.clone(),
                if self.ended || self.unclear && (self.doomed || outside.fault || outside.rival) {
                    Ran::Unclear
                } else {
                    self.ran(On::Rollback)
                },
            )]
        };
        let done = || vec![(self.open.clone(), self.ran(On::Commit))];
        let kind = match told {
            Told::Err { kind, .. } => Some(*kind),
            _ => None,
        };
        match flow {
            // The library has asked the body's error, or has made it of one that began a retry: a panic is a rollback.
            Flow::Failed(error) if *told == Told::Panicked && (*error == Told::Poisoned || self.poisoned && outside.fault) => undone(),
            Flow::Failed(error) => {
                if error == told {
                    undone()
                } else {
                    Vec::new()
                }
            }
            Flow::Panicked => {
                if *told == Told::Panicked {
                    undone()
                } else {
                    Vec::new()
                }
            }
            Flow::Done => {
                let mut ends = Vec::new();
                if let Some(kind) = kind {
                    let lost = (self.doomed || !self.whole || outside.fault) && (outside.explains(kind))
                        || self.loose && kind == ErrorKind::ConnectionLost;
                    let ended = self.ended && (self.writes > 0 || self.doomed || self.statements > 0) && kind == ErrorKind::ImplicitCommit
                        // A lost transaction behind which a statement of several committed.
                        || !self.whole && kind == ErrorKind::ImplicitCommit;
                    let ended = ended || self.went_back && kind == ErrorKind::ImplicitCommit;
                    let refused = (self.join_failed || self.row_panic || self.interrupted) && kind == ErrorKind::RollbackOnly;
                    // The ledger's row cannot be written while the body's LOCK TABLES holds.
                    let code = if let Told::Err { code, .. } = told { *code } else { None };
                    let ledger_refused = outside.ledger && self.session.tables_locked && code == Some(1100);
                    // A rollback that the body asked for: a statement that may have committed was not answered. Its caller must not get the
                    // `Ok` of a body of which nothing was done.
                    let unanswered =
                        self.rollback_only && (self.doomed || outside.fault) && self.unclear && kind == ErrorKind::ImplicitCommit;
                    if lost || ended || refused || ledger_refused || unanswered {
                        ends.extend(undone());
                    }
                    // What ended it, and how, is not known.
                    if kind == ErrorKind::ImplicitCommit {
                        ends.iter_mut().for_each(|(_, ran)| *ran = Ran::Unclear);
                    }
                    // The server has closed the connection after the body's own RELEASE, and the library learned of it at COMMIT only.
                    if kind == ErrorKind::CommitUnknown && self.loose && !outside.ledger {
                        ends.push((self.durable.clone(), Ran::None));
                    }
                    if kind == ErrorKind::CommitUnknown && outside.fault && !outside.ledger && !self.doomed {
                        ends.push((self.durable.clone(), Ran::None));
                        ends.push((self.open.clone(), Ran::None));
                    }
                    return ends;
                }
                if *told == Told::Panicked
                    && self.poisoned
                    && (outside.fault || outside.rival || self.doomed || self.ended || self.went_back || self.join_failed || self.row_panic)
                {
                    let mut ends = vec![(self.durable.clone(), Ran::Unclear)];
                    // It may have been a `CommitUnknown`.
                    if outside.fault && !outside.ledger && !self.doomed {
                        ends.push((self.open.clone(), Ran::Unclear));
                    }
                    return ends;
                }
                if !matches!(told, Told::Ok(_)) {
                    return Vec::new();
                }
                // Its caller gets the `Ok` of a body that asked for the rollback itself.
                if (self.doomed || self.join_failed) && !self.rollback_only {
                    return Vec::new();
                }
                // In pieces it was not one transaction.
                let pieces = self.pieces + u32::from(self.piece > 0);
                let told_nothing_wrong = self.ended && (self.torn || pieces > 1) && !(self.rollback_only && self.durable == self.before);
                if !self.whole && !self.rollback_only || told_nothing_wrong {
                    return Vec::new();
                }
                if self.rollback_only { undone() } else { done() }
            }
        }
    }

    fn ran(&self, on: On) -> Ran {
        Ran::Exactly(self.hooks.iter().filter(|(hook, _)| *hook == on).copied().collect())
    }
}

/// Which hooks have run.
#[derive(Clone, Debug, PartialEq)]
enum Ran {
    Exactly(Vec<(On, u32)>),
    None,
    /// Those for a rollback, or none: the body ended the transaction itself.
    Unclear,
}

impl Ran {
    fn admits(&self, hooks: &[(On, u32)]) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == hooks,
            Self::None => hooks.is_empty(),
            Self::Unclear => hooks.iter().all(|(on, _)| *on == On::Rollback),
        }
    }
}

/// What a statement's reply must be.
enum Expected {
    Ok(Option<String>),
    Code(&'static [u16]),
    Panic,
    Any,
}

impl Expected {
    const OK: Self = Self::Ok(None);
}

fn plain(block: &[Node]) -> bool {
    block.iter().all(|node| match node {
        Node::Do { statement, how, .. } => {
            *how != How::RowPanic
                && matches!(
                    statement,
                    Statement::Add { .. }
                        | Statement::Note(_)
                        | Statement::Item(_)
                        | Statement::Read
                        | Statement::ReadLocking
                        | Statement::Nine { .. }
                        | Statement::Ten { .. }
                        | Statement::TenLocking
                )
        }
        Node::Nested { block, .. } => plain(block),
        Node::AfterCommit(_) | Node::AfterRollback(_) => true,
        _ => false,
    })
}

/// Whether the statement is of a kind that can end the transaction, so that a lost transaction may have been committed before.
fn may_end(statement: &Statement) -> bool {
    match statement {
        // The library does not look into a text of several statements: behind it, an end that was not seen may have been a commit.
        Statement::Several(_)
        | Statement::Call { .. }
        | Statement::Compound { .. }
        | Statement::Ddl(_)
        | Statement::Commit
        | Statement::Rollback
        | Statement::Begin
        | Statement::BackToSavepoint
        | Statement::SetVariable(..)
        | Statement::SetVariableAndPassword(_)
        | Statement::CreateTemporary
        | Statement::Autocommit
        | Statement::LockTables => true,
        _ => false,
    }
}

fn is_err(told: &Told, wanted: ErrorKind) -> bool {
    matches!(told, Told::Err { kind, .. } if *kind == wanted)
}

fn stored(value: &Value) -> Option<String> {
    (*value != Value::Null).then(|| literal(value))
}

/// Walks one call's events.
struct Walk<'s> {
    events: &'s [Event],
    outside: Outside,
}

impl<'s> Walk<'s> {
    fn next(&mut self) -> Checked<&'s Event> {
        let (first, rest) = self.events.split_first().ok_or_else(|| ("trace", "the events end too early".to_owned()))?;
        self.events = rest;
        Ok(first)
    }

    fn leaf(&mut self) -> Checked<&'s Told> {
        match self.next()? {
            Event::Leaf(told) => Ok(told),
            other => Err(("trace", format!("a statement's end was expected, not {other:?}"))),
        }
    }

    fn block(&mut self, block: &[Node], lines: &mut Vec<Line>) -> Checked<Flow> {
        for node in block {
            match node {
                Node::Do { statement, how, handled } => {
                    let told = self.leaf()?;
                    *lines = lines.iter().flat_map(|line| line.step(statement, *how, told, self.outside)).collect();
                    tidy(lines, || format!("{statement:?} by {how:?} ended in {told:?}"))?;
                    match told {
                        Told::Err { .. } if !handled => return Ok(Flow::Failed(told.clone())),
                        Told::Panicked if !handled => return Ok(Flow::Panicked),
                        _ => {}
                    }
                }
                Node::Nested { join, block, handled, .. } => {
                    let flow = match self.events.first() {
                        Some(Event::Enter) => {
                            self.next()?;
                            lines.iter_mut().for_each(Line::enter);
                            self.block(block, lines)?
                        }
                        _ => return Err(("reply", "a nested call did not run its body".into())),
                    };
                    let Event::Exit(told) = self.next()? else { return Err(("trace", "a nested call did not end".into())) };
                    *lines = std::mem::take(lines).into_iter().flat_map(|line| line.leave(*join, &flow, told, self.outside)).collect();
                    tidy(lines, || format!("a nested call whose body ended in {flow:?} ended in {told:?}"))?;
                    match told {
                        Told::Ok(_) => {}
                        Told::Panicked if !handled => return Ok(Flow::Panicked),
                        _ if !handled => return Ok(Flow::Failed(told.clone())),
                        _ => {}
                    }
                }
                Node::Other { fails, handled, notes, .. } => {
                    let told = self.leaf()?;
                    self.other(*fails, notes, told, lines)?;
                    if !matches!(told, Told::Ok(_)) && !handled {
                        return Ok(Flow::Failed(told.clone()));
                    }
                }
                Node::RollbackOnly => lines.iter_mut().for_each(|line| line.rollback_only = true),
                Node::AfterCommit(n) => lines.iter_mut().for_each(|line| line.hooks.push((On::Commit, *n))),
                Node::AfterRollback(n) => lines.iter_mut().for_each(|line| line.hooks.push((On::Rollback, *n))),
                Node::Fail { poisoned } => return Ok(Flow::Failed(if *poisoned { Told::Poisoned } else { Told::Own })),
                Node::PoisonFrom => lines.iter_mut().for_each(|line| line.poisoned = true),
                Node::Panic => return Ok(Flow::Panicked),
            }
        }
        Ok(Flow::Done)
    }

    fn other(&self, fails: bool, notes: &[u32], told: &Told, lines: &mut Vec<Line>) -> Checked<()> {
        let written = match told {
            Told::Ok(_) if !fails => &[true][..],
            Told::Own if fails => &[false],
            Told::Err { kind, .. } if self.outside.fault && self.outside.explains(*kind) => &[false],
            Told::Err { kind: ErrorKind::CommitUnknown, .. } if self.outside.fault && !self.outside.ledger && !fails => &[true, false],
            _ => return Err(("reply", format!("a call on the other database ended in {told:?}"))),
        };
        let mut after = Vec::new();
        for (line, written) in lines.iter().flat_map(|line| written.iter().map(move |written| (line, *written))) {
            let mut line = line.clone();
            if written {
                let marks = line.marks.iter_mut().map(|mark| &mut mark.open);
                let savepoint = line.savepoint.as_mut().map(|(world, _)| world);
                for world in marks.chain(savepoint).chain([&mut line.before, &mut line.durable, &mut line.open]) {
                    world.0[1].notes.extend(notes.iter().copied().map(note));
                    world.0[1].notes.sort();
                }
            }
            after.push(line);
        }
        *lines = after;
        Ok(())
    }
}

fn tidy(lines: &mut Vec<Line>, what: impl Fn() -> String) -> Checked<()> {
    let mut distinct: Vec<Line> = Vec::new();
    for line in lines.drain(..) {
        if !distinct.contains(&line) {
            distinct.push(line);
        }
    }
    *lines = distinct;
    if lines.is_empty() { Err(("reply", what())) } else { Ok(()) }
}

/// What the whole program was told, against the promise.
pub(crate) fn check(program: &Program, seen: &[Seen]) -> Result<(), Broken> {
    let mut before = World::new();
    for (number, (call, seen)) in program.calls.iter().zip(seen).enumerate() {
        let outside = Outside {
            fault: seen.fault,
            rival: seen.rival,
            ledger: program.ledger,
            once: program.fault.is_none_or(|fault| fault.times == 1),
        };
        check_call(call, outside, &before, seen).map_err(|(rule, detail)| Broken { call: number, rule, detail })?;
        before = seen.world.clone();
    }
    Ok(())
}

fn check_call(call: &Call, outside: Outside, before: &World, seen: &Seen) -> Checked<()> {
    if let Some(unplanned) = seen.events.iter().find_map(|event| match event {
        Event::Leaf(Told::Unplanned(text)) | Event::Exit(Told::Unplanned(text)) => Some(text),
        _ => None,
    }) {
        return Err(("panic", unplanned.clone()));
    }
    if let Told::Unplanned(text) = &seen.told {
        return Err(("panic", text.clone()));
    }
    if seen.left_open {
        return Err(("left open", format!("locks are still held after {}", brief(&seen.told))));
    }
    if let Some(late) = &seen.late {
        return Err(("late", format!("{} and later {late}, under {}", seen.world, brief(&seen.told))));
    }
    let mut walk = Walk { events: &seen.events, outside };
    let mut states: Vec<(World, Vec<Ran>)> = vec![(before.clone(), Vec::new())];
    let mut committed = false;
    let mut attempts = 0;
    let several = call.bodies.len() > 1 || call.retry && !call.attributes;
    loop {
        // What an attempt that is repeated has done must be nothing.
        let Some(event) = walk.events.first() else {
            if attempts == 0 && !matches!(&seen.told, Told::Err { kind, .. } if outside.fault && outside.explains(*kind)) {
                return Err(("reply", format!("no body ran, and the call ended in {:?}", seen.told)));
            }
            break;
        };
        if let Event::End(told) = event {
            // A transaction that could not begin.
            walk.next()?;
            if !matches!(told, Told::Err { kind, .. } if outside.fault && outside.explains(*kind)) {
                return Err(("reply", format!("a transaction whose body did not run ended in {told:?}")));
            }
            continue;
        }
        let Event::Begin(body) = walk.next()? else { return Err(("trace", format!("a body was expected to begin, not {event:?}"))) };
        if *body == 0 {
            attempts += 1;
            if attempts > 1 {
                // What it only may have done shows in the end.
                if committed || states.iter().all(|(world, _)| world != before) {
                    return Err(("done twice", "an attempt was repeated that has committed".into()));
                }
                states = vec![(before.clone(), Vec::new())];
            }
        }
        let mut lines: Vec<Line> = Vec::new();
        let mut ran = Vec::new();
        for (world, hooks) in &states {
            lines.push(Line::new(world.clone(), call.read_only));
            ran.push(hooks.clone());
        }
        let hooks = ran.first().cloned().unwrap_or_default();
        let flow = walk.block(&call.bodies[*body], &mut lines)?;
        let told = match walk.events.first() {
            Some(Event::End(told)) => {
                walk.next()?;
                Some(told)
            }
            None if !several => Some(&seen.told),
            _ => None,
        };
        let Some(told) = told else {
            // Repeated: by the attributes, which tell nobody how the attempt ended.
            committed = lines.iter().all(|line| line.durable != *before);
            states.truncate(1);
            if !outside.fault && !outside.rival {
                return Err(("repeated", format!("an attempt was repeated though nothing was wrong: {flow:?}")));
            }
            continue;
        };
        let mut ends: Vec<(World, Vec<Ran>)> = Vec::new();
        for line in &lines {
            for (world, ran) in line.end(&flow, told, outside) {
                let mut hooks = hooks.clone();
                hooks.push(ran);
                if !ends.contains(&(world.clone(), hooks.clone())) {
                    ends.push((world, hooks));
                }
            }
        }
        if ends.is_empty() {
            return Err(("reply", format!("a transaction whose body ended in {flow:?} ended in {}", brief(told))));
        }
        if let Told::Err { transient: true, kind, .. } = told
            && lines.iter().all(|line| states.iter().all(|(world, _)| line.durable != *world))
        {
            return Err(("transient", format!("{kind:?} is transient, and work was committed")));
        }
        states = ends;
    }
    // One fault, met by statements that change nothing but tables: the attempt can be repeated.
    if call.retry
        && attempts == 1
        && !several
        && outside.once
        && matches!(seen.told, Told::Err { transient: true, .. })
        && call.bodies.iter().all(|block| plain(block))
    {
        return Err(("not repeated", brief(&seen.told)));
    }
    if attempts > 3 {
        return Err(("repeated", format!("{attempts} attempts")));
    }
    let there: Vec<_> = states.iter().filter(|(world, _)| *world == seen.world).collect();
    if there.is_empty() {
        let mut allowed: Vec<String> = states.iter().map(|(world, _)| world.to_string()).collect();
        allowed.dedup();
        return Err(("state", format!("{} where {} is right, under {}", seen.world, allowed.join(" or "), brief(&seen.told))));
    }
    let matches = |ran: &[Ran]| {
        // Each transaction's hooks run when it ends, or, of one that is rolled back, when it is certain that it is not repeated.
        let exact: Option<Vec<(On, u32)>> = ran.iter().try_fold(Vec::new(), |mut all, ran| match ran {
            Ran::Exactly(hooks) => {
                all.extend(hooks.iter().copied());
                Some(all)
            }
            Ran::None => Some(all),
            Ran::Unclear => None,
        });
        match (ran, exact) {
            ([one], _) => one.admits(&seen.hooks),
            (_, Some(exact)) => {
                let sorted = |hooks: &[(On, u32)]| {
                    let mut numbers: Vec<u32> = hooks.iter().map(|(_, number)| *number).collect();
                    numbers.sort_unstable();
                    numbers
                };
                sorted(&exact) == sorted(&seen.hooks)
            }
            (_, None) => true,
        }
    };
    if there.iter().any(|(_, ran)| matches(ran)) {
        Ok(())
    } else {
        Err(("hooks", format!("{:?} ran, where {:?} were to, under {}", seen.hooks, there[0].1, brief(&seen.told))))
    }
}

fn brief(told: &Told) -> String {
    match told {
        Told::Ok(_) => "Ok".into(),
        Told::Err { kind, message, .. } => format!("{kind:?} ({message})"),
        other => format!("{other:?}"),
    }
}
