//! Results that are read row by row.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use mysql::prelude::Protocol;
use mysql::{Column, QueryResult, Row};

use crate::session::State;
use crate::session::connection::response::Reply;
use crate::session::watch::watched::Watched;
use crate::{Error, Result};

/// The results of a statement, read row by row: those of [`Transaction::query_iter`] and [`Transaction::exec_iter`].
///
/// It is an iterator over the rows of its first result, and then over those of the next: use [`iter`](Self::iter) to tell results apart.
///
/// Dropping it reads the rest of the reply. An error in that rest aborts the transaction, which then ends with that error.
///
/// [`Transaction::query_iter`]: crate::Transaction::query_iter
/// [`Transaction::exec_iter`]: crate::Transaction::exec_iter
///
/// ```
/// # use db_core::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = db_testkit::Server::start()?;
/// # let db = Db::connect(&server.url())?;
/// let sum = db.transaction(|tx| {
///     let mut sum = 0;
///     for row in tx.query_iter("SELECT 1 AS n UNION SELECT 2")? {
///         sum += row?.get::<u32, _>("n").unwrap_or(0);
///     }
///     Ok::<_, db_core::Error>(sum)
/// })?;
/// assert_eq!(sum, 3);
/// # Ok(()) }
/// ```
#[must_use = "a result that is not read is read to its end when it is dropped"]
pub struct Rows<'t, T: Protocol> {
    reply: Reply<'t, 't, 't, T, Arc<Watched>>,
    state: &'t mut State,
}

/// One of the results of [`Rows`]. Dropping it reads the rest of it.
pub struct ResultRows<'r, 't, T: Protocol> {
    rows: &'r mut Rows<'t, T>,
    /// All of it was read.
    ended: bool,
}

impl<'t, T: Protocol> Rows<'t, T> {
    pub(crate) fn new((results, state): (QueryResult<'t, 't, 't, T>, &'t mut State)) -> Self {
        // Who forgets it instead of dropping it leaves the rest unread.
        state.streaming = true;
        Self { reply: Reply::new(results, state.watched.clone()), state }
    }

    /// The rows of the next result, if there is one.
    pub fn iter(&mut self) -> Option<ResultRows<'_, 't, T>> {
        // An error of the result's is met by its iterator.
        let more = self.read(Reply::next_result).unwrap_or(false);
        more.then_some(ResultRows { rows: self, ended: false })
    }

    /// The columns of the next result. None if it has no rows to come.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        self.reply.results().map(|results| results.columns().as_ref().to_vec()).unwrap_or_default()
    }

    /// The number of rows that the statement changed, inserted or deleted.
    #[must_use]
    pub fn affected_rows(&self) -> u64 {
        self.reply.affected_rows()
    }

    /// The AUTO_INCREMENT value that the statement generated, if it did.
    #[must_use]
    pub fn last_insert_id(&self) -> Option<u64> {
        self.reply.results().and_then(QueryResult::last_insert_id)
    }

    /// The number of warnings, of a statement without rows.
    #[must_use]
    pub fn warnings(&self) -> u16 {
        self.reply.results().map_or(0, QueryResult::warnings)
    }

    /// What the server says of a statement without rows, if it says something.
    #[must_use]
    pub fn info_str(&self) -> Cow<'_, str> {
        self.reply.results().map_or(Cow::Borrowed(""), QueryResult::info_str)
    }

    /// What the caller does between two reads is no wait for the server.
    fn read<R>(&mut self, read: impl FnOnce(&mut Reply<'t, 't, 't, T, Arc<Watched>>) -> R) -> R {
        let read = read(&mut self.reply);
        self.reply.rests();
        read
    }

    /// Reads what is left of the result.
    fn skip_result(&mut self) -> mysql::Result<()> {
        while self.read(Reply::next_row)?.is_some() {}
        Ok(())
    }

    fn skip_all(&mut self) -> mysql::Result<()> {
        while self.read(Reply::next_result)? {
            self.skip_result()?;
        }
        Ok(())
    }

    /// Keeps an error that the caller does not get to see.
    fn keep(&mut self, unseen: mysql::Result<()>) {
        if let Err(error) = unseen {
            let cause = Error::seen(&error);
            self.state.met(error);
            self.state.abort(cause);
        }
    }
}

impl<T: Protocol> Iterator for Rows<'_, T> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let row = self.read(Reply::next_row).map_err(|error| self.state.met(error));
        row.map_err(Error::from).transpose()
    }
}

impl<T: Protocol> Drop for Rows<'_, T> {
    fn drop(&mut self) {
        let rest = self.skip_all();
        self.keep(rest);
        self.state.streaming = false;
    }
}

impl<T: Protocol> Iterator for ResultRows<'_, '_, T> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if self.ended {
            return None;
        }
        let row = self.rows.next();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

impl<'t, T: Protocol> Deref for ResultRows<'_, 't, T> {
    type Target = Rows<'t, T>;

    fn deref(&self) -> &Rows<'t, T> {
        self.rows
    }
}

impl<T: Protocol> Drop for ResultRows<'_, '_, T> {
    fn drop(&mut self) {
        if !self.ended {
            let rest = self.rows.skip_result();
            self.rows.keep(rest);
        }
    }
}

impl<T: Protocol> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("columns", &self.columns().len()).finish_non_exhaustive()
    }
}

impl<T: Protocol> fmt::Debug for ResultRows<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultRows").field("ended", &self.ended).finish_non_exhaustive()
    }
}
