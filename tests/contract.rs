//! Do programs outside this repository compile against the names they were promised, and run?

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::fs;
use std::path::Path;
use std::process::Command;

use db_core::mysql::prelude::Queryable as _;

#[test]
fn a_downstream_crate_that_renames_the_dependency_uses_every_name() {
    let server = db_testkit::Server::start().unwrap();
    let mut admin = server.connect().unwrap();
    admin.query_drop("CREATE TABLE test.account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)").unwrap();

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().unwrap();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("downstream");
    fs::create_dir_all(copy.join("src")).unwrap();
    let manifest = fs::read_to_string(here.join("downstream/Cargo.toml")).unwrap();
    let core = root.join("db-core");
    fs::write(copy.join("Cargo.toml"), manifest.replace("../../db-core", core.to_str().unwrap())).unwrap();
    fs::copy(here.join("downstream/src/main.rs"), copy.join("src/main.rs")).unwrap();
    // The versions that everything else here is tested with.
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();

    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--manifest-path"])
        .arg(copy.join("Cargo.toml"))
        .arg("--target-dir")
        // What the workspace has compiled already is not compiled again.
        .arg(copy.ancestors().nth(2).unwrap())
        .args(["--", &server.url()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("every name is there"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
