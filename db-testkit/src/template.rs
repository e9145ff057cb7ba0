//! Data directories: templates, copies and their removal.
//!
//! Initialising a data directory takes 0.3 s (MariaDB) to 3 s (MySQL), so it is done once per machine, user and server
//! program. Each server gets a copy.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::error::Doing;
use crate::flavor::Program;
use crate::process::spawn;
use crate::{Error, Flavor, Result};

/// Raised when a template made by an older version of this file must not be used.
const FORMAT: u32 = 1;

/// Longest path of the directory for all of ours, so that the path of a socket in it stays below 100 bytes.
const MAX_BASE_PATH: usize = 60;

/// The directory of one server, removed when dropped.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    /// Locked while the owner lives: how others know a directory whose owner was killed.
    _owner: File,
}

impl Home {
    /// A new directory with a fresh data directory in it.
    pub(crate) fn create(program: &Program) -> Result<Home> {
        let base = base_directory(program)?;
        let lock = open_lock(&base.join("lock"))?;
        lock.lock().doing(|| format!("locking {}", base.display()))?;
        remove_abandoned(&base);
        let template = template(program, &base)?;
        let directory =
            tempfile::Builder::new().prefix("run-").tempdir_in(&base).doing(|| format!("making a directory in {}", base.display()))?;
        let owner = open_lock(&directory.path().join("owner"))?;
        owner.lock().doing(|| "locking a new directory".into())?;
        drop(lock);

        let home = Home { directory, _owner: owner };
        copy_tree(&template.join("data"), &home.data())?;
        let tmp = home.tmp();
        fs::create_dir(&tmp).doing(|| format!("making {}", tmp.display()))?;
        Ok(home)
    }

    /// Gives all files to another user, who can then reach them.
    pub(crate) fn give_to(&self, user: u32) -> Result<()> {
        let directory = self.directory();
        let base = directory.parent().unwrap_or(directory);
        // Others may enter, but not list.
        fs::set_permissions(base, Permissions::from_mode(0o711)).doing(|| format!("opening {}", base.display()))?;
        let give = |path: &Path| chown(path, Some(user), Some(user)).doing(|| format!("giving away {}", path.display()));
        give(directory)?;
        walk(directory, &mut |path, _| give(path))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("mysqld.sock")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.directory.path().join("mysqld.pid")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }
}

/// One directory for all files of ours, closed to other users.
fn base_directory(program: &Program) -> Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let name = format!("db-testkit-{user}");
    let base = match &program.root {
        Some(root) => root.join("tmp").join(name),
        None => {
            let base = std::env::temp_dir().join(&name);
            if base.as_os_str().len() <= MAX_BASE_PATH { base } else { Path::new("/tmp").join(name) }
        }
    };
    match DirBuilder::new().mode(0o700).create(&base) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).doing(|| format!("making {}", base.display()));
        }
        _ => {}
    }
    // In a directory that everyone can write to, another user may have been first.
    let found = fs::symlink_metadata(&base).doing(|| format!("examining {}", base.display()))?;
    if !found.is_dir() || found.uid() != user {
        return Err(std::io::Error::other("it belongs to another user")).doing(|| format!("using {}", base.display()));
    }
    Ok(base)
}

fn open_lock(path: &Path) -> Result<File> {
    File::options().create(true).truncate(false).write(true).open(path).doing(|| format!("opening {}", path.display()))
}

/// Removes what processes left that were killed. The caller holds the lock under which directories are made, so one
/// whose owner is not locked has no owner.
fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(b"run-") {
            continue;
        }
        let owner = File::open(entry.path().join("owner"));
        if !owner.is_ok_and(|owner| matches!(owner.try_lock(), Err(TryLockError::WouldBlock))) {
            // Best effort: what cannot be removed now costs disk space only.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The initialised data directory to copy, made now if there is none. The caller holds the lock.
fn template(program: &Program, base: &Path) -> Result<PathBuf> {
    let file = program.file();
    let found = fs::metadata(&file).doing(|| format!("examining {}", file.display()))?;
    // A new version of the server is another file. This says so without starting it (30 ms).
    let name = format!("{:?}-{FORMAT}-{:x}-{:x}", program.flavor, found.len(), found.mtime()).to_lowercase();
    let template = base.join(name);
    if is_complete(&template) {
        return Ok(template);
    }
    let building = base.join("building");
    for leftover in [&building, &template] {
        if leftover.exists() {
            fs::remove_dir_all(leftover).doing(|| format!("removing {}", leftover.display()))?;
        }
    }
    let data = building.join("data");
    fs::create_dir_all(&building).doing(|| format!("making {}", building.display()))?;
    match program.flavor {
        Flavor::MariaDb => initialize_mariadb(program, &building, &data)?,
        Flavor::MySql => initialize_mysql(program, &building, &data)?,
    }
    let manifest = building.join("manifest");
    fs::write(&manifest, manifest_of(&data)?).doing(|| format!("writing {}", manifest.display()))?;
    fs::rename(&building, &template).doing(|| format!("renaming {}", building.display()))?;
    Ok(template)
}

/// Programs that tidy `/tmp` remove single old files: a template is used only if it is what it was.
fn is_complete(template: &Path) -> bool {
    match (fs::read_to_string(template.join("manifest")), manifest_of(&template.join("data"))) {
        (Ok(written), Ok(found)) => written == found,
        _ => false,
    }
}

fn manifest_of(data: &Path) -> Result<String> {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    walk(data, &mut |_, metadata| {
        files += 1;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
        Ok(())
    })?;
    Ok(format!("{files} files, {bytes} bytes\n"))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(to).doing(|| format!("making {}", to.display()))?;
    walk(from, &mut |path, metadata| {
        let target = to.join(path.strip_prefix(from).unwrap_or(path));
        if metadata.is_dir() { DirBuilder::new().mode(0o700).create(&target) } else { fs::copy(path, &target).map(drop) }
            .doing(|| format!("copying {}", path.display()))
    })
}

/// Calls `visit` for everything below `directory`, each directory before what is in it.
fn walk(directory: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata) -> Result<()>) -> Result<()> {
    let reading = || format!("reading {}", directory.display());
    for entry in fs::read_dir(directory).doing(reading)? {
        let entry = entry.doing(reading)?;
        let metadata = entry.metadata().doing(reading)?;
        visit(&entry.path(), &metadata)?;
        if metadata.is_dir() {
            walk(&entry.path(), visit)?;
        }
    }
    Ok(())
}

/// What `mariadb-install-db` does, without the shell script, which is in another package than the server.
fn initialize_mariadb(program: &Program, building: &Path, data: &Path) -> Result<()> {
    let mut sql = String::from("CREATE DATABASE mysql;\nUSE mysql;\n");
    for script in mariadb_scripts(program)? {
        sql += &fs::read_to_string(&script).doing(|| format!("reading {}", script.display()))?;
        sql.push('\n');
    }
    // An account for this machine's name is useless without name resolution, and warned of at each start.
    sql += "DELETE FROM global_priv WHERE Host NOT IN ('localhost', '127.0.0.1', '::1');\n\
            DELETE FROM proxies_priv WHERE Host NOT IN ('localhost', '127.0.0.1', '::1');\n\
            CREATE DATABASE test CHARACTER SET utf8mb4;\n";
    fs::create_dir(data).doing(|| format!("making {}", data.display()))?;
    let mut command = program.command();
    command.args(["--no-defaults", "--bootstrap", "--loose-innodb-log-file-size=4M"]);
    initialize(program, command, building, data, &sql)
}

/// The SQL files of the MariaDB package that create the system tables, in the order they are to be run.
fn mariadb_scripts(program: &Program) -> Result<Vec<PathBuf>> {
    let file = program.file();
    let prefix = file.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    for share in ["share/mysql", "share/mariadb"].map(|share| prefix.join(share)) {
        // Renamed in 11.0.
        for name in ["mysql", "mariadb"] {
            let tables = share.join(format!("{name}_system_tables.sql"));
            if tables.is_file() {
                let performance = share.join(format!("{name}_performance_tables.sql"));
                return Ok(vec![tables, performance, share.join(format!("{name}_system_tables_data.sql"))]);
            }
        }
    }
    Err(Error::ServerNotFound {
        flavor: program.flavor,
        cure: format!("{} has no mysql_system_tables.sql in {}/share/mysql; install mariadb-server-core", file.display(), prefix.display()),
    })
}

fn initialize_mysql(program: &Program, building: &Path, data: &Path) -> Result<()> {
    let script = building.join("init.sql");
    // Without name resolution, root@localhost covers the Unix socket only.
    let sql = "CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
               GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
               GRANT PROXY ON ''@'' TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
               CREATE DATABASE test CHARACTER SET utf8mb4;\n";
    fs::write(&script, sql).doing(|| format!("writing {}", script.display()))?;
    let mut command = program.command();
    command
        .args(["--no-defaults", "--initialize-insecure", "--loose-innodb-redo-log-capacity=16M"])
        .arg(option("init-file", program.inside(&script)));
    initialize(program, command, building, data, "")?;
    // The server's unique id: each copy makes its own.
    let id = data.join("auto.cnf");
    fs::remove_file(&id).doing(|| format!("removing {}", id.display()))
}

fn initialize(program: &Program, mut command: Command, building: &Path, data: &Path, input: &str) -> Result<()> {
    let log = building.join("log");
    let output = File::create(&log).doing(|| format!("making {}", log.display()))?;
    let errors = output.try_clone().doing(|| "duplicating a file descriptor".into())?;
    command
        .args(program.as_root())
        // Nothing here has to survive a power failure.
        .args(["--loose-innodb-flush-method=nosync", "--skip-log-bin", "--skip-name-resolve"])
        .arg(option("datadir", program.inside(data)))
        .arg(option("tmpdir", program.inside(building)))
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors);
    let mut child = spawn(command)?;
    // A server that died without reading its input has said why in its log: that is the error to report.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let status = child.wait().doing(|| "waiting for the server".into())?;
    if !status.success() || matches!(written, Some(Err(_))) {
        return Err(Error::Initialize { flavor: program.flavor, status, log: tail(&log) });
    }
    // The directory can be read by its owner only; MySQL's chroot may run as the same.
    fs::set_permissions(data, Permissions::from_mode(0o700)).doing(|| format!("closing {}", data.display()))
}

/// `--name=path`.
pub(crate) fn option(name: &str, path: impl AsRef<OsStr>) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("--{name}="));
    option.push(path);
    option
}

/// The last lines of a log file.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
