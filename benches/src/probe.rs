//! A program that does nothing but transactions: what valgrind looks at. This binary runs itself as one.

use std::process::{self, Command};
use std::thread;

use clap::{Args, ValueEnum};
use parking_lot::Mutex;
use tracing::subscriber::NoSubscriber;

use crate::error::{Error, Outcome, Result};
use crate::peer::{Midway, Peer, Session};
use crate::peers::by_hand::ByHand;
use crate::peers::driver::Bare;
use crate::peers::ours::Ours;
use crate::tools;
use crate::work::{Work, first_row};

/// What the program is to do.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Probe {
    /// Who does it.
    #[arg(long, value_enum)]
    pub(crate) peer: Subject,
    /// What is done in a transaction.
    #[arg(long, value_parser = work)]
    pub(crate) work: Work,
    /// How many transactions each session does.
    #[arg(long)]
    pub(crate) count: u32,
    /// How many sessions there are.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: usize,
    /// Ends with a transaction open in each session.
    #[arg(long)]
    pub(crate) hold: bool,
    /// Installs a `tracing` subscriber that wants nothing.
    #[arg(long)]
    pub(crate) deaf: bool,
}

/// Whose instructions and bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    Ours,
    OursLedger,
    ByHand,
    ByHandLedger,
    Bare,
}

fn work(name: &str) -> std::result::Result<Work, String> {
    Work::by_name(name).ok_or_else(|| format!("there is no work `{name}`"))
}

impl Subject {
    fn peer(self) -> Box<dyn Peer> {
        match self {
            Subject::Ours => Box::new(Ours { ledger: false }),
            Subject::OursLedger => Box::new(Ours { ledger: true }),
            Subject::ByHand => Box::new(ByHand { ledger: false }),
            Subject::ByHandLedger => Box::new(ByHand { ledger: true }),
            Subject::Bare => Box::new(Bare),
        }
    }
}

impl Probe {
    /// This program again, with arguments. `under`: what runs it.
    pub(crate) fn command(self, under: &[&str], url: &str) -> Result<Command> {
        let program = std::env::current_exe().map_err(|source| Error::Io { doing: "asking for this program's file".into(), source })?;
        let mut command = match under {
            [] => Command::new(&program),
            [runner, arguments @ ..] => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(&program);
                command
            }
        };
        let peer = self.peer.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        command.args(["probe", "--url", url, "--peer", &peer, "--work", self.work.name()]);
        command.args(["--count", &self.count.to_string(), "--sessions", &self.sessions.to_string()]);
        command.args(self.hold.then_some("--hold")).args(self.deaf.then_some("--deaf"));
        Ok(command)
    }

    /// Does it, prints how much memory has been added, and ends the process with everything still open: what is live then is what is
    /// counted.
    pub(crate) fn run(self, url: &str) -> Result<()> {
        let peer = self.peer.peer();
        let failed = |source| Error::Peer { peer: peer.name(), doing: "being looked at", source };
        if self.deaf {
            tracing::subscriber::set_global_default(NoSubscriber::new()).map_err(|error| failed(error.into()))?;
        }
        // As soon as a process has a second thread, the C library's `send`, `recv` and `malloc` take some 230 instructions more per
        // transaction. Every program that uses a pool or a runtime has one, and so has every program that uses this library: the watch.
        thread::spawn(thread::park);
        let client = peer.client(url, self.sessions.max(1)).map_err(failed)?;
        let before = tools::resident()?;
        let mut sessions = Vec::new();
        for number in 0..self.sessions {
            let mut session = client.session().map_err(failed)?;
            session.run(self.work, first_row(number), self.count).map_err(failed)?;
            sessions.push(Mutex::new(session));
        }
        let end = || {
            match tools::resident() {
                Ok(now) => println!("added: {:.0}", now - before),
                Err(error) => eprintln!("{error}"),
            }
            process::exit(0)
        };
        if self.hold {
            return hold(&sessions, 0, &end).map_err(failed);
        }
        end();
        Ok(())
    }
}

/// A transaction in each session, one begun in the middle of the other; then `end`.
fn hold(sessions: &[Mutex<Box<dyn Session>>], number: usize, end: Midway<'_>) -> Outcome<()> {
    let Some(session) = sessions.get(number) else {
        end();
        return Ok(());
    };
    session.lock().once(Work::Interrupted, first_row(number), &|| {
        if let Err(error) = hold(sessions, number + 1, end) {
            eprintln!("session {number}: {error}");
            process::exit(1);
        }
    })
}
