//! Idempotency keys in the session's transaction.

use std::time::{Duration, Instant};

use crate::error::classify;
use crate::session::connection::PacketError;
use crate::session::ledger::Lost;
use crate::session::ledger::keyed::{Call, Collision, Keys, Resolution, Row};
use crate::session::{Session, admit, check_size, closed};
use crate::sql::kind;
use crate::{Error, ErrorKind, Result};

impl Session {
    pub fn install_idempotency(&mut self) -> Result<()> {
        self.connect()?;
        let Some(link) = &mut self.link else { return Err(closed()) };
        Keys::install(&self.settings, link)
    }

    pub fn sweep_idempotency(&mut self, older_than: Duration) -> Result<u64> {
        self.connect()?;
        let Some(link) = &mut self.link else { return Err(closed()) };
        Keys::sweep(&self.settings, link, older_than)
    }

    /// Whether this call's value can be stored. It costs nothing.
    pub fn check_call(&self, call: &Call) -> Result<()> {
        call.key.check()?;
        self.keys.table()?;
        if self.state.is_read_only() {
            let message = "a call with an idempotency key stores its value, which a read-only transaction cannot";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(())
    }

    /// The value that an earlier call with this key has stored. Where the server has to be told of nested transactions anyway, it costs no round
    /// trip.
    pub fn stored(&mut self, call: &Call) -> Result<Option<String>> {
        if let Some(waiting) = self.keys.waiting(call)? {
            return Ok(Some(waiting.into()));
        }
        let sql = self.keys.find(call)?;
        match self.look(&sql).map_err(|error| with_hint(Error::from(error)))? {
            Some(row) => call.stored(row),
            None => Ok(None),
        }
    }

    fn look(&mut self, sql: &str) -> mysql::Result<Option<Row>> {
        self.state.looks = true;
        let found = self.execute(false, |link, state| {
            admit(link, state, kind::of(sql), false)?;
            let opening = state.opening();
            let request: Vec<&str> = opening.iter().map(String::as_str).chain([sql]).collect();
            let rows = link.packet_with_rows::<Row>(&request).map_err(|failed| failed.error)?;
            state.was_opened();
            Ok(rows)
        });
        self.state.looks = false;
        found.map(|mut rows| rows.pop())
    }

    /// Stores a call's value with the outermost COMMIT.
    pub fn store(&mut self, call: &Call, value: String) -> Result<()> {
        let bytes = self.keys.add(call, value)?;
        if let Some(link) = &self.link {
            check_size(link, bytes).map_err(Error::from)?;
        }
        self.state.stores();
        Ok(())
    }

    /// The request of COMMIT was refused at the statement for the keys, which undid that statement alone. `None`: for a reason that has nothing to
    /// do with them.
    pub(super) fn key_refused(&mut self, failed: &PacketError) -> Option<Result<()>> {
        let error = &failed.error;
        if !classify::is_duplicate(error) && !classify::is_overflow(error) {
            let hinted = with_hint(Error::seen(error));
            return matches!(hinted.kind(), ErrorKind::UnknownTable | ErrorKind::AccessDenied).then(|| self.refused(hinted));
        }
        let link = self.link.as_mut()?;
        Some(match self.keys.collided(link) {
            Ok(Collision::SendAgain) => self.send_commit(),
            Ok(Collision::Committed) => {
                self.roll_back();
                self.state.committed = true;
                Ok(())
            }
            Ok(Collision::Told) => {
                self.roll_back();
                self.state.told = true;
                Ok(())
            }
            Ok(Collision::Refused(cause)) => self.refused(cause),
            Err(error) => {
                let cause = Error::seen(&error);
                self.state.met(error);
                self.refused(cause)
            }
        })
    }

    fn refused(&mut self, cause: Error) -> Result<()> {
        let cause = self.mark(cause);
        self.state.abort(cause.clone());
        Err(cause.and_rollback(self.roll_back()))
    }

    /// The reply to a COMMIT that stores keys says nothing, or never came. `kind`: what is to be said if it was not committed.
    pub(super) fn keyed_commit_lost(&mut self, error: &mysql::Error, kind: ErrorKind, lost: Option<Lost>) -> Result<()> {
        let began = Instant::now();
        let resolution = self.keys.resolve(lost);
        self.resolving = began.elapsed();
        match resolution {
            Resolution::Committed => {
                self.state.committed = true;
                Ok(())
            }
            Resolution::Taken(Collision::Told) => {
                self.state.told = true;
                Ok(())
            }
            Resolution::Taken(Collision::Refused(cause)) => {
                let cause = self.mark(cause);
                self.state.abort(cause.clone());
                Err(cause)
            }
            Resolution::NotCommitted | Resolution::Taken(_) => self.lost_and_not_committed(error, kind),
            Resolution::Unknown(why) => Err(self.unknown(Error::classified(error, ErrorKind::CommitUnknown, false).hint(why))),
        }
    }
}

fn with_hint(error: Error) -> Error {
    match error.kind() {
        ErrorKind::UnknownTable => error.hint("create the table of the idempotency keys with Db::install_idempotency"),
        ErrorKind::AccessDenied => error.hint("idempotency keys need SELECT, INSERT and UPDATE on their table"),
        _ => error,
    }
}
