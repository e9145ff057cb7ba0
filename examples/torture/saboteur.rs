//! What goes wrong at the server itself.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use db_core::mysql::Conn;
use db_core::mysql::prelude::Queryable;
use db_testkit::Server;

use crate::plan::Blow;
use crate::tally::{Tally, add};

const SESSIONS: &str = "SELECT id FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID() ORDER BY id";

/// Kills and freezes the server as it is told, until nobody is left to tell.
pub(crate) fn strike(server: &Server, tally: &Tally, blows: &Receiver<Blow>) -> db_testkit::Result<()> {
    for blow in blows {
        match blow {
            Blow::Kill => {
                server.kill9()?;
                server.restart()?;
                add(&tally.server_kills);
            }
            Blow::Freeze(time) => {
                server.pause()?;
                thread::sleep(time);
                server.resume()?;
                add(&tally.server_freezes);
            }
        }
    }
    Ok(())
}

/// Kills sessions, past the proxies. A server that is away has none.
pub(crate) fn kill_sessions(server: &Server, tally: &Tally, orders: &Receiver<(Duration, usize)>) {
    let mut admin = None;
    for (after, pick) in orders {
        thread::sleep(after);
        if admin.is_none() {
            admin = server.connect().ok();
        }
        match admin.as_mut().map(|admin| kill_session(admin, pick)) {
            Some(Ok(true)) => {
                tally.sessions_killed.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(false)) | None => {}
            Some(Err(_)) => admin = None,
        }
    }
}

fn kill_session(admin: &mut Conn, pick: usize) -> db_core::mysql::Result<bool> {
    let sessions: Vec<u32> = admin.query(SESSIONS)?;
    let Some(id) = sessions.get(pick % sessions.len().max(1)) else { return Ok(false) };
    admin.query_drop(format!("KILL {id}"))?;
    Ok(true)
}
