//! The saboteur: kills sessions, and kills and freezes the server, as it is told.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use db_core::mysql::prelude::Queryable;
use db_core::mysql::{self, Conn};

use crate::nodes::NodeFault;
use crate::plan::ServerFault;
use crate::tally::add;
use crate::{Run, Script};

/// A server that is killed later than this before the end may not be back in time for its recovery to be seen.
const QUIET_END: Duration = Duration::from_secs(3);

const PAUSE: Duration = Duration::from_millis(50);

const SESSIONS: &str = "SELECT id FROM information_schema.processlist \
                        WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID() ORDER BY id";

const NO_SUCH_THREAD: u16 = 1094;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SaboteurError {
    #[error("the server could not be killed and restarted: {0}")]
    Server(#[from] db_testkit::Error),
    #[error("connections could not be killed: {0}")]
    Connections(#[from] mysql::Error),
}

/// Works until the channel is closed.
pub(crate) fn work(run: &Run, faults: &Receiver<ServerFault>) -> Result<(), SaboteurError> {
    let mut admin = None;
    for fault in faults {
        match (fault, run.site.throwaway()) {
            (ServerFault::KillSession { after, pick }, _) => {
                thread::sleep(after);
                match kill_session(run, &mut admin, pick) {
                    Ok(true) => add(&run.tally.sessions_killed),
                    Ok(false) => {}
                    Err(error @ mysql::Error::MySqlError(_)) => return Err(error.into()),
                    // The server may be restarting: the next kill connects again.
                    Err(_) => admin = None,
                }
            }
            (ServerFault::KillServer, Some(server)) => {
                let killed_at = Instant::now();
                server.kill9()?;
                run.tally.server_is_gone(killed_at);
                server.restart()?;
                run.tally.server_is_back();
            }
            (ServerFault::Freeze(time), Some(server)) => {
                server.pause()?;
                thread::sleep(time);
                server.resume()?;
                add(&run.tally.server_freezes);
            }
            (ServerFault::KillServer | ServerFault::Freeze(_), None) => {}
        }
    }
    Ok(())
}

/// Lets the nodes of a cluster fail, one after the other, while work goes on.
pub(crate) fn work_on_nodes(run: &Run) -> Result<(), SaboteurError> {
    let done = match (run.site.nodes(), &run.script) {
        (Some(nodes), Script::Cluster { ops, seed, failures }) => thread::scope(|scope| {
            scope.spawn(|| nodes.steer(run));
            let mut rng = fastrand::Rng::with_seed(*seed);
            let every = ops / (failures * 2).max(1);
            let mut result = Ok(());
            for number in 0..failures * 2 {
                let due = (number + 1) * every;
                while (run.tally.done.load(Ordering::Relaxed) as usize) < due && !run.is_over() {
                    thread::sleep(PAUSE);
                }
                result = nodes.strike(run, NodeFault::nth(number, nodes.kind), &mut rng);
                if result.is_err() || run.is_over() {
                    break;
                }
            }
            run.quiet.store(true, Ordering::Release);
            if result.is_err() {
                // The run has nothing left to show.
                run.end();
            }
            result
        }),
        _ => Ok(()),
    };
    Ok(done?)
}

fn kill_session(run: &Run, admin: &mut Option<Conn>, pick: usize) -> mysql::Result<bool> {
    let admin = match admin {
        Some(admin) => admin,
        None => {
            run.forget_sessions();
            admin.insert(run.site.connect()?)
        }
    };
    let mut sessions: Vec<u32> = admin.query(SESSIONS)?;
    if run.site.throwaway().is_none() {
        // The user's server has sessions of other programs.
        let ours: Vec<u32> = run.session_ids().collect();
        sessions.retain(|id| ours.contains(id));
    }
    sessions.get(pick % sessions.len().max(1)).map_or(Ok(false), |id| kill(admin, *id))
}

/// Releases what threads that hang may hold on the server.
pub(crate) fn kill_all(run: &Run, admin: &mut Conn) -> mysql::Result<()> {
    run.session_ids().try_for_each(|id| kill(admin, id).map(drop))
}

/// Whether there was such a session.
fn kill(admin: &mut Conn, id: u32) -> mysql::Result<bool> {
    match admin.query_drop(format!("KILL {id}")) {
        Ok(()) => Ok(true),
        Err(mysql::Error::MySqlError(error)) if error.code == NO_SUCH_THREAD => Ok(false),
        Err(error) => Err(error),
    }
}

/// The faults of the demo: by the clock, not by a plan.
pub(crate) struct Clock {
    end: Instant,
    next_session: Instant,
    last_server_kill: Instant,
    next_server_kill: Instant,
}

impl Clock {
    pub(crate) fn new(length: Duration) -> Self {
        let now = Instant::now();
        Self {
            end: now + length,
            next_session: now,
            last_server_kill: now + length - QUIET_END.min(length / 2),
            next_server_kill: now + Duration::from_secs(3).min(length / 4),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    pub(crate) fn tick(&mut self, run: &Run) {
        let now = Instant::now();
        if now >= self.next_server_kill && now <= self.last_server_kill {
            self.next_server_kill = now + Duration::from_millis(fastrand::u64(8_000..=10_000));
            run.strike(ServerFault::KillServer);
        }
        if now >= self.next_session {
            self.next_session = now + Duration::from_millis(fastrand::u64(150..=400));
            run.strike(ServerFault::KillSession { after: Duration::ZERO, pick: fastrand::usize(..) });
        }
    }
}
