//! What makes one round like the next, where one connection is measured?
//!
//! Two things decide how long a small transaction takes, and neither is a peer's: whether a processor is asleep when a packet comes, since
//! waking a halted virtual processor takes longer than the transaction; and whether client and server are on the same processor, which is a
//! matter of luck, lasts for as long as a connection does, and halves the time or doubles it. So the processors always have something to
//! do, at a priority at which it waits for everybody else, and client and server have processors of their own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::site::Site;

/// Until this is dropped.
pub(crate) struct Steady {
    spinning: Vec<Child>,
    /// Where everything might run before.
    everywhere: Option<CpuSet>,
    server: Vec<Pid>,
}

impl Steady {
    /// Goes without what the machine does not allow, and says so: figures spread more then.
    pub(crate) fn start(site: &Site) -> Self {
        let mut steady = Self { spinning: spinning(), everywhere: None, server: threads_of(site) };
        let Some((everywhere, client, server)) = halves() else {
            eprintln!("client and server share one processor: figures depend on which of them it is given to");
            return steady;
        };
        steady.everywhere = Some(everywhere);
        // Threads and processes that are started from here on are where this thread is; the server's likewise.
        if sched_setaffinity(None, &client).is_err() || !steady.place_server(&server) {
            eprintln!("processors cannot be assigned: figures depend on where client and server happen to run");
        }
        steady
    }

    fn place_server(&self, processors: &CpuSet) -> bool {
        // A thread may have ended since.
        self.server.iter().filter(|thread| sched_setaffinity(Some(**thread), processors).is_ok()).count() > 0
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        if let Some(everywhere) = &self.everywhere {
            // What could be restricted can be freed.
            let _ = sched_setaffinity(None, everywhere);
            self.place_server(everywhere);
        }
        for child in &mut self.spinning {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One process per processor.
fn spinning() -> Vec<Child> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let start =
        |program: &std::path::Path| Command::new("chrt").args(["--idle", "0"]).arg(program).arg("spin").stdin(Stdio::null()).spawn();
    let spinning: Vec<Child> =
        std::env::current_exe().into_iter().flat_map(|program| (0..processors).filter_map(move |_| start(&program).ok())).collect();
    if spinning.len() < processors {
        eprintln!("chrt of util-linux cannot be run: the processors may fall asleep, and figures spread");
    }
    spinning
}

/// What each of these processes does, for as long as its parent lives.
pub(crate) fn spin() {
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        for _ in 0..1_000_000 {
            std::hint::spin_loop();
        }
    }
}

/// All processors, the first one, and the others. `None`: there is but one.
fn halves() -> Option<(CpuSet, CpuSet, CpuSet)> {
    let everywhere = sched_getaffinity(None).ok()?;
    let mut processors = (0..CpuSet::MAX_CPU).filter(|number| everywhere.is_set(*number));
    let (mut client, mut server) = (CpuSet::new(), CpuSet::new());
    client.set(processors.next()?);
    processors.for_each(|number| server.set(number));
    (server.count() > 0).then_some((everywhere, client, server))
}

fn threads_of(site: &Site) -> Vec<Pid> {
    let Some(process) = site.server.pid() else { return Vec::new() };
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}
