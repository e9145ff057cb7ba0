//! Start, signals and end of a server process.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::error::Doing;
use crate::search::in_path;
use crate::{Error, Result};

/// A child process that does not outlive this value, nor the process that started it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts the command with its output appended to `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Process> {
        let output = File::options().create(true).append(true).open(log).doing(|| format!("opening {}", log.display()))?;
        let errors = output.try_clone().doing(|| "duplicating a file descriptor".into())?;
        // Its own process group, so that the scripts which a server has started can be ended with it.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        Ok(Process { child: spawn(command)? })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().doing(|| "waiting for the server".into())
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        self.child.kill().doing(|| "killing the server".into())?;
        // Until it has been waited for, its id and its group's id are not given to anybody else.
        if let Ok(pid) = self.pid() {
            // Fails if the group has no process left that this user may signal.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        self.child.wait().doing(|| "waiting for the server".into())?;
        Ok(())
    }

    /// SIGTERM; returns when the process is gone.
    pub(crate) fn terminate(&mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        // A stopped process does not see SIGTERM.
        self.signal(Signal::CONT)?;
        let deadline = Instant::now() + patience;
        while self.exited()?.is_none() {
            if Instant::now() > deadline {
                self.kill()?;
                return Err(Error::NotStopped(patience));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// SIGSTOP; returns when every thread of the process has stopped.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while rustix::process::waitid(WaitId::Pid(self.pid()?), stopped).doing(|| "waiting for the server to stop".into())?.is_none() {
            if self.exited()?.is_some() {
                return Err(Error::NotRunning);
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Reaping first makes sure that the id still belongs to the child.
        if self.exited()?.is_some() {
            return Err(Error::NotRunning);
        }
        rustix::process::kill_process(self.pid()?, signal).doing(|| format!("sending {signal:?} to the server"))
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or(Error::NotRunning)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if the process is gone already, which is what is wanted.
        let _ = self.kill();
    }
}

/// The id of the user `nobody` and of its group.
pub(crate) const NOBODY: u32 = 65_534;

/// Makes a command one that runs as `nobody` and ends with this process.
pub(crate) fn as_nobody(command: Command) -> Command {
    let setpriv = in_path("setpriv").unwrap_or_else(|| "setpriv".into());
    let ends_with_us = with_parent_death_signal(command);
    let mut wrapped = Command::new(setpriv);
    wrapped.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).args(["--clear-groups", "--"]);
    wrapped.arg(ends_with_us.get_program()).args(ends_with_us.get_args());
    wrapped
}

/// Makes a command one whose process ends with this one. To be called before its input and output are set.
///
/// The kernel kills it if this process ends without running destructors (SIGKILL, a time limit of the test runner).
/// `setpriv` replaces itself by the command, so the process id is the command's.
pub(crate) fn with_parent_death_signal(command: Command) -> Command {
    static SETPRIV: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let setpriv = SETPRIV.get_or_init(|| {
        // BusyBox has a setpriv too, which does not know the option.
        in_path("setpriv").filter(|setpriv| {
            Command::new(setpriv).arg("--help").output().is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--pdeathsig"))
        })
    });
    let Some(setpriv) = setpriv else { return command };
    let mut wrapped = Command::new(setpriv);
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    wrapped
}

/// Starts a command on a thread that lasts as long as the process. Linux sends the parent death signal when the *thread*
/// that started the child ends, and a test thread may end before its server is dropped.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    spawn_on_launcher(command).doing(|| format!("starting {program}"))
}

fn spawn_on_launcher(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static LAUNCHER: OnceLock<Sender<Job>> = OnceLock::new();
    let gone = |_| io::Error::other("the thread that starts servers has ended");

    let launcher = LAUNCHER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                // Nobody waits for the reply any more only if the asking thread has ended.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, child) = mpsc::channel();
    launcher.send((command, reply)).map_err(|error| gone(error.to_string()))?;
    child.recv().map_err(|error| gone(error.to_string()))?
}
