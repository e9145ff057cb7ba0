//! A random program, of a seed.

use std::time::Duration;

use db_testkit::{Action, Point};
use fastrand::Rng;

use crate::program::{Assign, Call, Ddl, Fault, How, Node, Procedure, Program, Statement, Value, any};

/// What programs are made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) mariadb: bool,
    /// By chance, if it is not said.
    pub(crate) ledger: Option<bool>,
}

/// What meets the program from outside.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Fault,
    Rival,
}

struct Generator {
    rng: Rng,
    mariadb: bool,
    trouble: Trouble,
    number: u32,
    /// What the program's statements are mostly about, so that two of a kind meet.
    theme: Theme,
    temporary: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Theme {
    Plain,
    Committing,
    Session,
    Batches,
    Anything,
}

pub(crate) fn generate(seed: u64, wanted: Wanted) -> Program {
    let mut rng = Rng::with_seed(seed);
    let trouble = match rng.u8(..10) {
        0..4 => Trouble::None,
        4..8 => Trouble::Fault,
        _ => Trouble::Rival,
    };
    let theme = [Theme::Plain, Theme::Committing, Theme::Session, Theme::Batches, Theme::Anything, Theme::Anything][rng.usize(..6)];
    let ledger = wanted.ledger.unwrap_or_else(|| rng.bool());
    let mut generator = Generator { rng, mariadb: wanted.mariadb, trouble, number: 0, theme, temporary: false };
    generator.program(ledger)
}

impl Generator {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    fn program(&mut self, ledger: bool) -> Program {
        let count = self.rng.usize(1..=3);
        let troubled = self.rng.usize(..count).max(self.rng.usize(..count));
        let mut calls = Vec::new();
        for number in 0..count {
            calls.push(self.call(self.trouble == Trouble::Rival && number == troubled));
        }
        let fault = (self.trouble == Trouble::Fault).then(|| self.fault(troubled));
        Program { ledger, calls, fault }
    }

    fn fault(&mut self, call: usize) -> Fault {
        let at_commit = self.one_in(3);
        let point = match self.rng.u8(..8) {
            0..3 => Point::BeforeRequest,
            3..6 => Point::AfterRequest,
            6 => Point::RequestSent,
            _ => Point::MidReply(self.rng.usize(1..40)),
        };
        let action = match self.rng.u8(..7) {
            6 if point == Point::AfterRequest && at_commit => Action::Error(if self.rng.bool() { 1180 } else { 1053 }),
            0 if point == Point::BeforeRequest && at_commit => Action::DelayAndAbandon(Duration::from_millis(self.rng.u64(1..30))),
            0..3 => Action::Fin,
            _ => Action::Rst,
        };
        let nth = if at_commit { 1 } else { self.rng.usize(1..=10).min(self.rng.usize(1..=14)) };
        let times = if self.one_in(4) { self.rng.usize(2..=3) } else { 1 };
        Fault { call, nth, times, at_commit, point, action }
    }

    fn call(&mut self, conflict: bool) -> Call {
        let read_only = !conflict && self.one_in(12);
        let bodies = if self.one_in(7) { 2 } else { 1 };
        let at = self.rng.usize(..bodies);
        let bodies = (0..bodies).map(|number| if read_only { self.reads() } else { self.body(conflict && number == at) }).collect();
        Call { retry: self.rng.u8(..5) < 3, attributes: self.rng.bool(), read_only, bodies }
    }

    fn reads(&mut self) -> Vec<Node> {
        let mut block = Vec::new();
        for _ in 0..self.rng.usize(1..=4) {
            let statement = match self.rng.u8(..8) {
                0 => Statement::Note(self.next()),
                1 => Statement::Probe,
                2 => Statement::SetVariable(Assign::Set, self.next()),
                3 => Statement::CompletionType(1),
                4 => {
                    block.push(Node::AfterCommit(self.next()));
                    continue;
                }
                _ => Statement::Read,
            };
            block.push(Node::Do { statement, how: How::Drop, handled: self.rng.bool() });
        }
        block
    }

    fn body(&mut self, conflict: bool) -> Vec<Node> {
        let count = self.rng.usize(1..=5);
        let mut block = self.block(0, count);
        if self.one_in(8) {
            self.siblings(&mut block);
        }
        if conflict {
            self.conflict(&mut block);
        }
        if self.one_in(30) && !any(&block, &|node| matches!(node, Node::Other { .. })) {
            block.push(Node::Do { statement: Statement::LockTables, how: How::Drop, handled: false });
        }
        block
    }

    /// A nested call that ends well, one that fails and is handled, and a write.
    fn siblings(&mut self, block: &mut Vec<Node>) {
        let mut first = self.block(1, 2);
        first.retain(|node| matches!(node, Node::Do { .. }));
        let mut second = self.block(1, 1);
        second.push(Node::Fail { poisoned: self.one_in(3) });
        for (handled, block_of) in [(false, first), (true, second)] {
            block.push(Node::Nested { join: false, attributes: self.rng.bool(), handled, block: block_of });
        }
        let statement = Statement::Note(self.next());
        block.push(Node::Do { statement, how: How::Drop, handled: false });
    }

    /// Puts two statements into the tree that meet the rival, the second not before the first.
    fn conflict(&mut self, block: &mut Vec<Node>) {
        if self.one_in(5) {
            let at = self.rng.usize(..=block.len());
            let statement = self.swallow();
            if self.one_in(2) {
                block.clear();
                block.push(Node::Do { statement, how: How::Drop, handled: self.rng.bool() });
            } else {
                block.insert(at, Node::Do { statement, how: How::Drop, handled: self.rng.bool() });
            }
            return;
        }
        let at = self.rng.usize(..=block.len());
        block.insert(at, Node::Do { statement: Statement::Nine { by: self.amount() }, how: How::Drop, handled: false });
        let (statement, how) = match self.rng.u8(..9) {
            0..3 => (Statement::Ten { by: self.amount() }, if self.rng.bool() { How::Drop } else { How::Exec }),
            3 => (Statement::TenLocking, How::RowPanic),
            4 => (self.swallow(), How::Drop),
            5 => (Statement::TenLocking, How::First),
            _ => (Statement::TenLocking, [How::Raw, How::RawFirst, How::RawExec][self.rng.usize(..3)]),
        };
        let node = Node::Do { statement, how, handled: self.rng.bool() };
        let later = self.rng.usize(at + 1..=block.len());
        if self.rng.bool() {
            let count = self.rng.usize(..=1);
            let mut inner = self.block(2, count);
            inner.insert(self.rng.usize(..=inner.len()), node);
            let join = self.one_in(5);
            block.insert(later, Node::Nested { join, attributes: self.rng.bool(), handled: self.rng.bool(), block: inner });
        } else {
            block.insert(later, node);
        }
    }

    fn swallow(&mut self) -> Statement {
        let (procedure, id, by) = (Procedure::Swallow, self.id(), self.amount());
        if self.mariadb && self.rng.bool() { Statement::Compound { procedure, id, by } } else { Statement::Call { procedure, id, by } }
    }

    fn block(&mut self, depth: u32, count: usize) -> Vec<Node> {
        (0..count).map(|_| self.node(depth)).collect()
    }

    fn node(&mut self, depth: u32) -> Node {
        let handled = self.rng.bool();
        match self.rng.u32(..100) {
            0..20 if depth < 3 => {
                let count = self.rng.usize(..=3);
                let block = self.block(depth + 1, count);
                Node::Nested { join: self.one_in(5), attributes: self.rng.bool(), handled, block }
            }
            20..22 => {
                let notes = (0..self.rng.usize(1..=2)).map(|_| self.next()).collect();
                Node::Other { retry: self.rng.bool(), fails: self.one_in(4), handled, notes }
            }
            22 => Node::RollbackOnly,
            23..26 => Node::AfterCommit(self.next()),
            26..28 => Node::AfterRollback(self.next()),
            28..31 => Node::Fail { poisoned: self.rng.bool() },
            31 => Node::Panic,
            32 => Node::PoisonFrom,
            _ => {
                let statement = self.statement();
                let how = self.how(&statement);
                Node::Do { statement, how, handled }
            }
        }
    }

    fn how(&mut self, statement: &Statement) -> How {
        match statement {
            Statement::Read | Statement::ReadLocking => match self.rng.u8(..8) {
                0 => How::RowPanic,
                1 => How::Raw,
                2 => How::RawFirst,
                3 => How::RawExec,
                4 => How::First,
                _ => How::Drop,
            },
            Statement::Add { .. } | Statement::Note(_) | Statement::Item(_) => match self.rng.u8(..10) {
                0 => How::Raw,
                1..4 => How::Exec,
                _ => How::Drop,
            },
            Statement::Call { .. } | Statement::Several(_) if self.one_in(6) => How::Raw,
            _ => How::Drop,
        }
    }

    fn statement(&mut self) -> Statement {
        let common = |generator: &mut Self| match generator.rng.u8(..10) {
            0..3 => Statement::Add { id: generator.id(), by: generator.amount() },
            3..6 => Statement::Note(generator.next()),
            6 => Statement::Item(generator.rng.u8(1..=3)),
            7 => Statement::Read,
            8 => Statement::ReadLocking,
            _ => Statement::Nonsense,
        };
        let theme = if self.theme == Theme::Anything {
            [Theme::Plain, Theme::Committing, Theme::Session, Theme::Batches][self.rng.usize(..4)]
        } else {
            self.theme
        };
        if theme == Theme::Plain || self.rng.bool() {
            return common(self);
        }
        match theme {
            Theme::Committing => match self.rng.u8(..18) {
                0 | 1 => Statement::Ddl(Ddl::Drop),
                2 => Statement::Ddl(Ddl::Create),
                3 => Statement::Ddl(Ddl::DropMissing),
                4 => Statement::Ddl(Ddl::Temporary),
                5 => Statement::Commit,
                6 => Statement::Rollback,
                7 => Statement::Begin,
                8..12 => {
                    let procedure = [Procedure::Plain, Procedure::Pay, Procedure::Undo, Procedure::Failing][self.rng.usize(..4)];
                    let (id, by) = (self.id(), self.amount());
                    if self.mariadb && self.one_in(3) {
                        Statement::Compound { procedure, id, by }
                    } else {
                        Statement::Call { procedure, id, by }
                    }
                }
                12 => {
                    let second = match self.rng.u8(..4) {
                        0 => Statement::Commit,
                        1 => Statement::Nonsense,
                        _ => common(self),
                    };
                    let first = Statement::Add { id: self.id(), by: self.amount() };
                    Statement::Several(vec![first, second])
                }
                13 | 14 => Statement::Savepoint,
                15 | 16 => Statement::BackToSavepoint,
                _ if self.mariadb => Statement::SetVariableAndPassword(self.next()),
                _ => Statement::Autocommit,
            },
            Theme::Session => match self.rng.u8(..17) {
                0 | 1 => Statement::Use { archive: !self.one_in(4) },
                2 | 3 => {
                    let assign = [Assign::Set, Assign::SelectInto, Assign::InSelect, Assign::Procedure][self.rng.usize(..4)];
                    Statement::SetVariable(assign, self.next())
                }
                4 => Statement::LenientMode,
                5 => Statement::CompletionType(self.rng.u8(1..=2)),
                6 if self.rng.bool() => Statement::TransactionReadOnly,
                6 => Statement::SessionReadOnly,
                7 | 8 => Statement::NoteVariable(self.next()),
                9 => Statement::Tight(self.next()),
                10 => {
                    self.temporary = true;
                    Statement::CreateTemporary
                }
                11 if self.temporary => Statement::NoteTemporary(self.next()),
                12 => Statement::GetLock,
                13 => Statement::Prepare,
                14 => Statement::ExecutePrepared(self.next()),
                15 if self.one_in(3) => Statement::EvictPrepared,
                16 if self.one_in(3) => Statement::Autocommit,
                _ => Statement::Probe,
            },
            _ => match self.rng.u8(..6) {
                0 => Statement::Reenter,
                1 => Statement::Item(self.rng.u8(1..=3)),
                _ => {
                    let mixed = self.one_in(2);
                    let rows = (0..self.rng.usize(1..=4)).map(|_| (self.rng.u8(1..=9), self.value(mixed))).collect();
                    Statement::Items { returning: self.mariadb && self.one_in(3), rows }
                }
            },
        }
    }

    fn value(&mut self, mixed: bool) -> Value {
        let kind = if mixed { self.rng.u8(..6) } else { 5 };
        match kind {
            0 => Value::Int(-1),
            1 => Value::UInt(u64::MAX),
            2 => Value::Double(2.25),
            3 => Value::Null,
            4 => Value::Int(7),
            _ => Value::Text("abc"),
        }
    }

    fn id(&mut self) -> u8 {
        self.rng.u8(1..=7)
    }

    fn amount(&mut self) -> i64 {
        self.rng.i64(1..=9)
    }

    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_one_program() {
        for (seed, mariadb) in (0..200).flat_map(|seed| [(seed, true), (seed, false)]) {
            let wanted = Wanted { mariadb, ledger: None };
            assert_eq!(generate(seed, wanted), generate(seed, wanted), "{seed}");
        }
    }
}
