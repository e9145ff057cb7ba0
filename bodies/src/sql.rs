//! The tables and procedures that programs use, and the text of each statement.

use db_testkit::Flavor;

use crate::program::{Assign, Ddl, Procedure, Statement, Value};

/// What statements call the other database and the lock.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) main: String,
    pub(crate) archive: String,
    pub(crate) flavor: Flavor,
}

pub(crate) const TABLES: [&str; 4] = [
    "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE journal (n BIGINT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100) NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE item (k INT PRIMARY KEY, v VARCHAR(40)) ENGINE=InnoDB",
    "CREATE TABLE tight (n INT NOT NULL, v TINYINT NOT NULL) ENGINE=InnoDB",
];

pub(crate) const ITEM: &str = TABLES[2];
pub(crate) const TIGHT: &str = TABLES[3];

impl Procedure {
    pub(crate) const ALL: [Self; 6] = [Self::Plain, Self::Pay, Self::Undo, Self::Failing, Self::Assign, Self::Swallow];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Pay => "pay",
            Self::Undo => "take_back",
            Self::Failing => "failing",
            Self::Assign => "assign",
            Self::Swallow => "swallow",
        }
    }

    fn block(self, id: &str, by: &str) -> String {
        let change = |id: &str| format!("UPDATE account SET balance = balance + {by} WHERE id = {id};");
        match self {
            Self::Plain => change(id),
            Self::Pay => format!("{} COMMIT;", change(id)),
            Self::Undo => format!("{} ROLLBACK;", change(id)),
            Self::Failing => format!("SELECT 1; {} SIGNAL SQLSTATE '45000';", change(id)),
            Self::Assign => format!("SET @x = {by};"),
            Self::Swallow => {
                format!("DECLARE CONTINUE HANDLER FOR 1213 BEGIN END; {} {} {}", change("9"), change("10"), change(id))
            }
        }
    }

    pub(crate) fn create(self) -> String {
        format!("CREATE PROCEDURE {}(which INT, amount INT) BEGIN {} END", self.name(), self.block("which", "amount"))
    }
}

pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Int(n) => format!("{n}"),
        Value::UInt(n) => format!("{n}"),
        Value::Double(n) => format!("{n}"),
        Value::Text(text) => (*text).to_owned(),
        Value::Null => "NULL".into(),
    }
}

/// The text of the note numbered so.
pub(crate) fn note(n: u32) -> String {
    format!("note {n}")
}

impl Names {
    /// What the other database of a program does. Into the archive: there it meets no lock of the program's own.
    pub(crate) fn other_note(&self, number: u32) -> String {
        format!("INSERT INTO {}.journal (note) VALUES ('{}')", self.archive, note(number))
    }

    /// The text of the statement; of a batch, that of each row.
    pub(crate) fn text(&self, statement: &Statement) -> String {
        match statement {
            Statement::Add { id, by } => format!("UPDATE account SET balance = balance + {by} WHERE id = {id}"),
            Statement::Nine { by } => format!("UPDATE account SET balance = balance + {by} WHERE id = 9"),
            Statement::Ten { by } => format!("UPDATE account SET balance = balance + {by} WHERE id = 10"),
            Statement::TenLocking => "SELECT id FROM account WHERE id IN (8, 10) FOR UPDATE".into(),
            Statement::Note(n) => format!("INSERT INTO journal (note) VALUES ('{}')", note(*n)),
            Statement::Item(k) => format!("INSERT INTO item VALUES ({k}, 'one')"),
            Statement::Items { returning: false, .. } => "INSERT INTO item VALUES (?, ?)".into(),
            Statement::Items { returning: true, .. } => "INSERT INTO item VALUES (?, ?) RETURNING k".into(),
            Statement::Read => "SELECT id FROM account WHERE id < 4".into(),
            Statement::ReadLocking => "SELECT id FROM account WHERE id < 4 FOR UPDATE".into(),
            Statement::Nonsense => "nonsense".into(),
            Statement::Several(all) => all.iter().map(|each| self.text(each)).collect::<Vec<_>>().join("; "),
            Statement::Ddl(Ddl::Drop) => "DROP TABLE IF EXISTS missing".into(),
            Statement::Ddl(Ddl::Create) => "CREATE TABLE IF NOT EXISTS account (id INT)".into(),
            Statement::Ddl(Ddl::DropMissing) => "DROP TABLE missing".into(),
            Statement::Ddl(Ddl::Temporary) => "DROP TEMPORARY TABLE IF EXISTS missing".into(),
            Statement::Commit => "COMMIT".into(),
            Statement::Rollback => "ROLLBACK".into(),
            Statement::Begin => "START TRANSACTION".into(),
            Statement::Call { procedure, id, by } => format!("CALL {}({id}, {by})", procedure.name()),
            Statement::Compound { procedure, id, by } => {
                format!("BEGIN NOT ATOMIC {} END", procedure.block(&id.to_string(), &by.to_string()))
            }
            Statement::Use { archive } => format!("USE {}", if *archive { &self.archive } else { &self.main }),
            Statement::SetVariable(Assign::Set, n) => format!("SET @x = {n}"),
            Statement::SetVariable(Assign::SelectInto, n) => format!("SELECT {n} INTO @x"),
            Statement::SetVariable(Assign::InSelect, n) => format!("SELECT @x := {n}"),
            Statement::SetVariable(Assign::Procedure, n) => format!("CALL assign(0, {n})"),
            Statement::TransactionReadOnly => "SET TRANSACTION READ ONLY".into(),
            Statement::Savepoint => "SAVEPOINT mine".into(),
            Statement::BackToSavepoint => "ROLLBACK TO SAVEPOINT mine".into(),
            Statement::SetVariableAndPassword(n) => format!("SET @x = {n}, PASSWORD = PASSWORD('')"),
            Statement::LenientMode => "SET sql_mode = ''".into(),
            Statement::Autocommit => "SET autocommit = 1".into(),
            Statement::CompletionType(n) => format!("SET completion_type = {n}"),
            Statement::SessionReadOnly => "SET SESSION TRANSACTION READ ONLY".into(),
            Statement::NoteVariable(n) => format!("INSERT INTO journal (note) VALUES (CONCAT('note {n}: ', IFNULL(@x, 'NULL')))"),
            Statement::Tight(n) => format!("INSERT INTO tight VALUES ({n}, 300)"),
            Statement::CreateTemporary => "CREATE TEMPORARY TABLE scratch (n INT)".into(),
            Statement::NoteTemporary(n) => format!("INSERT INTO journal (note) SELECT CONCAT('note {n}: ', COUNT(*)) FROM scratch"),
            Statement::GetLock => format!("SELECT GET_LOCK('{}', 0)", self.main),
            Statement::LockTables => "LOCK TABLES journal READ".into(),
            Statement::Probe => format!(
                "SELECT CONCAT_WS(' ', DATABASE() = '{}', IFNULL(@x, 'NULL'), @@sql_mode = '', @@autocommit + 0, @@completion_type, \
                 IFNULL(IS_USED_LOCK('{}') = CONNECTION_ID(), 0), @@{} + 0)",
                self.archive,
                self.main,
                if self.flavor == Flavor::MariaDb { "tx_read_only" } else { "transaction_read_only" }
            ),
            Statement::Prepare | Statement::ExecutePrepared(_) => "INSERT INTO journal (note) VALUES (?)".into(),
            Statement::EvictPrepared | Statement::Reenter => String::new(),
        }
    }
}
