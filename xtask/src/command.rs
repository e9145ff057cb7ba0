//! Programs that are run, so that the user sees what is done and why it failed.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program ran and failed.
    #[error("`{line}` failed ({status})")]
    Failed { line: String, status: ExitStatus },
    /// A program could not be started.
    #[error("cannot run `{line}`: {source}")]
    NotRun { line: String, source: io::Error },
    /// A server or tool is missing and could not be installed.
    #[error("{what} is missing and could not be installed: {cause}.\nBy hand: {by_hand}")]
    Missing { what: &'static str, cause: String, by_hand: String },
    /// A file could not be moved or removed.
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// That of the program that failed, if it has one.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Error::Failed { status, .. } => {
                let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
                code.map_or(ExitCode::FAILURE, ExitCode::from)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// The directory of the workspace, from wherever this was called.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Where build results go.
pub(crate) fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(target)
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Prints the command, runs it to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("> {line}");
    let status = command.status().map_err(|source| Error::NotRun { line: line.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { line, status }) }
}

/// Whether it can be run, and succeeds. In silence.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Installs a subcommand of cargo, by the name of its package, if it is missing.
pub(crate) fn cargo_tool(package: &'static str) -> Result<()> {
    if succeeds(cargo().args([package.trim_start_matches("cargo-"), "--version"])) {
        return Ok(());
    }
    println!("{package} is missing: installing it");
    run(cargo().args(["install", "--locked", package])).map_err(|error| Error::Missing {
        what: package,
        cause: error.to_string(),
        by_hand: format!("cargo install --locked {package}"),
    })
}

/// As [`run`], with the rights of root.
pub(crate) fn run_as_root<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Result<()> {
    run(as_root(program).args(args))
}

fn as_root(program: &str) -> Command {
    let mut command = if is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--preserve-env=DEBIAN_FRONTEND", program]);
        sudo
    };
    // A package must not stop to ask.
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command as a user would type it, without the directories of the program.
fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let environment = command
        .get_envs()
        .filter(|(name, _)| name.to_string_lossy().starts_with("DB_TESTKIT"))
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy())));
    let words = std::iter::once(name).chain(command.get_args()).map(|word| word.to_string_lossy().into_owned());
    environment.chain(words).collect::<Vec<_>>().join(" ")
}
