//! Which statements does a transaction run? The driver's `Queryable`, without what it overlooks.
//!
//! The driver's provided methods report an error in the first packet of a reply only, and panic on a row that does not convert.
//! These read every row of every result.

use mysql::prelude::{AsStatement, FromRow, Queryable};
use mysql::{Binary, FromRowError, Params, QueryResult, Row, Statement, Text, from_row_opt};

use crate::session::rows::Rows;
use crate::transaction::conversion::converted;
use crate::{Result, Transaction};

type Converted<T> = std::result::Result<T, FromRowError>;

impl Transaction<'_> {
    fn fold_text<U>(&mut self, query: impl AsRef<str>, init: U, step: impl FnMut(U, Row) -> mysql::Result<U>) -> mysql::Result<U> {
        self.session().fold(|session| session.query_beside_state(query.as_ref(), false), init, step)
    }

    fn fold_binary<U>(
        &mut self,
        statement: impl AsStatement,
        params: impl Into<Params>,
        init: U,
        step: impl FnMut(U, Row) -> mysql::Result<U>,
    ) -> mysql::Result<U> {
        self.session().fold_prepared(&statement, params.into(), init, step)
    }
}

/// A step that converts each row, and refuses one that does not convert.
fn each<T: FromRow, U>(mut f: impl FnMut(U, T) -> U) -> impl FnMut(U, Row) -> mysql::Result<U> {
    move |so_far, row| Ok(f(so_far, converted(row)?))
}

/// A step that hands each row on, converted or not.
fn each_opt<T: FromRow, U>(mut f: impl FnMut(U, Converted<T>) -> U) -> impl FnMut(U, Row) -> mysql::Result<U> {
    move |so_far, row| Ok(f(so_far, from_row_opt(row)))
}

fn push<T, U>(mut f: impl FnMut(T) -> U) -> impl FnMut(Vec<U>, T) -> Vec<U> {
    move |mut all, row| {
        all.push(f(row));
        all
    }
}

/// Keeps the first row, and reads on.
fn first(so_far: Option<Row>, row: Row) -> mysql::Result<Option<Row>> {
    Ok(so_far.or(Some(row)))
}

impl Queryable for Transaction<'_> {
    fn query_iter<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<QueryResult<'_, '_, '_, Text>> {
        self.session().query(query.as_ref(), true)
    }

    fn query<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Vec<T>> {
        self.fold_text(query, Vec::new(), each(push(|row| row)))
    }

    fn query_opt<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Vec<Converted<T>>> {
        self.fold_text(query, Vec::new(), each_opt(push(|row| row)))
    }

    fn query_first<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Option<T>> {
        self.fold_text(query, None, first)?.map(converted).transpose()
    }

    fn query_first_opt<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Option<Converted<T>>> {
        Ok(self.fold_text(query, None, first)?.map(from_row_opt))
    }

    fn query_map<T: FromRow, F: FnMut(T) -> U, Q: AsRef<str>, U>(&mut self, query: Q, f: F) -> mysql::Result<Vec<U>> {
        self.fold_text(query, Vec::new(), each(push(f)))
    }

    fn query_map_opt<T: FromRow, F: FnMut(Converted<T>) -> U, Q: AsRef<str>, U>(&mut self, query: Q, f: F) -> mysql::Result<Vec<U>> {
        self.fold_text(query, Vec::new(), each_opt(push(f)))
    }

    fn query_fold<T: FromRow, F: FnMut(U, T) -> U, Q: AsRef<str>, U>(&mut self, query: Q, init: U, f: F) -> mysql::Result<U> {
        self.fold_text(query, init, each(f))
    }

    fn query_fold_opt<T: FromRow, F: FnMut(U, Converted<T>) -> U, Q: AsRef<str>, U>(
        &mut self,
        query: Q,
        init: U,
        f: F,
    ) -> mysql::Result<U> {
        self.fold_text(query, init, each_opt(f))
    }

    fn query_drop<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<()> {
        self.fold_text(query, (), |(), _| Ok(()))
    }

    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Statement> {
        self.session().prepare(query.as_ref())
    }

    fn close(&mut self, stmt: Statement) -> mysql::Result<()> {
        self.session().close_statement(&stmt)
    }

    fn exec_iter<S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> mysql::Result<QueryResult<'_, '_, '_, Binary>> {
        self.session().exec(&stmt, params.into(), true)
    }

    fn exec_batch<S: AsStatement, P: Into<Params>, I: IntoIterator<Item = P>>(&mut self, stmt: S, params: I) -> mysql::Result<()> {
        self.session().exec_batch(&stmt, params)
    }

    fn exec<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> mysql::Result<Vec<T>> {
        self.fold_binary(stmt, params, Vec::new(), each(push(|row| row)))
    }

    fn exec_opt<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> mysql::Result<Vec<Converted<T>>> {
        self.fold_binary(stmt, params, Vec::new(), each_opt(push(|row| row)))
    }

    fn exec_first<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> mysql::Result<Option<T>> {
        self.fold_binary(stmt, params, None, first)?.map(converted).transpose()
    }

    fn exec_first_opt<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> mysql::Result<Option<Converted<T>>> {
        Ok(self.fold_binary(stmt, params, None, first)?.map(from_row_opt))
    }

    fn exec_map<T: FromRow, S: AsStatement, P: Into<Params>, F: FnMut(T) -> U, U>(
        &mut self,
        stmt: S,
        params: P,
        f: F,
    ) -> mysql::Result<Vec<U>> {
        self.fold_binary(stmt, params, Vec::new(), each(push(f)))
    }

    fn exec_map_opt<T: FromRow, S: AsStatement, P: Into<Params>, F: FnMut(Converted<T>) -> U, U>(
        &mut self,
        stmt: S,
        params: P,
        f: F,
    ) -> mysql::Result<Vec<U>> {
        self.fold_binary(stmt, params, Vec::new(), each_opt(push(f)))
    }

    fn exec_fold<T: FromRow, S: AsStatement, P: Into<Params>, U, F: FnMut(U, T) -> U>(
        &mut self,
        stmt: S,
        params: P,
        init: U,
        f: F,
    ) -> mysql::Result<U> {
        self.fold_binary(stmt, params, init, each(f))
    }

    fn exec_fold_opt<T: FromRow, S: AsStatement, P: Into<Params>, U, F: FnMut(U, Converted<T>) -> U>(
        &mut self,
        stmt: S,
        params: P,
        init: U,
        f: F,
    ) -> mysql::Result<U> {
        self.fold_binary(stmt, params, init, each_opt(f))
    }

    fn exec_drop<S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> mysql::Result<()> {
        self.fold_binary(stmt, params, (), |(), _| Ok(()))
    }
}

/// The trait's methods once more, with this crate's error: a method of the type goes before a trait's of the same name.
macro_rules! inherent {
    ($($(#[$doc:meta])* fn $name:ident<$($generic:ident: $bound:path),*>(&mut self $(, $arg:ident: $ty:ty)*) -> $out:ty;)*) => {
        impl Transaction<'_> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                ///
                /// The server's or the driver's, by [kind](crate::Error::kind). One that ended the transaction is met by every later statement, too.
                pub fn $name<$($generic: $bound),*>(&mut self $(, $arg: $ty)*) -> Result<$out> {
                    Queryable::$name(self $(, $arg)*).map_err(|error| self.own(error))
                }
            )*
        }
    };
}

inherent! {
    /// Runs a text query, and gives the rows of its first result.
    fn query<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> Vec<T>;
    /// Runs a text query, and gives the rows of its first result, converted or not.
    fn query_opt<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> Vec<Converted<T>>;
    /// Runs a text query, and gives the first row.
    fn query_first<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> Option<T>;
    /// Runs a text query, and gives the first row, converted or not.
    fn query_first_opt<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> Option<Converted<T>>;
    /// Runs a text query, and maps the rows of its first result.
    fn query_map<T: FromRow, F: FnMut(T) -> U, Q: AsRef<str>, U: Sized>(&mut self, query: Q, f: F) -> Vec<U>;
    /// Runs a text query, and maps the rows of its first result, converted or not.
    fn query_map_opt<T: FromRow, F: FnMut(Converted<T>) -> U, Q: AsRef<str>, U: Sized>(&mut self, query: Q, f: F) -> Vec<U>;
    /// Runs a text query, and folds the rows of its first result.
    fn query_fold<T: FromRow, F: FnMut(U, T) -> U, Q: AsRef<str>, U: Sized>(&mut self, query: Q, init: U, f: F) -> U;
    /// Runs a text query, and folds the rows of its first result, converted or not.
    fn query_fold_opt<T: FromRow, F: FnMut(U, Converted<T>) -> U, Q: AsRef<str>, U: Sized>(&mut self, query: Q, init: U, f: F) -> U;
    /// Runs a text query, and drops the rows.
    fn query_drop<Q: AsRef<str>>(&mut self, query: Q) -> ();
    /// Prepares a statement that is to be kept. It belongs to the connection: after a reconnect it is an error, and prepared again.
    ///
    /// A statement given as text is prepared on its first use, and found again on the same connection: most programs need no `prep`.
    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> Statement;
    /// Closes a prepared statement.
    fn close<>(&mut self, stmt: Statement) -> ();
    /// Executes a prepared statement, or a text with parameters, for each item of `params`.
    fn exec_batch<S: AsStatement, P: Into<Params>, I: IntoIterator<Item = P>>(&mut self, stmt: S, params: I) -> ();
    /// Executes a prepared statement, or a text with parameters, and gives the rows of its first result.
    fn exec<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> Vec<T>;
    /// Executes a prepared statement, or a text with parameters, and gives the rows of its first result, converted or not.
    fn exec_opt<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> Vec<Converted<T>>;
    /// Executes a prepared statement, or a text with parameters, and gives the first row.
    fn exec_first<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> Option<T>;
    /// Executes a prepared statement, or a text with parameters, and gives the first row, converted or not.
    fn exec_first_opt<T: FromRow, S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> Option<Converted<T>>;
    /// Executes a prepared statement, or a text with parameters, and maps the rows of its first result.
    fn exec_map<T: FromRow, S: AsStatement, P: Into<Params>, F: FnMut(T) -> U, U: Sized>(&mut self, stmt: S, params: P, f: F) -> Vec<U>;
    /// Executes a prepared statement, or a text with parameters, and maps the rows of its first result, converted or not.
    fn exec_map_opt<T: FromRow, S: AsStatement, P: Into<Params>, F: FnMut(Converted<T>) -> U, U: Sized>(&mut self, stmt: S, params: P, f: F) -> Vec<U>;
    /// Executes a prepared statement, or a text with parameters, and folds the rows of its first result.
    fn exec_fold<T: FromRow, S: AsStatement, P: Into<Params>, U: Sized, F: FnMut(U, T) -> U>(&mut self, stmt: S, params: P, init: U, f: F) -> U;
    /// Executes a prepared statement, or a text with parameters, and folds the rows of its first result, converted or not.
    fn exec_fold_opt<T: FromRow, S: AsStatement, P: Into<Params>, U: Sized, F: FnMut(U, Converted<T>) -> U>(&mut self, stmt: S, params: P, init: U, f: F) -> U;
    /// Executes a prepared statement, or a text with parameters, and drops the rows.
    fn exec_drop<S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> ();
}

impl Transaction<'_> {
    /// Runs a text query, and gives its results to be read row by row.
    ///
    /// An error in what is not read aborts the transaction.
    ///
    /// # Errors
    ///
    /// The server's or the driver's, by [kind](crate::Error::kind), in the first packet of the reply; later ones come with the rows.
    pub fn query_iter<Q: AsRef<str>>(&mut self, query: Q) -> Result<Rows<'_, Text>> {
        Ok(Rows::new(self.session().query_beside_state(query.as_ref(), false)?))
    }

    /// Executes a prepared statement, or a text with parameters, and gives its results to be read row by row.
    ///
    /// An error in what is not read aborts the transaction.
    ///
    /// # Errors
    ///
    /// The server's or the driver's, by [kind](crate::Error::kind), in the first packet of the reply; later ones come with the rows.
    pub fn exec_iter<S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> Result<Rows<'_, Binary>> {
        Ok(Rows::new(self.session().exec_beside_state(&stmt, params.into(), false)?))
    }

    /// The AUTO_INCREMENT value that the last statement generated, if it did.
    pub fn last_insert_id(&mut self) -> Option<u64> {
        self.session().conn().map(mysql::Conn::last_insert_id).filter(|id| *id != 0)
    }

    /// The number of rows that the last statement changed, inserted or deleted.
    pub fn affected_rows(&mut self) -> u64 {
        self.session().conn().map_or(0, mysql::Conn::affected_rows)
    }

    /// The server's number for the connection in use. After a server restart numbers begin anew.
    pub fn connection_id(&mut self) -> Option<u32> {
        self.session().conn().map(mysql::Conn::connection_id)
    }
}
