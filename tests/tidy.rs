//! Are the rules of ARCHITECTURE.md kept, as far as a program can tell?

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Rust files below a folder of the repository, by their path in it, and their text up to the unit tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "nothing below {folder}");
    found
}

/// The files of the library that hold the text, outside of their tests.
fn library_files_with(text: &str) -> Vec<String> {
    let is_code = |line: &str| !line.trim_start().starts_with("//");
    let mut files: Vec<String> = sources("db-core/src")
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.ends_with("model.rs"))
        .filter(|(_, source)| {
            source.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().any(|line| is_code(line) && line.contains(text))
        })
        .map(|(name, _)| name.replace("db-core/src/", ""))
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_says_first_what_it_is_about() {
    for folder in ["db-core/src", "db-macros/src", "db-testkit/src", "xtask/src", "examples", "tests/it", "tests/src", "torture"] {
        for (name, source) in sources(folder) {
            let named_by_its_parent = name.ends_with("tests.rs");
            assert!(source.starts_with("//! ") || named_by_its_parent, "{name}");
        }
    }
}

#[test]
fn one_file_opens_connections_one_sleeps_one_is_unsafe() {
    assert_eq!(library_files_with("Conn::new("), ["session/connection/mod.rs"]);
    assert_eq!(library_files_with("thread::sleep"), ["retry/pace.rs"]);
    assert_eq!(library_files_with("unsafe {"), ["session/connection/socket.rs"]);
    assert_eq!(library_files_with("conn_mut()"), ["session/connection/prepared.rs", "session/mod.rs"]);
    assert_eq!(library_files_with("watched_conn()"), ["session/batch.rs", "session/connection/mod.rs"]);
}

#[test]
fn sql_is_written_in_the_files_that_send_it_and_holds_numbers_and_names_of_our_own_only() {
    let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "KILL ", "SET ", "SAVEPOINT ", "RELEASE ", "ROLLBACK", "COMMIT"];
    let mut files: Vec<String> = verbs.iter().flat_map(|verb| library_files_with(&format!("\"{verb}"))).collect();
    files.sort();
    files.dedup();
    // `sql/kind.rs` has words to compare with.
    files.retain(|file| file != "sql/kind.rs");
    assert_eq!(
        files,
        [
            "options.rs",
            "session/batch.rs",
            "session/commit.rs",
            "session/connection/inquiry.rs",
            "session/connection/mod.rs",
            "session/ledger/keyed/row.rs",
            "session/ledger/resolve.rs",
            "session/ledger/row.rs",
            "session/mod.rs",
            "session/sentinel.rs",
            "session/state.rs"
        ]
    );
    // What a caller passes is never put into a statement: it goes to the server as it is. These two pass it on, and write savepoints.
    files.retain(|file| !["session/batch.rs", "session/mod.rs"].contains(&file.as_str()));
    for file in files {
        for passes in ["Params", "Value", "get_pass"] {
            assert!(!library_files_with(passes).contains(&file), "{file} knows of {passes}");
        }
    }
}

#[test]
fn what_is_decided_knows_no_connection_and_no_clock() {
    for decides in ["error/classify.rs", "error/constraint.rs", "error/redact.rs", "sql/kind.rs", "options.rs"] {
        for acts in ["Link", "crate::session", "Conn::", "Instant", "Mutex", "fastrand", "std::thread"] {
            assert!(!library_files_with(acts).iter().any(|file| file == decides), "{decides} knows of {acts}");
        }
    }
}

/// The folders and files of the library from the ground up. Each imports what stands on a lower floor.
const FLOORS: [&[&str]; 6] = [
    &["error", "sql", "options", "per_process", "idempotency", "listener"],
    &["retry", "config"],
    &["telemetry"],
    &["session"],
    &["transaction"],
    &["db", "pool"],
];

#[test]
fn what_is_imported_stands_on_a_lower_floor() {
    let floor = |place: &str| FLOORS.iter().position(|floor| floor.contains(&place));
    let mut seen = 0;
    for (name, source) in sources("db-core/src") {
        let place = name.trim_start_matches("db-core/src/").split('/').next().unwrap().trim_end_matches(".rs");
        let Some(own) = floor(place) else { continue };
        for import in source.split("#[cfg(test)]").next().unwrap().lines().filter_map(|line| line.trim_start().strip_prefix("use crate::"))
        {
            let used = import.split("::").next().unwrap();
            let Some(other) = floor(used) else { continue };
            seen += 1;
            // An error names the attempt it was made in. That file knows of the kinds of errors only.
            let is_attempt = place == "error" && import.starts_with("retry::attempts::");
            assert!(other < own || used == place || is_attempt, "{name} imports {import}");
        }
    }
    assert!(seen > 100, "only {seen} imports were seen");
}

#[test]
fn the_kit_and_the_library_do_not_know_each_other() {
    assert!(sources("db-testkit").iter().all(|(_, source)| !source.contains("db_core")));
    assert!(library_files_with("db_testkit").is_empty());
}

#[test]
fn nothing_is_left_to_be_done_later() {
    for folder in ["db-core", "db-macros", "db-testkit", "examples", "tests/it", "tests/src", "torture", "xtask"] {
        for (name, source) in sources(folder) {
            for left in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")] {
                assert!(!source.contains(left), "{name}: {left}");
            }
        }
    }
}
