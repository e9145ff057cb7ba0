//! Do the examples do what they say, on a server of their own?

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::path::Path;
use std::process::Command;

/// What an example prints, if it succeeds.
fn run(example: &str, args: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // The directory of this run's artifacts, where the examples have been compiled already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["run", "--quiet", "--package", "examples", "--target-dir"]).arg(target);
    let output = command.args(["--example", example, "--"]).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn the_bank_moves_money_and_does_not_notice_a_killed_connection() {
    let said = run("bank", &[]);
    for line in ["5000 cents more: insufficient funds", "[(1, 700), (2, 1300)]", "closed our connection", "[(1, 800), (2, 1200)]"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn the_demo_keeps_every_promise_under_fire() {
    let said = run("demo", &["--seconds", "6", "--threads", "4"]);
    assert!(said.contains("kept: ") && said.contains("0 of unknown outcome"), "{said}");
}
