//! How does a database server come onto this machine?

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Error, Result, is_root, run_as_root, succeeds, target};

const MARIADB_PACKAGE: &str = "mariadb-server-core";
const MYSQL_PACKAGE: &str = "mysql-server-core";
/// Names the directory tree in which the tests find `mysqld`.
pub(crate) const MYSQL_ROOT: &str = "DB_TESTKIT_MYSQL_ROOT";

/// Where Oracle MySQL is.
pub(crate) enum MySql {
    /// Installed on this machine.
    Native,
    /// In a directory tree of its own: Debian's MySQL and MariaDB packages exclude each other.
    Root(PathBuf),
}

/// Installs MariaDB's server if it is missing.
pub(crate) fn mariadb() -> Result<()> {
    if find("mariadbd").is_some() || find("mysqld").is_some_and(|mysqld| is_mariadb(&mysqld)) {
        return Ok(());
    }
    println!("MariaDB is missing: installing {MARIADB_PACKAGE}");
    install(&[MARIADB_PACKAGE]).map_err(|error| Error::Missing {
        what: "MariaDB",
        cause: error.to_string(),
        by_hand: format!("{} (or the package of your system that has mariadbd)", apt_line(&[MARIADB_PACKAGE])),
    })
}

/// Finds Oracle MySQL's server, or makes a directory tree that has it.
pub(crate) fn mysql() -> Result<MySql> {
    if let Some(root) = env::var_os(MYSQL_ROOT) {
        return Ok(MySql::Root(root.into()));
    }
    if find("mysqld").is_some_and(|mysqld| !is_mariadb(&mysqld)) {
        return Ok(MySql::Native);
    }
    let root = target().join("mysql-root");
    if !root.join("usr/sbin/mysqld").is_file() {
        println!("MySQL is missing: making a directory tree with {MYSQL_PACKAGE} in {}", root.display());
        bootstrap(&root).map_err(|error| Error::Missing {
            what: "MySQL",
            cause: error.to_string(),
            by_hand: format!(
                "sudo debootstrap {} {} && sudo --preserve-env={MYSQL_ROOT} cargo xtask test with {MYSQL_ROOT} set to that directory.\n\
                 To go without MySQL: cargo xtask test --server mariadb",
                DEBOOTSTRAP_ARGS.join(" "),
                root.display()
            ),
        })?;
    }
    if !is_root() {
        return Err(Error::Missing {
            what: "MySQL",
            cause: "its directory tree is used by chroot, which needs root".into(),
            by_hand: "run the tests as root, or install mysqld on this machine.\n\
                      To go without MySQL: cargo xtask test --server mariadb"
                .into(),
        });
    }
    Ok(MySql::Root(root))
}

/// Installs the files that programs which use OpenSSL are compiled with, if they are missing.
pub(crate) fn openssl() -> Result<()> {
    const PACKAGES: [&str; 2] = ["libssl-dev", "pkg-config"];
    if succeeds(Command::new("pkg-config").args(["--exists", "openssl"])) {
        return Ok(());
    }
    println!("OpenSSL's headers are missing: installing {}", PACKAGES.join(" and "));
    install(&PACKAGES).map_err(|error| Error::Missing { what: "OpenSSL", cause: error.to_string(), by_hand: apt_line(&PACKAGES) })
}

const DEBOOTSTRAP_ARGS: [&str; 3] = ["--variant=minbase", "--include=mysql-server-core", "sid"];

fn bootstrap(root: &Path) -> Result<()> {
    if find("debootstrap").is_none() {
        install(&["debootstrap", "debian-archive-keyring"])?;
    }
    // An interrupted run must not look like a complete one.
    let unfinished = root.with_extension("unfinished");
    run_as_root("rm", [OsStr::new("-rf"), unfinished.as_os_str()])?;
    fs::create_dir_all(target()).map_err(|source| Error::Io { doing: format!("making {}", target().display()), source })?;
    run_as_root("debootstrap", DEBOOTSTRAP_ARGS.map(OsStr::new).into_iter().chain([unfinished.as_os_str()]))?;
    run_as_root("mv", [unfinished.as_os_str(), root.as_os_str()])
}

/// By apt-get.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    run_as_root("apt-get", ["update"])?;
    run_as_root("apt-get", ["install", "-y", "--no-install-recommends"].iter().chain(packages))
}

fn apt_line(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// Searches `PATH`, and the places of server programs, which are not in an ordinary user's `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn is_mariadb(mysqld: &Path) -> bool {
    let version = Command::new(mysqld).arg("--version").output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("MariaDB"))
}
