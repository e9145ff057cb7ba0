//! Network namespaces, in which a process has its own loopback interface.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Doing;
use crate::search::in_path;
use crate::{Error, Result};

/// A network namespace. It exists while a value or a process refers to it.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace with a loopback interface that is up.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where this process may not make one, or lacks the programs `unshare` and `ip`.
    pub(crate) fn create() -> Result<Namespace> {
        let program = |name: &str| in_path(name).ok_or_else(|| Error::Unsupported(format!("a network namespace needs `{name}`")));
        // The shell keeps the namespace alive until its file is open.
        let mut holder = Command::new(program("unshare")?)
            .args(["--net", "--", "sh", "-c", "\"$0\" link set lo up && echo up && exec cat"])
            .arg(program("ip")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| "starting unshare".into())?;
        let mut up = [0; 2];
        let is_up = holder.stdout.take().is_some_and(|mut output| output.read_exact(&mut up).is_ok());
        let file = File::open(format!("/proc/{}/ns/net", holder.id()));
        // The end of its input ends it.
        drop(holder.stdin.take());
        holder.wait().doing(|| "waiting for unshare".into())?;
        if !is_up {
            return Err(Error::Unsupported("this process may not make network namespaces; run as root".into()));
        }
        Ok(Namespace { file: Arc::new(file.doing(|| "opening a network namespace".into())?) })
    }

    /// The file by which other processes enter it.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Does this in the namespace. A socket stays in the one that it was made in.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        // On a new thread: a thread enters a namespace, and leaves it when it ends.
        let enter = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|_| Err(io::Error::other("a thread in a namespace panicked")))
    }
}
