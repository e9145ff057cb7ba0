//! Which server program is meant, and where is it?

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::with_parent_death_signal;
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
    /// Where to `chroot`, if the program lives in a tree of its own.
    pub(crate) root: Option<PathBuf>,
}

impl Program {
    pub(crate) fn find(flavor: Flavor) -> Result<Program> {
        match flavor {
            Flavor::MariaDb => find_mariadb(),
            Flavor::MySql => match env::var_os("DB_TESTKIT_MYSQL_ROOT") {
                Some(root) => mysql_in_root(Path::new(&root)),
                None => find_mysql(),
            },
        }
    }

    /// The program file as this process sees it.
    pub(crate) fn file(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.join(self.path.strip_prefix("/").unwrap_or(&self.path)),
            None => self.path.clone(),
        }
    }

    /// A path of ours as the program sees it.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        match self.root.as_deref().and_then(|root| path.strip_prefix(root).ok()) {
            Some(rest) => Path::new("/").join(rest),
            None => path.to_owned(),
        }
    }

    /// A command that becomes the program, and ends with this process: `chroot` replaces itself, so the process id is
    /// the server's.
    pub(crate) fn command(&self) -> Command {
        with_parent_death_signal(match &self.root {
            None => Command::new(&self.path),
            Some(root) => {
                let mut command = Command::new(in_path("chroot").unwrap_or_else(|| "chroot".into()));
                command.arg(root).arg(&self.path);
                command
            }
        })
    }
}

fn find_mariadb() -> Result<Program> {
    let native = |path| Program { flavor: Flavor::MariaDb, path, root: None };
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
        Some(path) if !is_mariadb(&path) => Ok(Program { flavor: Flavor::MySql, path, root: None }),
        _ => Err(Error::ServerNotFound {
            flavor: Flavor::MySql,
            cure: "install mysql-server-core, or set DB_TESTKIT_MYSQL_ROOT to a directory tree that has it \
                   (debootstrap --variant=minbase --include=mysql-server-core sid DIR)"
                .into(),
        }),
    }
}

fn mysql_in_root(root: &Path) -> Result<Program> {
    let missing = |cure| Error::ServerNotFound { flavor: Flavor::MySql, cure };
    let root = root.canonicalize().map_err(|error| missing(format!("DB_TESTKIT_MYSQL_ROOT={}: {error}", root.display())))?;
    let program = Program { flavor: Flavor::MySql, path: "/usr/sbin/mysqld".into(), root: Some(root) };
    if !program.file().is_file() {
        return Err(missing(format!("DB_TESTKIT_MYSQL_ROOT has no {}; install mysql-server-core in it", program.file().display())));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(missing("DB_TESTKIT_MYSQL_ROOT is used by chroot, which needs root; unset it or run as root".into()));
    }
    Ok(program)
}

fn is_mariadb(mysqld: &Path) -> bool {
    // MariaDB packages install mysqld as a link to mariadbd: no need to ask the program, which takes 30 ms.
    if mysqld.canonicalize().is_ok_and(|file| file.ends_with("mariadbd")) {
        return true;
    }
    Command::new(mysqld).arg("--version").output().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("MariaDB"))
}

/// Searches `PATH`, and the places of server programs, which are not in an ordinary user's `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin", "/usr/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_an_error_that_says_what_to_install() {
        for (root, expected) in [("/nonexistent", "DB_TESTKIT_MYSQL_ROOT=/nonexistent"), ("/proc/self", "install mysql-server-core")] {
            let error = mysql_in_root(Path::new(root)).expect_err("no server there").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_path_is_named_as_the_server_in_its_tree_sees_it() {
        let program = Program { flavor: Flavor::MySql, path: "/usr/sbin/mysqld".into(), root: Some("/srv/tree".into()) };
        assert_eq!(program.file(), Path::new("/srv/tree/usr/sbin/mysqld"));
        assert_eq!(program.inside(Path::new("/srv/tree/tmp/x")), Path::new("/tmp/x"));
        assert_eq!(program.inside(Path::new("/tmp/x")), Path::new("/tmp/x"));
    }
}
