//! Programs: calls on one database, each a tree of statements and nested calls, and the fault that meets them.

use std::collections::BTreeSet;

use db_testkit::{Action, Point};

/// What one seed stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) ledger: bool,
    pub(crate) calls: Vec<Call>,
    pub(crate) fault: Option<Fault>,
}

/// A fault at the `nth` request (of those that contain `COMMIT`, if `at_commit`) after `call` has begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) call: usize,
    pub(crate) nth: usize,
    /// So many requests in a row.
    pub(crate) times: usize,
    pub(crate) at_commit: bool,
    pub(crate) point: Point,
    pub(crate) action: Action,
}

/// One call of the program: one transaction, or several inside one retry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) retry: bool,
    /// By the attributes, which look into the body's error; else by closures.
    pub(crate) attributes: bool,
    pub(crate) read_only: bool,
    pub(crate) bodies: Vec<Vec<Node>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Do {
        statement: Statement,
        how: How,
        handled: bool,
    },
    Nested {
        join: bool,
        attributes: bool,
        handled: bool,
        block: Vec<Node>,
    },
    /// A call on another database: a fork that writes notes.
    Other {
        retry: bool,
        fails: bool,
        handled: bool,
        notes: Vec<u32>,
    },
    RollbackOnly,
    AfterCommit(u32),
    AfterRollback(u32),
    /// `Err` of the body's own. Poisoned: its `source()` panics.
    Fail {
        poisoned: bool,
    },
    /// From here on `From<db_core::Error>` of the body's error panics.
    PoisonFrom,
    Panic,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Add {
        id: u8,
        by: i64,
    },
    Note(u32),
    /// An item whose key may be taken.
    Item(u8),
    Items {
        returning: bool,
        rows: Vec<(u8, Value)>,
    },
    Read,
    ReadLocking,
    Nonsense,
    /// Several statements in one text.
    Several(Vec<Statement>),
    /// DDL that changes nothing, but commits.
    Ddl(Ddl),
    Commit,
    Rollback,
    Begin,
    Call {
        procedure: Procedure,
        id: u8,
        by: i64,
    },
    /// MariaDB: the procedure's statements in the text.
    Compound {
        procedure: Procedure,
        id: u8,
        by: i64,
    },
    Use {
        archive: bool,
    },
    SetVariable(Assign, u32),
    /// MariaDB: a list that also sets the account's password.
    SetVariableAndPassword(u32),
    LenientMode,
    Autocommit,
    CompletionType(u8),
    SessionReadOnly,
    /// For the next transaction alone.
    TransactionReadOnly,
    NoteVariable(u32),
    /// A value out of range: an error in strict mode.
    Tight(u32),
    CreateTemporary,
    NoteTemporary(u32),
    GetLock,
    /// A savepoint of the body's own.
    Savepoint,
    BackToSavepoint,
    LockTables,
    Probe,
    Prepare,
    ExecutePrepared(u32),
    EvictPrepared,
    /// `Db::transaction` inside the database's own transaction.
    Reenter,
    /// Locks account 9; the rival, which holds 10, then asks for it.
    Nine {
        by: i64,
    },
    /// A deadlock, if the rival is there.
    Ten {
        by: i64,
    },
    /// A deadlock at the second row.
    TenLocking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ddl {
    Drop,
    Create,
    /// Fails, having committed.
    DropMissing,
    Temporary,
}

/// How a user variable gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assign {
    Set,
    SelectInto,
    InSelect,
    Procedure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    /// Changes an account.
    Plain,
    /// Changes an account, and commits.
    Pay,
    /// Changes an account, and rolls back.
    Undo,
    /// Gives a result, changes an account, and fails.
    Failing,
    /// Sets a user variable.
    Assign,
    /// Changes accounts 9, 10 and another; its handler ignores a deadlock.
    Swallow,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(&'static str),
    Null,
}

/// By which call a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Drop,
    Exec,
    /// `query_first`
    First,
    /// `query_iter`, dropped at once.
    Raw,
    /// `query_iter`, dropped after its first row.
    RawFirst,
    /// `exec_iter`, dropped at once.
    RawExec,
    /// `query_map` whose closure panics at the first row; `handled` catches it.
    RowPanic,
}

impl How {
    pub(crate) fn raw(self) -> bool {
        matches!(self, Self::Raw | Self::RawFirst | Self::RawExec)
    }
}

impl Statement {
    /// Whether it needs account 9 or 10.
    pub(crate) fn conflicts(&self) -> bool {
        match self {
            Self::Ten { .. } | Self::TenLocking | Self::Nine { .. } => true,
            Self::Call { procedure, .. } | Self::Compound { procedure, .. } => *procedure == Procedure::Swallow,
            _ => false,
        }
    }

    fn features(&self, found: &mut BTreeSet<&'static str>) {
        let feature = match self {
            Self::Items { returning: true, .. } => "returning",
            Self::Items { returning: false, .. } => "batch",
            Self::Several(_) => "several",
            Self::Ddl(_) => "ddl",
            Self::Commit | Self::Rollback | Self::Begin => "own-commit",
            Self::Call { procedure: Procedure::Swallow, .. } | Self::Compound { procedure: Procedure::Swallow, .. } => "swallow",
            Self::Call { .. } => "call",
            Self::Compound { .. } => "compound",
            Self::Use { .. } => "use",
            Self::SetVariable(..) => "session",
            Self::SetVariableAndPassword(_) => "password",
            Self::LenientMode => "session",
            Self::Autocommit => "autocommit",
            Self::CompletionType(_) => "completion",
            Self::SessionReadOnly | Self::TransactionReadOnly => "session",
            Self::CreateTemporary => "session",
            Self::GetLock => "session",
            Self::LockTables => "session",
            Self::Prepare | Self::ExecutePrepared(_) | Self::EvictPrepared => "prepared",
            Self::Savepoint | Self::BackToSavepoint => "savepoint",
            Self::Reenter => "reenter",
            Self::Ten { .. } | Self::TenLocking => "deadlock",
            _ => return,
        };
        found.insert(feature);
        if let Self::Several(all) = self {
            all.iter().for_each(|each| each.features(found));
        }
    }
}

/// What the program uses: names by which programs are left out.
pub(crate) fn features(program: &Program) -> BTreeSet<&'static str> {
    fn walk(block: &[Node], found: &mut BTreeSet<&'static str>) {
        for node in block {
            match node {
                Node::Do { statement, how, .. } => {
                    statement.features(found);
                    if how.raw() {
                        found.insert("raw");
                    }
                    if *how == How::RowPanic {
                        found.insert("row-panic");
                    }
                }
                Node::Nested { join, block, .. } => {
                    found.insert(if *join { "join" } else { "nested" });
                    walk(block, found);
                }
                Node::Other { .. } => _ = found.insert("other"),
                Node::RollbackOnly => _ = found.insert("rollback-only"),
                Node::AfterCommit(_) | Node::AfterRollback(_) => _ = found.insert("hook"),
                Node::Fail { poisoned: true } => _ = found.insert("poisoned"),
                Node::PoisonFrom => _ = found.insert("poisoned-from"),
                Node::Panic => _ = found.insert("panic"),
                Node::Fail { poisoned: false } => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    for call in &program.calls {
        if call.retry {
            found.insert("retry");
        }
        if call.read_only {
            found.insert("read-only");
        }
        if call.bodies.len() > 1 {
            found.insert("several-transactions");
        }
        call.bodies.iter().for_each(|block| walk(block, &mut found));
    }
    if program.fault.is_some() {
        found.insert("fault");
    }
    if program.ledger {
        found.insert("ledger");
    }
    found
}

pub(crate) fn any(block: &[Node], test: &impl Fn(&Node) -> bool) -> bool {
    block.iter().any(|node| test(node) || matches!(node, Node::Nested { block, .. } if any(block, test)))
}

impl Program {
    pub(crate) fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        self.calls.iter().flat_map(|call| &call.bodies).any(|block| any(block, test))
    }
}
