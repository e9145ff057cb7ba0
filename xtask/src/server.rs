//! Installation of database servers and of what clusters need.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Error, Result, is_root, run, run_as_root, succeeds, target};

const MARIADB_PACKAGE: &str = "mariadb-server-core";
const MYSQL_PACKAGE: &str = "mysql-server-core";
/// What Galera needs besides the server. The scripts of `mariadb-server` are taken out of its package, since that one starts a server.
const GALERA_PACKAGES: [&str; 3] = ["galera-4", "rsync", "lsof"];
const GALERA_LIBRARY: &str = "/usr/lib/galera/libgalera_smm.so";
const GALERA_SCRIPT: &str = "wsrep_sst_rsync";
const HAPROXY_PACKAGE: &str = "haproxy";
const ROUTER_PACKAGE: &str = "mysql-router";
/// Names the directory tree in which the tests find `mysqld`.
pub(crate) const MYSQL_ROOT: &str = "DB_TESTKIT_MYSQL_ROOT";
/// Names the directory tree in which the tests find `mariadbd`.
pub(crate) const MARIADB_ROOT: &str = "DB_TESTKIT_MARIADB_ROOT";
/// Names the directory in which the tests find Galera's scripts.
pub(crate) const GALERA_SCRIPTS: &str = "DB_TESTKIT_GALERA_SCRIPTS";

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
        bootstrap(&root, "sid", MYSQL_PACKAGE).map_err(|error| Error::Missing {
            what: "MySQL",
            cause: error.to_string(),
            by_hand: format!(
                "sudo debootstrap {} {} && sudo --preserve-env={MYSQL_ROOT} cargo xtask test with {MYSQL_ROOT} set to that directory.\n\
                 To go without MySQL: cargo xtask test --server mariadb",
                debootstrap_args("sid", MYSQL_PACKAGE).join(" "),
                root.display()
            ),
        })?;
    }
    usable_tree("MySQL", "mysqld")?;
    Ok(MySql::Root(root))
}

/// Makes a directory tree that has MariaDB 11.8 (of Debian trixie), unless there is one.
pub(crate) fn mariadb_11_8() -> Result<PathBuf> {
    const NAME: &str = "MariaDB 11.8";
    if let Some(root) = env::var_os(MARIADB_ROOT) {
        return Ok(root.into());
    }
    let root = target().join("mariadb-11.8-root");
    if !root.join("usr/sbin/mariadbd").is_file() {
        println!("{NAME} is missing: making a directory tree with {MARIADB_PACKAGE} in {}", root.display());
        bootstrap(&root, "trixie", MARIADB_PACKAGE).map_err(|error| Error::Missing {
            what: NAME,
            cause: error.to_string(),
            by_hand: format!(
                "sudo debootstrap {} {}, and set {MARIADB_ROOT} to that directory.\n\
                 To go without it: cargo xtask test --server mariadb",
                debootstrap_args("trixie", MARIADB_PACKAGE).join(" "),
                root.display()
            ),
        })?;
    }
    usable_tree(NAME, "mariadbd")?;
    Ok(root)
}

fn usable_tree(what: &'static str, program: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    Err(Error::Missing {
        what,
        cause: "its directory tree is used by chroot, which needs root".into(),
        by_hand: format!(
            "run the tests as root, or install {program} on this machine.\n\
             To go without {what}: cargo xtask test --server mariadb"
        ),
    })
}

/// Installs what Galera needs, if it is missing, and returns the directory of its scripts, if they are not in `PATH`.
pub(crate) fn galera() -> Result<Option<PathBuf>> {
    mariadb()?;
    let missing = |error: Error, by_hand| Error::Missing { what: "Galera", cause: error.to_string(), by_hand };
    if !Path::new(GALERA_LIBRARY).is_file() || find("rsync").is_none() || find("lsof").is_none() {
        println!("Galera is missing: installing {}", GALERA_PACKAGES.join(", "));
        install(&GALERA_PACKAGES).map_err(|error| missing(error, apt_line(&GALERA_PACKAGES)))?;
    }
    if let Some(scripts) = env::var_os(GALERA_SCRIPTS) {
        return Ok(Some(scripts.into()));
    }
    if find(GALERA_SCRIPT).is_some() {
        return Ok(None);
    }
    let directory = target().join("galera-scripts");
    let scripts = directory.join("usr/bin");
    if !scripts.join(GALERA_SCRIPT).is_file() {
        println!("Galera's scripts are missing: unpacking mariadb-server in {}", directory.display());
        let by_hand = format!("apt-get download mariadb-server && dpkg -x mariadb-server_*.deb DIR, and set {GALERA_SCRIPTS}=DIR/usr/bin");
        unpack(&directory).map_err(|error| missing(error, by_hand))?;
    }
    Ok(Some(scripts))
}

/// Unpacks the package `mariadb-server`, which is not installed.
fn unpack(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|source| Error::Io { doing: format!("making {}", directory.display()), source })?;
    run(shell().arg("apt-get download mariadb-server && dpkg -x mariadb-server_*.deb .").current_dir(directory))
}

fn shell() -> Command {
    let mut command = Command::new("sh");
    command.arg("-c");
    command
}

/// Installs HAProxy if it is missing.
pub(crate) fn haproxy() -> Result<()> {
    if find("haproxy").is_some() {
        return Ok(());
    }
    println!("HAProxy is missing: installing {HAPROXY_PACKAGE}");
    install(&[HAPROXY_PACKAGE]).map_err(|error| Error::Missing {
        what: "HAProxy",
        cause: error.to_string(),
        by_hand: apt_line(&[HAPROXY_PACKAGE]),
    })
}

/// Installs MySQL Router where MySQL is, if it is missing.
pub(crate) fn router(mysql: &MySql) -> Result<()> {
    let missing = |error: Error, by_hand| Error::Missing { what: "MySQL Router", cause: error.to_string(), by_hand };
    match mysql {
        MySql::Native if find("mysqlrouter").is_some() => Ok(()),
        MySql::Native => install(&[ROUTER_PACKAGE]).map_err(|error| missing(error, apt_line(&[ROUTER_PACKAGE]))),
        MySql::Root(root) if root.join("usr/bin/mysqlrouter").is_file() => Ok(()),
        MySql::Root(root) => {
            println!("MySQL Router is missing: installing {ROUTER_PACKAGE} in {}", root.display());
            // A mirror that is a snapshot of sid has a list that has expired.
            let script = format!(
                "apt-get -o Acquire::Check-Valid-Until=false update && apt-get install -y --no-install-recommends {ROUTER_PACKAGE}"
            );
            let installed = run_as_root("chroot", [root.as_os_str(), OsStr::new("sh"), OsStr::new("-c"), OsStr::new(&script)]);
            installed.map_err(|error| missing(error, format!("sudo chroot {} sh -c '{script}'", root.display())))
        }
    }
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

fn debootstrap_args(suite: &str, packages: &str) -> [String; 3] {
    ["--variant=minbase".into(), format!("--include={packages}"), suite.into()]
}

fn bootstrap(root: &Path, suite: &str, packages: &str) -> Result<()> {
    if find("debootstrap").is_none() {
        install(&["debootstrap", "debian-archive-keyring"])?;
    }
    // An interrupted run must not look like a complete one.
    let unfinished = root.with_extension("unfinished");
    run_as_root("rm", [OsStr::new("-rf"), unfinished.as_os_str()])?;
    fs::create_dir_all(target()).map_err(|source| Error::Io { doing: format!("making {}", target().display()), source })?;
    let args = debootstrap_args(suite, packages);
    run_as_root("debootstrap", args.iter().map(OsStr::new).chain([unfinished.as_os_str()]))?;
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
