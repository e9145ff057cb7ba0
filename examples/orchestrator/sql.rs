//! How does a statement that `sea-query` has composed get to the driver? Its values go as parameters, and never into the text.

use db_core::mysql::prelude::FromRow;
use db_core::mysql::{self, Params};
use db_core::prelude::*;
use sea_query::{MysqlQueryBuilder, OptionEnum, QueryStatementWriter, Value};

pub(crate) fn execute(tx: &mut Transaction<'_>, statement: &impl QueryStatementWriter) -> db_core::Result<()> {
    let (text, values) = bound(statement);
    tx.exec_drop(text, values)
}

pub(crate) fn rows<T: FromRow>(tx: &mut Transaction<'_>, query: &impl QueryStatementWriter) -> db_core::Result<Vec<T>> {
    let (text, values) = bound(query);
    tx.exec(text, values)
}

pub(crate) fn first<T: FromRow>(tx: &mut Transaction<'_>, query: &impl QueryStatementWriter) -> db_core::Result<Option<T>> {
    let (text, values) = bound(query);
    tx.exec_first(text, values)
}

/// The text, with a `?` in the place of each value, and the values.
fn bound(query: &impl QueryStatementWriter) -> (String, Params) {
    let (text, values) = query.build(MysqlQueryBuilder);
    (text, Params::Positional(values.into_iter().map(parameter).collect()))
}

fn parameter(value: Value) -> mysql::Value {
    match value {
        Value::Bool(value) => value.into(),
        Value::TinyInt(value) => value.into(),
        Value::SmallInt(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::BigInt(value) => value.into(),
        Value::TinyUnsigned(value) => value.into(),
        Value::SmallUnsigned(value) => value.into(),
        Value::Unsigned(value) => value.into(),
        Value::BigUnsigned(value) => value.into(),
        Value::Float(value) => value.into(),
        Value::Double(value) => value.into(),
        Value::String(value) => value.into(),
        Value::Char(value) => value.map(String::from).into(),
        Value::Bytes(value) => value.into(),
        Value::Enum(OptionEnum::Some(value)) => (*value.value).into(),
        Value::Enum(OptionEnum::None(_)) => mysql::Value::NULL,
    }
}
