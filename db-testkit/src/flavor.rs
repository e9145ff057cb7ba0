//! Server programs: their families and where they are installed.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace::Namespace;
use crate::process::{NOBODY, as_nobody, with_parent_death_signal};
use crate::search::in_path;
use crate::{Error, Result};

/// A family of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// MariaDB (`mariadbd`).
    MariaDb,
    /// Oracle MySQL (`mysqld`).
    MySql,
}

impl Flavor {
    /// The flavor named by the environment variable `DB_TESTKIT_SERVER`; [`Flavor::MariaDb`] if it is not set.
    ///
    /// ```
    /// use db_testkit::Flavor;
    /// assert!(matches!(Flavor::from_env(), Ok(Flavor::MariaDb | Flavor::MySql)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::UnknownFlavor`] for any value but `mariadb` and `mysql`.
    pub fn from_env() -> Result<Flavor> {
        match env::var_os("DB_TESTKIT_SERVER") {
            None => Ok(Flavor::MariaDb),
            Some(name) if name == "mariadb" => Ok(Flavor::MariaDb),
            Some(name) if name == "mysql" => Ok(Flavor::MySql),
            Some(name) => Err(Error::UnknownFlavor(name.to_string_lossy().into_owned())),
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavor::MariaDb => "MariaDB",
            Flavor::MySql => "MySQL",
        })
    }
}

/// A server program, and the directory tree it runs in.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) flavor: Flavor,
    /// As the program's own process sees it: inside `root`.
    pub(crate) path: PathBuf,
    /// Where to `chroot`, if the program lives in its own directory tree.
    pub(crate) root: Option<PathBuf>,
    /// Whether it runs as `nobody` where this process runs as root: some programs refuse or fail to work as root.
    pub(crate) unprivileged: bool,
    /// Where its sockets are, if not where those of this process are.
    pub(crate) namespace: Option<Namespace>,
}

impl Program {
    pub(crate) fn find(flavor: Flavor) -> Result<Program> {
        let tree = Tree::of(flavor);
        match env::var_os(tree.variable) {
            Some(root) => tree.program(Path::new(&root)),
            None => match flavor {
                Flavor::MariaDb => find_mariadb(),
                Flavor::MySql => find_mysql(),
            },
        }
    }

    /// The program file as this process sees it.
    pub(crate) fn file(&self) -> PathBuf {
        self.outside(&self.path)
    }

    /// A path as the program sees it, as this process sees it.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// A path of ours as the program sees it.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        match self.root.as_deref().and_then(|root| path.strip_prefix(root).ok()) {
            Some(rest) => Path::new("/").join(rest),
            None => path.to_owned(),
        }
    }

    /// A command that becomes the program, and ends with this process: each program in front of it replaces itself, so the
    /// process id is the server's.
    pub(crate) fn command(&self) -> Command {
        self.command_for(&self.path)
    }

    /// The same for another program of the same directory tree.
    pub(crate) fn command_for(&self, path: &Path) -> Command {
        let drops = self.drops_privileges();
        let mut command = if drops { as_nobody(Command::new(path)) } else { Command::new(path) };
        if let Some(root) = &self.root {
            let inner = command;
            command = Command::new(in_path("chroot").unwrap_or_else(|| "chroot".into()));
            command.arg(root).arg(inner.get_program()).args(inner.get_args());
        }
        if let Some(namespace) = &self.namespace {
            let inner = command;
            command = Command::new(in_path("nsenter").unwrap_or_else(|| "nsenter".into()));
            command.arg(format!("--net={}", namespace.path().display())).arg("--").arg(inner.get_program()).args(inner.get_args());
        }
        // A change of user clears the signal, so `as_nobody` has set it after that.
        if drops { command } else { with_parent_death_signal(command) }
    }

    fn drops_privileges(&self) -> bool {
        self.unprivileged && rustix::process::geteuid().is_root()
    }

    /// The user to whom the program's files must belong, if it is another one than that of this process.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.drops_privileges().then_some(NOBODY)
    }

    /// What makes a server that is started as root stay root.
    pub(crate) fn as_root(&self) -> Option<&'static str> {
        (rustix::process::geteuid().is_root() && !self.unprivileged).then_some("--user=root")
    }
}

/// How a directory tree with a server is named and made.
struct Tree {
    flavor: Flavor,
    variable: &'static str,
    program: &'static str,
    package: &'static str,
}

impl Tree {
    fn of(flavor: Flavor) -> Tree {
        match flavor {
            Flavor::MariaDb => {
                Tree { flavor, variable: "DB_TESTKIT_MARIADB_ROOT", program: "/usr/sbin/mariadbd", package: "mariadb-server-core" }
            }
            Flavor::MySql => Tree { flavor, variable: "DB_TESTKIT_MYSQL_ROOT", program: "/usr/sbin/mysqld", package: "mysql-server-core" },
        }
    }

    fn program(&self, root: &Path) -> Result<Program> {
        let Tree { flavor, variable, package, .. } = *self;
        let missing = |cure| Error::ServerNotFound { flavor, cure };
        let root = root.canonicalize().map_err(|error| missing(format!("{variable}={}: {error}", root.display())))?;
        let program = Program { flavor, path: self.program.into(), root: Some(root), unprivileged: false, namespace: None };
        if !program.file().is_file() {
            return Err(missing(format!("{variable} has no {}; install {package} in it", program.file().display())));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(missing(format!("{variable} is used by chroot, which needs root; unset it or run as root")));
        }
        Ok(program)
    }
}

fn find_mariadb() -> Result<Program> {
    let native = |path| Program { flavor: Flavor::MariaDb, path, root: None, unprivileged: false, namespace: None };
    if let Some(path) = in_path("mariadbd") {
        return Ok(native(path));
    }
    // Before 10.5 the program was called mysqld.
    match in_path("mysqld") {
        Some(path) if is_mariadb(&path) => Ok(native(path)),
        _ => Err(Error::ServerNotFound {
            flavor: Flavor::MariaDb,
            cure: "install it: apt-get install --no-install-recommends mariadb-server-core".into(),
        }),
    }
}

fn find_mysql() -> Result<Program> {
    match in_path("mysqld") {
        Some(path) if !is_mariadb(&path) => Ok(Program { flavor: Flavor::MySql, path, root: None, unprivileged: false, namespace: None }),
        _ => Err(Error::ServerNotFound {
            flavor: Flavor::MySql,
            cure: "install mysql-server-core, or set DB_TESTKIT_MYSQL_ROOT to a directory tree that has it \
                   (debootstrap --variant=minbase --include=mysql-server-core sid DIR)"
                .into(),
        }),
    }
}

fn is_mariadb(mysqld: &Path) -> bool {
    // MariaDB packages install mysqld as a link to mariadbd. Asking the program takes 30 ms.
    if mysqld.canonicalize().is_ok_and(|file| file.ends_with("mariadbd")) {
        return true;
    }
    Command::new(mysqld).arg("--version").output().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("MariaDB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_an_error_that_says_what_to_install() {
        for (root, expected) in [("/nonexistent", "DB_TESTKIT_MYSQL_ROOT=/nonexistent"), ("/proc/self", "install mysql-server-core")] {
            let error = Tree::of(Flavor::MySql).program(Path::new(root)).expect_err("no server there").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_path_is_named_as_the_server_in_its_tree_sees_it() {
        let program = Program {
            flavor: Flavor::MySql,
            path: "/usr/sbin/mysqld".into(),
            root: Some("/srv/tree".into()),
            unprivileged: false,
            namespace: None,
        };
        assert_eq!(program.file(), Path::new("/srv/tree/usr/sbin/mysqld"));
        assert_eq!(program.inside(Path::new("/srv/tree/tmp/x")), Path::new("/tmp/x"));
        assert_eq!(program.inside(Path::new("/tmp/x")), Path::new("/tmp/x"));
    }
}
