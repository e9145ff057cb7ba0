//! Do programs outside this repository compile against the names they were promised, and run?

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use db_core::mysql::prelude::Queryable as _;

#[test]
fn a_downstream_crate_that_renames_the_dependency_uses_every_name() {
    let server = db_testkit::Server::start().unwrap();
    let mut admin = server.connect().unwrap();
    admin.query_drop("CREATE TABLE test.account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)").unwrap();

    let copy = project("downstream");
    fs::create_dir_all(copy.join("src")).unwrap();
    fs::copy(here().join("downstream/src/main.rs"), copy.join("src/main.rs")).unwrap();

    let output = Command::new(env!("CARGO")).args(["run", "--quiet"]).current_dir(&copy).args(["--", &server.url()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("every name is there"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// In an older edition too, and under the eyes of clippy: `strict_lints.rs` forbids whatever it warns of.
#[test]
fn in_a_crate_that_renames_the_dependency_every_shape_of_function_is_accepted() {
    let files = renamed("ui/pass", "2021");
    let said = cargo(&files, "clippy");
    assert!(reports(&said).is_empty() && said.contains("Finished"), "{said}");
}

#[test]
fn in_a_crate_that_renames_the_dependency_every_mistake_is_reported_where_it_is() {
    let files = renamed("ui/fail", "2024");
    let mut expected = BTreeMap::new();
    for file in fs::read_dir(here().join("ui/fail")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "stderr") {
            expected.extend(reports(&fs::read_to_string(file).unwrap()));
        }
    }
    let said = cargo(&files, "check");
    assert!(expected.len() > 40, "{expected:?}");
    assert_eq!(reports(&said), expected, "{said}");
}

/// Each function behaves as a plain one under clippy's pedantic and nursery, fulfils the lints that it expects, and runs.
#[test]
fn a_strict_crate_that_knows_only_a_wrapper_uses_every_shape_of_function() {
    let server = db_testkit::Server::start().unwrap();
    let copy = wrapped();
    let said = cargo_in(&copy, &["clippy", "--quiet", "--package", "wrapped", "--package", "old"]);
    assert!(said.trim().is_empty(), "{said}");
    let output = Command::new(env!("CARGO")).args(["run", "--quiet", "--", &server.url()]).current_dir(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("every call succeeded"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn where_the_library_cannot_be_named_there_is_one_error() {
    let said = cargo_in(&wrapped(), &["check", "--quiet", "--package", "unnamed"]);
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error[") || line.starts_with("warning")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains("`db_core`") && said.contains("#[retry_on_disconnect(max_attempts = 5)]"), "{said}");
}

/// The crates of `wrapped`.
fn wrapped() -> PathBuf {
    let copy = project("wrapped");
    for file in ["src/main.rs", "infra/Cargo.toml", "infra/src/lib.rs", "helper/Cargo.toml", "helper/src/lib.rs"].into_iter().chain([
        "old/Cargo.toml",
        "old/src/lib.rs",
        "unnamed/Cargo.toml",
        "unnamed/src/lib.rs",
    ]) {
        let text = fs::read_to_string(here().join("wrapped").join(file)).unwrap();
        let core = here().parent().unwrap().join("db-core");
        fs::create_dir_all(copy.join(file).parent().unwrap()).unwrap();
        fs::write(copy.join(file), text.replace("../../../db-core", core.to_str().unwrap())).unwrap();
    }
    copy
}

/// As long as `db_core`, so that carets stay where they are.
const RENAMED: &str = "storage";

/// A project whose programs are the files of a folder, with another name for `db_core`.
fn renamed(folder: &str, edition: &str) -> PathBuf {
    let copy = project(&folder.replace("ui/", "renamed_"));
    let manifest = fs::read_to_string(copy.join("Cargo.toml")).unwrap();
    let mut manifest = manifest.replace("database =", &format!("{RENAMED} =")).replace("2024", edition);
    manifest += "\n[dependencies.anyhow]\nversion = \"1\"\n\n[dependencies.thiserror]\nversion = \"2\"\n";
    manifest += "\n[dependencies.tracing]\nversion = \"0.1\"\ndefault-features = false\nfeatures = [\"attributes\", \"std\"]\n";
    fs::create_dir_all(copy.join(folder)).unwrap();
    for file in fs::read_dir(here().join(folder)).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "rs") {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let source = fs::read_to_string(&file).unwrap().replace("db_core", RENAMED);
            fs::write(copy.join(format!("{folder}/{name}.rs")), source).unwrap();
            manifest += &format!("\n[[bin]]\nname = \"{name}\"\npath = \"{folder}/{name}.rs\"\n");
        }
    }
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
    copy
}

/// What cargo says of every file, under the usual name.
fn cargo(project: &Path, command: &str) -> String {
    cargo_in(project, &[command, "--bins", "--keep-going"]).replace(RENAMED, "db_core")
}

fn cargo_in(project: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(project).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The errors in what a compiler said: for each file, where and what.
fn reports(said: &str) -> BTreeMap<String, Vec<String>> {
    let mut reports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut error = None;
    for line in said.lines() {
        if line.starts_with("error") {
            error = Some(line);
        } else if line.starts_with("warning") {
            error = None;
        } else if let (Some((_, place)), Some(message)) = (line.split_once("--> "), error.take_if(|_| line.contains("--> "))) {
            let (file, at) = place.split_once(':').unwrap();
            reports.entry(file.to_owned()).or_default().push(format!("{at} {message}"));
        }
    }
    for errors in reports.values_mut() {
        errors.sort();
    }
    reports
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A project outside of the workspace, with the manifest of `downstream` or `wrapped`.
fn project(name: &str) -> PathBuf {
    let root = here().parent().unwrap();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(copy.join(".cargo")).unwrap();
    let folder = if name == "wrapped" { name } else { "downstream" };
    let manifest = fs::read_to_string(here().join(folder).join("Cargo.toml")).unwrap();
    let core = root.join("db-core");
    fs::write(copy.join("Cargo.toml"), manifest.replace("../../db-core", core.to_str().unwrap())).unwrap();
    // The versions that everything else here is tested with; and what the workspace has compiled already is not compiled again.
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    let target = copy.ancestors().nth(2).unwrap();
    fs::write(copy.join(".cargo/config.toml"), format!("[build]\ntarget-dir = {target:?}\n")).unwrap();
    copy
}
