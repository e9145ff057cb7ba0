//! Which constraint, table, column and value does a server's error message name?
//!
//! The code says which format to expect, the quotes where the names are. The words around them are relied on as little
//! as possible (`lc_messages` translates them), but they are the only way to split a value that contains quotes itself.
//! Formats as sent by MariaDB 10.11 and MySQL 9.7.

use std::fmt;

#[cfg(test)]
mod tests;

/// The violated constraint, as far as the server names it: constraint or key, table, column, value.
///
/// Names are as in the schema. The value is the rejected one, cut off by the server after some sixty characters, with the parts of a composite
/// key joined by `-`. `Debug` does not print it, to keep it out of logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Constraint {
    name: Option<String>,
    database: Option<String>,
    table: Option<String>,
    column: Option<String>,
    value: Option<String>,
    referenced_table: Option<String>,
    referenced_column: Option<String>,
}

impl Constraint {
    /// The constraint or, for a duplicate, the key: `PRIMARY` for the primary key. A MariaDB `CHECK` of a column is called
    /// `table.column`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The database of [`table`](Self::table).
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The table (or view) the constraint is on. For a foreign key, the one that refers to the other. MariaDB does not tell
    /// it for a duplicate, MySQL not for a `CHECK`.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The column. Several, of a composite foreign key, are separated by `, `.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    /// The rejected value. It is user input: be careful where you log it.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The table a foreign key refers to.
    pub fn referenced_table(&self) -> Option<&str> {
        self.referenced_table.as_deref()
    }

    /// The column a foreign key refers to. Several are separated by `, `.
    pub fn referenced_column(&self) -> Option<&str> {
        self.referenced_column.as_deref()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Constraint");
        let fields = [
            ("name", &self.name),
            ("database", &self.database),
            ("table", &self.table),
            ("column", &self.column),
            ("referenced_table", &self.referenced_table),
            ("referenced_column", &self.referenced_column),
        ];
        for (field, name) in fields {
            if let Some(name) = name {
                debug.field(field, name);
            }
        }
        if self.value.is_some() {
            debug.field("value", &format_args!("<redacted>"));
        }
        debug.finish()
    }
}

/// Reads what the message of this code names. `None` where it names nothing, or the format is not understood.
pub(super) fn parse(code: u16, message: &str) -> Option<Constraint> {
    match code {
        1062 | 1569 | 1586 => duplicate(message),
        1451 | 1452 => foreign_key(message),
        1048 | 1263 | 1264 | 1265 | 1364 | 1406 => column(message),
        1292 | 1366 => bad_value(message),
        1054 => unknown_column(message),
        1146 => unknown_table(message),
        1369 => check_option(message),
        1859 | 3819 => named(message),
        3730 => drop_of_a_parent(message),
        4025 => check(message),
        _ => None,
    }
}

/// `Duplicate entry '{value}' for key '{key}'`, in MySQL `'{table}.{key}'`.
fn duplicate(message: &str) -> Option<Constraint> {
    let (lead, quoted) = message.split_once('\'')?;
    let (head, tail) = quoted.rsplit_once('\'')?;
    let words = lead.ends_with("uplicate entry ").then_some("' for key '");
    let (value, key) = value_and_name(head, words)?;
    // Something follows where a proxy adds the statement, with quotes of its own perhaps.
    let key = if tail.is_empty() { key } else { key.split('\'').next()? };
    // A table's name may contain a dot ("we`ird.t.k") as well as a key's, and seldom does either.
    let (table, name) = match key.rsplit_once('.') {
        Some((table, name)) => (Some(table), name),
        None => (None, key),
    };
    Some(Constraint { name: owned(name), table: table.and_then(owned), value: Some(value.to_owned()), ..Constraint::default() })
}

/// ``(`db`.`child`, CONSTRAINT `name` FOREIGN KEY (`a`, `b`) REFERENCES `parent` (`c`, `d`) …)``. The parent is in its own
/// database where that is another one. MySQL leaves the whole out for a user without rights on the other table, and cuts it
/// off where the message gets too long.
fn foreign_key(message: &str) -> Option<Constraint> {
    let (_, tail) = message.split_once("(`")?;
    let (child, tail) = tail.split_once("`, CONSTRAINT `")?;
    let (database, table) = child.split_once("`.`")?;
    let mut constraint = Constraint { database: unescaped(database), table: unescaped(table), ..Constraint::default() };

    let (name, tail) = tail.split_once("` FOREIGN KEY (`").unwrap_or((tail, ""));
    constraint.name = unescaped(name);
    let (columns, tail) = tail.split_once("`) REFERENCES `").unwrap_or_default();
    constraint.column = unescaped_list(columns);
    let (parent, tail) = tail.split_once("` (`").unwrap_or_default();
    constraint.referenced_table = unescaped(parent.split_once("`.`").map_or(parent, |(_, table)| table));
    let (columns, _) = tail.split_once("`)").unwrap_or_default();
    constraint.referenced_column = unescaped_list(columns);
    Some(constraint)
}

/// `Column '{column}' cannot be null`, `Data too long for column '{column}' at row 1` and their like.
fn column(message: &str) -> Option<Constraint> {
    let ends = ["' cannot be null", "' doesn't have a default value", "' at row "];
    Some(Constraint { column: owned(first_quoted(message, &ends)?), ..Constraint::default() })
}

/// `Incorrect integer value: '{value}' for column '{column}' at row 1`, in MariaDB `` for column `db`.`t`.`c` ``. Without a
/// column, of an expression: `Truncated incorrect DOUBLE value: '{value}'`.
fn bad_value(message: &str) -> Option<Constraint> {
    let (lead, quoted) = message.split_once('\'')?;
    let (head, tail) = quoted.rsplit_once('\'')?;
    let words = lead.ends_with("value: ").then_some("' for column '");
    let mut constraint = Constraint::default();
    let value = if let Some((_, names)) = tail.split_once('`') {
        let mut names = names.rsplit_once('`').map_or(names, |(names, _)| names).rsplit("`.`");
        constraint.column = names.next().and_then(unescaped);
        constraint.table = names.next().and_then(unescaped);
        constraint.database = names.next().and_then(unescaped);
        head
    } else if tail.is_empty() {
        head
    } else if let Some((value, column)) = value_and_name(head, words) {
        constraint.column = owned(column);
        value
    } else {
        head
    };
    constraint.value = Some(value.to_owned());
    Some(constraint)
}

/// `Unknown column '{column}' in 'field list'`; the column as written, perhaps `table.column`.
fn unknown_column(message: &str) -> Option<Constraint> {
    let mut names = first_quoted(message, &["' in '"])?.rsplit('.');
    Some(Constraint {
        column: names.next().and_then(owned),
        table: names.next().and_then(owned),
        database: names.next().and_then(owned),
        ..Constraint::default()
    })
}

/// `Table '{database}.{table}' doesn't exist`.
fn unknown_table(message: &str) -> Option<Constraint> {
    let (database, table) = first_quoted(message, &["' doesn't exist"])?.split_once('.')?;
    Some(Constraint { database: owned(database), table: owned(table), ..Constraint::default() })
}

/// ``CHECK OPTION failed `{database}`.`{view}` ``, in MySQL `'{database}.{view}'`.
fn check_option(message: &str) -> Option<Constraint> {
    let (database, table) = match enclosed(message, '`') {
        Some(names) => names.split_once("`.`").map(|(database, view)| (unescaped(database), unescaped(view))),
        None => enclosed(message, '\'')?.split_once('.').map(|(database, view)| (owned(database), owned(view))),
    }?;
    Some(Constraint { database, table, ..Constraint::default() })
}

/// `Check constraint '{name}' is violated.`, `Duplicate entry for key '{name}'`.
fn named(message: &str) -> Option<Constraint> {
    Some(Constraint { name: owned(enclosed(message, '\'')?), ..Constraint::default() })
}

/// `Cannot drop table '{parent}' referenced by a foreign key constraint '{name}' on table '{child}'.`
fn drop_of_a_parent(message: &str) -> Option<Constraint> {
    let mut parts = message.split('\'').skip(1).step_by(2);
    let (parent, name, child) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Constraint { name: owned(name), table: owned(child), referenced_table: owned(parent), ..Constraint::default() })
}

/// ``CONSTRAINT `{name}` failed for `{database}`.`{table}` `` (MariaDB). The check of a column has no name of its own and is
/// called `{table}.{column}`.
fn check(message: &str) -> Option<Constraint> {
    let (head, table) = enclosed(message, '`')?.rsplit_once("`.`")?;
    let (name, _) = head.split_once("` ")?;
    let (_, database) = head.rsplit_once(" `")?;
    let (name, database, table) = (unescaped(name)?, unescaped(database), unescaped(table)?);
    let column = name.strip_prefix(&table).and_then(|rest| rest.strip_prefix('.')).and_then(owned);
    Some(Constraint { name: Some(name), database, table: Some(table), column, ..Constraint::default() })
}

/// From the first `'` to the last of the first of these endings that occurs, and otherwise to the next `'`.
fn first_quoted<'m>(message: &'m str, ends: &[&str]) -> Option<&'m str> {
    let (_, quoted) = message.split_once('\'')?;
    let end = ends.iter().find_map(|end| quoted.rfind(end)).or_else(|| quoted.find('\''))?;
    Some(&quoted[..end])
}

/// Splits `{value}' for key '{name}` at these words. The value may contain them too, the name hardly. In another language
/// (`None`), what follows the last quote is the name, for they could only be the value's.
fn value_and_name<'m>(head: &'m str, words: Option<&str>) -> Option<(&'m str, &'m str)> {
    if let Some(words) = words {
        return head.rsplit_once(words);
    }
    let (before, name) = head.rsplit_once('\'')?;
    Some((before.rsplit_once('\'')?.0, name))
}

/// Between the first and the last of this quote.
fn enclosed(message: &str, quote: char) -> Option<&str> {
    message.split_once(quote)?.1.rsplit_once(quote).map(|(inner, _)| inner)
}

fn owned(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

/// MariaDB doubles a backtick within a name, MySQL does not.
fn unescaped(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.replace("``", "`"))
}

fn unescaped_list(names: &str) -> Option<String> {
    unescaped(&names.replace("`, `", ", "))
}
