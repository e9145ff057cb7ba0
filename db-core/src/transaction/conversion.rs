//! Conversion of a row, and the error of a row that does not convert.

use std::any::type_name;
use std::fmt::Write as _;

use mysql::consts::{ColumnFlags, ColumnType};
use mysql::prelude::FromRow;
use mysql::{Column, FromRowError, Row, Value, from_row_opt};

use crate::error::redact::printable;
use crate::{Error, ErrorKind};

/// The collation of what is no text.
const BINARY: u16 = 63;

/// More columns are not listed.
const MOST: usize = 32;

pub(super) fn converted<T: FromRow>(row: Row) -> mysql::Result<T> {
    from_row_opt(row).map_err(|FromRowError(row)| not_converted::<T>(&row).into())
}

/// Names the columns and their types, and never a value.
#[cold]
fn not_converted<T>(row: &Row) -> Error {
    let mut message = format!("a row does not convert to `{}`; its columns are: ", type_name::<T>());
    for (at, column) in row.columns_ref().iter().enumerate().take(MOST) {
        let separator = if at == 0 { "" } else { ", " };
        let null = if row.as_ref(at) == Some(&Value::NULL) { " (NULL)" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(message, "{separator}{} {}{null}", name(at, column), sql_type(column));
    }
    if row.len() > MOST {
        message.push_str(", …");
    }
    Error::new(ErrorKind::Driver, message)
}

/// An expression is named by its text, which may hold a value: only the name of a table's column is shown.
fn name(at: usize, column: &Column) -> String {
    if column.org_table_ref().is_empty() || column.org_name_ref().is_empty() {
        format!("expression {}", at + 1)
    } else {
        format!("`{}`", printable(&column.name_str()))
    }
}

/// As it would be declared, without lengths.
fn sql_type(column: &Column) -> String {
    let text = column.character_set() != BINARY;
    let pick = |of_text: &'static str, of_bytes: &'static str| if text { of_text } else { of_bytes };
    let flags = column.flags();
    let name = match column.column_type() {
        _ if flags.contains(ColumnFlags::ENUM_FLAG) => "ENUM",
        _ if flags.contains(ColumnFlags::SET_FLAG) => "SET",
        ColumnType::MYSQL_TYPE_TINY => "TINYINT",
        ColumnType::MYSQL_TYPE_SHORT => "SMALLINT",
        ColumnType::MYSQL_TYPE_INT24 => "MEDIUMINT",
        ColumnType::MYSQL_TYPE_LONG => "INT",
        ColumnType::MYSQL_TYPE_LONGLONG => "BIGINT",
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => "DECIMAL",
        ColumnType::MYSQL_TYPE_VARCHAR | ColumnType::MYSQL_TYPE_VAR_STRING => pick("VARCHAR", "VARBINARY"),
        ColumnType::MYSQL_TYPE_STRING => pick("CHAR", "BINARY"),
        ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB => pick("TEXT", "BLOB"),
        other => return format!("{other:?}").trim_start_matches("MYSQL_TYPE_").into(),
    };
    let unsigned =
        matches!(name, "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "DECIMAL") && flags.contains(ColumnFlags::UNSIGNED_FLAG);
    format!("{name}{}", if unsigned { " UNSIGNED" } else { "" })
}
