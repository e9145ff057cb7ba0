//! A private server: start, signals, connections.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder};
use parking_lot::Mutex;

use crate::error::Doing;
use crate::flavor::Program;
use crate::port::Port;
use crate::process::Process;
use crate::template::{Home, option, tail};
use crate::{Error, FaultProxy, Flavor, Result};

/// How long a server may take until it replies to its first query, and to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How many ports are tried: another process may take one between the check and the bind.
const PORTS_TRIED: u32 = 10;

/// Small and quick. A committed transaction survives SIGKILL of the server (its log is in the page cache), though not a
/// power failure. `loose-` makes an option that another version lacks a warning.
const OPTIONS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--character-set-server=utf8mb4",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-fast-shutdown=2",
    "--loose-innodb-flush-method=nosync",
    "--loose-innodb-buffer-pool-load-at-startup=OFF",
    "--loose-innodb-buffer-pool-dump-at-shutdown=OFF",
];

const MARIADB_OPTIONS: &[&str] = &["--loose-innodb-log-file-size=4M", "--loose-innodb-temp-data-file-path=ibtmp1:1M:autoextend"];

const MYSQL_OPTIONS: &[&str] = &[
    "--loose-innodb-redo-log-capacity=16M",
    "--loose-innodb-validate-tablespace-paths=OFF",
    "--loose-mysqlx=OFF",
    "--secure-file-priv=NULL",
];

/// Options of a server to be started. Made by [`Server::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "a server is started by `start`"]
pub struct ServerBuilder {
    flavor: Option<Flavor>,
    args: Vec<OsString>,
    #[cfg(feature = "tls")]
    tls: bool,
}

impl ServerBuilder {
    /// Which server to start. Default: [`Flavor::from_env`].
    pub fn flavor(mut self, flavor: Flavor) -> Self {
        self.flavor = Some(flavor);
        self
    }

    /// Adds an option to the server's command line. It comes after those of this crate, so it wins over them.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Gives the server its own certificate, for 127.0.0.1 and `localhost`. Clients trust it by
    /// [`Server::ca_certificate`]. They may still do without TLS, unless `--require-secure-transport=ON` is among the options.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts the server and waits until it replies to queries.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn start(self) -> Result<Server> {
        let flavor = self.flavor.map_or_else(Flavor::from_env, Ok)?;
        let mut server = self.prepare(Program::find(flavor)?)?;
        for _ in 1..PORTS_TRIED {
            match server.restart() {
                Err(Error::Exited { log, .. }) if log.contains("Address already in use") => server.port = Port::reserve()?,
                other => {
                    other?;
                    break;
                }
            }
        }
        server.version = server.connect()?.query_first("SELECT VERSION()")?.unwrap_or_default();
        Ok(server)
    }

    /// Makes the directory of a server that is not started.
    pub(crate) fn prepare(self, program: Program) -> Result<Server> {
        let home = Home::create(&program)?;
        let mut args = Vec::new();
        #[cfg(feature = "tls")]
        if self.tls {
            args = crate::certificate::make(&program, home.directory())?;
        }
        args.extend(self.args);
        Ok(Server {
            port: Port::reserve()?,
            program,
            args,
            version: String::new(),
            databases: AtomicU32::new(0),
            path: None,
            process: Mutex::new(None),
            home,
        })
    }
}

/// A private server with an empty data directory, on a loopback port.
///
/// It is killed, and its files are removed, when this value is dropped (a panic drops it too), and also when the
/// process ends in any other way (where `setpriv` of util-linux exists). All methods take `&self`: a test may kill
/// the server on one thread while others use it.
///
/// The account is `root` without a password, reachable from `127.0.0.1` and by the socket.
///
/// ```
/// use db_testkit::Server;
/// use db_testkit::mysql::prelude::Queryable;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::start()?;
/// server.connect()?.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")?;
/// server.kill9()?;
/// server.restart()?;                       // same port, same data
/// server.connect()?.query_drop("INSERT INTO t VALUES (1)")?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    // First, so that the process ends before its directory is removed.
    process: Mutex<Option<Process>>,
    program: Program,
    args: Vec<OsString>,
    /// `PATH`, if it is not that of this process.
    path: Option<OsString>,
    port: Port,
    version: String,
    databases: AtomicU32,
    home: Home,
}

impl Server {
    /// Starts a server of the flavor named by `DB_TESTKIT_SERVER` and waits until it replies to queries.
    ///
    /// Takes about 0.15 s (MariaDB) or 0.8 s (MySQL); the first time on a machine 0.5 s or 4 s.
    ///
    /// # Errors
    ///
    /// [`Error::ServerNotFound`] names the package to install. [`Error::Exited`] and [`Error::NotReady`] (after 30 s)
    /// hold the end of the server log.
    pub fn start() -> Result<Server> {
        Server::builder().start()
    }

    /// A server with a chosen flavor or options.
    ///
    /// ```no_run
    /// use db_testkit::{Flavor, Server};
    ///
    /// let server = Server::builder()
    ///     .flavor(Flavor::MariaDb)
    ///     .arg("--innodb-lock-wait-timeout=1")
    ///     .start()?;
    /// # Ok::<(), db_testkit::Error>(())
    /// ```
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The URL of an empty database (`test`, utf8mb4): `mysql://root@127.0.0.1:PORT/test`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("test")
    }

    /// The URL of a database by name.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        format!("mysql://root@{}/{database}", self.address())
    }

    /// Makes a new empty database (utf8mb4) and returns its URL.
    ///
    /// # Errors
    ///
    /// [`Error::Mysql`] if the server does not reply.
    pub fn create_database(&self) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed) + 1);
        self.connect()?.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))?;
        Ok(self.url_for(&name))
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The TCP port: below 32768, and the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The Unix socket. Its path is shorter than 100 bytes, unless the one of `DB_TESTKIT_MYSQL_ROOT` is long.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.socket()
    }

    /// The certificate, in PEM, of the authority that vouches for a server started with [`ServerBuilder::tls`].
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        crate::certificate::ca(self.home.directory())
    }

    /// The process id of the server; `None` when it was stopped or killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().as_ref().map(Process::id)
    }

    /// Which server this is.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.program.flavor
    }

    /// The server's `VERSION()`, such as `10.11.14-MariaDB-0+deb12u2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A new connection as `root` to the database `test`, by TCP, without round trips beyond the handshake.
    ///
    /// # Errors
    ///
    /// [`Error::Mysql`] if the server does not reply.
    pub fn connect(&self) -> Result<Conn> {
        Ok(Conn::new(self.opts())?)
    }

    /// A [`FaultProxy`] before this server.
    ///
    /// # Errors
    ///
    /// As [`FaultProxy::start`].
    pub fn proxy(&self) -> Result<FaultProxy> {
        FaultProxy::start(self.address())
    }

    /// Ends the server without warning (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed before.
    pub fn kill9(&self) -> Result<()> {
        self.process.lock().take().ok_or(Error::NotRunning)?.kill()
    }

    /// Asks the server to shut down (SIGTERM), and returns when it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed before; [`Error::NotStopped`] after 30 s.
    pub fn stop(&self) -> Result<()> {
        self.process.lock().take().ok_or(Error::NotRunning)?.terminate(PATIENCE)
    }

    /// Stops the server if it runs, starts it on the same data and port, and waits until it replies to queries.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn restart(&self) -> Result<()> {
        match self.stop() {
            Ok(()) | Err(Error::NotRunning) => {}
            Err(error) => return Err(error),
        }
        self.launch()?;
        self.wait_ready()
    }

    /// Starts a stopped or killed server without waiting for it; see [`wait_ready`](Self::wait_ready).
    ///
    /// # Errors
    ///
    /// [`Error::Running`] if it was not stopped or killed; [`Error::Io`] if the program cannot be started.
    pub fn launch(&self) -> Result<()> {
        self.launch_with(&[])
    }

    /// The same, with options for this time only.
    pub(crate) fn launch_with(&self, args: &[OsString]) -> Result<()> {
        let mut command = self.command();
        command.args(args);
        let mut process = self.process.lock();
        if process.is_some() {
            return Err(Error::Running);
        }
        *process = Some(Process::spawn(command, &self.home.log())?);
        Ok(())
    }

    /// Waits until the server replies to a query, for up to 30 s.
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] if it ends, [`Error::NotReady`] if it does not reply, both with the end of the log;
    /// [`Error::NotRunning`] if it was stopped.
    pub fn wait_ready(&self) -> Result<()> {
        self.wait_answer(PATIENCE)
    }

    pub(crate) fn wait_answer(&self, patience: Duration) -> Result<()> {
        let opts = OptsBuilder::from_opts(self.opts())
            .tcp_connect_timeout(Some(Duration::from_secs(1)))
            .read_timeout(Some(Duration::from_secs(5)))
            .write_timeout(Some(Duration::from_secs(5)));
        let deadline = Instant::now() + patience;
        loop {
            let last = match replying_server(opts.clone()) {
                // The reply may be another server's, which took the port before ours could.
                Ok(pid_file) if pid_file.as_deref() == self.pid_file().to_str() => return Ok(()),
                Ok(pid_file) => format!("another server listens on port {}: {pid_file:?}", self.port()),
                Err(error) => error.to_string(),
            };
            let mut process = self.process.lock();
            if let Some(status) = process.as_mut().ok_or(Error::NotRunning)?.exited()? {
                *process = None;
                return Err(Error::Exited { status, log: tail(&self.home.log()) });
            }
            drop(process);
            if Instant::now() > deadline {
                return Err(Error::NotReady { waited: patience, last, log: tail(&self.home.log()) });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Freezes the server (SIGSTOP). Its connections stay open without replies. Returns when all its threads
    /// have stopped.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed.
    pub fn pause(&self) -> Result<()> {
        self.process.lock().as_mut().ok_or(Error::NotRunning)?.pause()
    }

    /// Resumes a frozen server (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if it was stopped or killed.
    pub fn resume(&self) -> Result<()> {
        self.process.lock().as_mut().ok_or(Error::NotRunning)?.resume()
    }

    /// Everything the server wrote to its error log, over all restarts.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read.
    pub fn log(&self) -> Result<String> {
        let log = self.home.log();
        let bytes = fs::read(&log).doing(|| format!("reading {}", log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where its files are.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The program that it runs.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Lets it run as `nobody` from its first start on, if this process is root.
    pub(crate) fn drop_privileges(&mut self) -> Result<()> {
        self.program.unprivileged = true;
        self.program.owner().map_or(Ok(()), |owner| self.home.give_to(owner))
    }

    /// Gives a file in its directory to the user as whom it runs.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        let owner = self.program.owner();
        owner.map_or(Ok(()), |owner| chown(path, Some(owner), Some(owner)).doing(|| format!("giving away {}", path.display())))
    }

    /// Where it finds the programs that it starts.
    pub(crate) fn set_path(&mut self, path: OsString) {
        self.path = Some(path);
    }

    /// How the process ended, if it did without being asked to.
    pub(crate) fn exited(&self) -> Result<Option<ExitStatus>> {
        self.process.lock().as_mut().map_or(Ok(None), Process::exited)
    }

    /// Adds an option to the command line.
    pub(crate) fn add_arg(&mut self, arg: impl Into<OsString>) {
        self.args.push(arg.into());
    }

    fn opts(&self) -> Opts {
        OptsBuilder::new()
            .ip_or_hostname(Some(Ipv4Addr::LOCALHOST.to_string()))
            .tcp_port(self.port())
            .user(Some("root"))
            .db_name(Some("test"))
            .prefer_socket(false)
            .max_allowed_packet(Some(16 << 20))
            .tcp_connect_timeout(Some(Duration::from_secs(10)))
            .into()
    }

    /// As the server names it.
    fn pid_file(&self) -> PathBuf {
        self.program.inside(&self.home.pid_file())
    }

    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = self.program.command();
        command
            .arg("--no-defaults")
            .args(self.program.as_root())
            .args(OPTIONS)
            .args(match self.program.flavor {
                Flavor::MariaDb => MARIADB_OPTIONS,
                Flavor::MySql => MYSQL_OPTIONS,
            })
            .arg(format!("--port={}", self.port()))
            .arg(option("datadir", self.program.inside(&self.home.data())))
            .arg(option("tmpdir", self.program.inside(&self.home.tmp())))
            .arg(option("socket", self.program.inside(&self.home.socket())))
            .arg(option("pid-file", self.pid_file()))
            .args(&self.args)
            .envs(self.path.as_ref().map(|path| ("PATH", path)));
        command
    }
}

/// The `@@pid_file` of the server that replies.
fn replying_server(opts: OptsBuilder) -> mysql::Result<Option<String>> {
    Conn::new(opts)?.query_first("SELECT @@pid_file")
}
