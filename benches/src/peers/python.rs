//! The reference in Python, as a process of its own: `mysqlclient` and hand-written decorators, in `reference.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use mysql::Opts;

use super::driver::cause;
use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::Work;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference.py");

pub(super) struct Python {
    interpreter: PathBuf,
}

struct Opener {
    interpreter: PathBuf,
    open: String,
}

/// An interpreter with one connection. It times itself: the pipe costs it nothing.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    pub(super) fn new(interpreter: &Path) -> Self {
        Self { interpreter: interpreter.to_owned() }
    }
}

impl Peer for Python {
    fn name(&self) -> &'static str {
        "Python, mysqlclient"
    }

    fn client(&self, url: &str, _sessions: usize) -> Outcome<Box<dyn Client>> {
        let options = Opts::from_url(url)?;
        let host = options.get_ip_or_hostname();
        let (user, database) = (options.get_user().unwrap_or("root"), options.get_db_name().unwrap_or("test"));
        let open = format!("open {host} {} {user} {database}", options.get_tcp_port());
        Ok(Box::new(Opener { interpreter: self.interpreter.clone(), open }))
    }
}

impl Client for Opener {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        let mut child = Command::new(&self.interpreter).arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(cause("the interpreter has no pipes"));
        };
        let mut process = Process { child, input, output: BufReader::new(output) };
        process.ask(&self.open, &|| {})?;
        Ok(Box::new(process))
    }
}

impl Session for Process {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        self.ask(&format!("once {} {row}", work.name()), midway).map(drop)
    }

    fn run(&mut self, work: Work, row: u32, count: u32) -> Outcome<Duration> {
        self.ask(&format!("run {} {row} {count}", work.name()), &|| {})
    }
}

impl Process {
    fn ask(&mut self, line: &str, midway: Midway<'_>) -> Outcome<Duration> {
        writeln!(self.input, "{line}")?;
        loop {
            let mut answer = String::new();
            self.output.read_line(&mut answer)?;
            match answer.trim_end().split_once(' ') {
                Some(("ok", seconds)) => return Ok(Duration::from_secs_f64(seconds.parse()?)),
                Some(("error", text)) => return Err(cause(text)),
                None if answer.trim_end() == "midway" => {
                    midway();
                    writeln!(self.input, "go on")?;
                }
                _ => return Err(cause(format!("reference.py said `{}`", answer.trim_end()))),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
