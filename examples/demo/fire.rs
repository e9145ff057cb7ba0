//! The saboteur: kills connections all the time, and the server now and then.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use db_core::mysql::prelude::Queryable;
use db_core::mysql::{self, Conn};

use crate::Run;

/// A server that is killed later than this before the end may not be back in time for its recovery to be seen.
const QUIET_END: Duration = Duration::from_secs(3);

const SESSIONS: &str = "SELECT id FROM information_schema.processlist \
                        WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()";

const NO_SUCH_THREAD: u16 = 1094;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FireError {
    #[error("the server could not be killed and restarted: {0}")]
    Server(#[from] db_testkit::Error),
    #[error("connections could not be killed: {0}")]
    Connections(#[from] mysql::Error),
}

/// Burns until the run has ended.
pub(crate) fn burn(run: &Run) -> Result<(), FireError> {
    let mut next_server_kill = run.began + Duration::from_secs(3).min(run.length / 4);
    let mut admin = None;
    while !run.has_ended() {
        let now = Instant::now();
        match &run.server {
            Some(server) if now >= next_server_kill && now + QUIET_END.min(run.length / 2) <= run.began + run.length => {
                admin = None;
                next_server_kill = now + Duration::from_millis(fastrand::u64(8_000..=10_000));
                server.kill9()?;
                run.tally.server_is_gone(now);
                server.restart()?;
                run.tally.server_is_back();
            }
            _ => match kill_connection(run, &mut admin) {
                Ok(true) => {
                    run.tally.connections_killed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(false) => {}
                Err(error @ mysql::Error::MySqlError(_)) => return Err(error.into()),
                // A server of the user's own may be restarting: the next round connects again.
                Err(_) => admin = None,
            },
        }
        thread::sleep(Duration::from_millis(fastrand::u64(150..=400)));
    }
    Ok(())
}

fn kill_connection(run: &Run, admin: &mut Option<Conn>) -> mysql::Result<bool> {
    let admin = match admin {
        Some(admin) => admin,
        None => admin.insert(run.connect()?),
    };
    let mut sessions: Vec<u32> = admin.query(SESSIONS)?;
    if run.server.is_none() {
        // A user's own server has sessions that are none of our business.
        let ours: Vec<u32> = run.session_ids().collect();
        sessions.retain(|id| ours.contains(id));
    }
    fastrand::choice(sessions).map_or(Ok(false), |id| kill(admin, id))
}

/// Frees what threads that hang may hold on the server.
pub(crate) fn kill_all(run: &Run, admin: &mut Conn) -> mysql::Result<()> {
    run.session_ids().try_for_each(|id| kill(admin, id).map(|_| ()))
}

/// Whether there was such a connection.
fn kill(admin: &mut Conn, id: u32) -> mysql::Result<bool> {
    match admin.query_drop(format!("KILL {id}")) {
        Ok(()) => Ok(true),
        Err(mysql::Error::MySqlError(error)) if error.code == NO_SUCH_THREAD => Ok(false),
        Err(error) => Err(error),
    }
}
