//! How much memory do a connection and an open transaction take in the client?

use super::Bench;
use crate::error::Result;
use crate::peers::{BASE, BY_HAND, OURS, OURS_LEDGER};
use crate::probe::{Probe, Subject};
use crate::report::{Section, Table};
use crate::site::Site;
use crate::tools;
use crate::work::Work;

const SESSIONS: usize = 16;

const CURE: &str = "It counts what is allocated. `cargo xtask bench` installs it; by hand: apt-get install valgrind";

pub(super) fn run(bench: &Bench, site: &Site) -> Result<Section> {
    let mut section = Section::new("Memory in the client");
    section.say(format!(
        "{SESSIONS} connections on one thread that have each done 1 UPDATE, and then {SESSIONS} of them in the middle of a transaction. \
         Live heap by DHAT, less that of no connection; and the resident size that was added to the process, in pages of 4 KiB, so that \
         small amounts do not show."
    ));
    let mut table = Table::new(
        "Bytes each",
        ["", "connection, heap", "connection, resident", "open transaction more, heap", "open transaction more, resident"],
    );
    let subjects = [(OURS, Subject::Ours), (BASE, Subject::Bare), (OURS_LEDGER, Subject::OursLedger), (BY_HAND, Subject::ByHand)];
    for &(name, peer) in bench.effort(&subjects[..2], &subjects[..]) {
        let probe = |sessions, hold| Probe { peer, work: Work::Update, count: 1, sessions, hold, deaf: false };
        let none = heap(bench, site, probe(0, false))?;
        let open = heap(bench, site, probe(SESSIONS, false))?;
        let held = heap(bench, site, probe(SESSIONS, true))?;
        let (resident, resident_held) = (resident(site, probe(SESSIONS, false))?, resident(site, probe(SESSIONS, true))?);
        let each = |bytes: f64| format!("{:.0}", bytes / SESSIONS as f64);
        table.row([name.to_owned(), each(open - none), each(resident), each(held - open), each(resident_held - resident)]);
    }
    section.tables.push(table);
    Ok(section)
}

/// Bytes that are live when the program ends.
fn heap(bench: &Bench, site: &Site, probe: Probe) -> Result<f64> {
    let out = format!("--dhat-out-file={}", bench.out.join("dhat.out").display());
    let said = tools::run(&mut probe.command(&["valgrind", "--tool=dhat", &out], &site.url())?, CURE)?;
    tools::number_after("dhat", "At t-end:", &said.stderr)
}

fn resident(site: &Site, probe: Probe) -> Result<f64> {
    let said = tools::run(&mut probe.command(&[], &site.url())?, "This program runs itself.")?;
    tools::number_after("the probe", "added:", &said.stdout)
}
