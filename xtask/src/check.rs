//! What must hold of the crates besides their tests: every combination of features, the licences of what they need, their packages?

use serde_json::Value;

use crate::command::{Error, Result, cargo, output, run};
use crate::server;

/// In the order in which they need each other.
const PUBLISHED: [&str; 3] = ["db-macros", "db-testkit", "db-core"];

/// Either is enough, and the driver takes one only.
const TLS: [&str; 2] = ["native-tls", "rustls"];

/// Those under which what is linked may be passed on by anybody, with nothing but notices.
const LICENCES: [&str; 10] =
    ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CDLA-Permissive-2.0", "ISC", "MIT", "Unicode-3.0", "Unlicense", "Zlib"];

/// Crates that name a file in place of a licence, which was read: ISC.
const READ: [&str; 1] = ["webpki"];

/// In which versions more than one, because of others than us.
const TWICE: [&str; 3] = ["base64", "getrandom", "syn"];

pub(crate) fn check() -> Result<()> {
    server::openssl()?;
    let packages = packages()?;
    licences(&packages)?;
    duplicates()?;
    for package in PUBLISHED {
        for features in combinations(&features(&packages, package)) {
            let command = &mut cargo();
            command.args(["clippy", "--quiet", "--package", package, "--lib", "--no-default-features"]);
            command.arg(format!("--features={}", features.join(",")));
            run(command.args(["--", "-D", "warnings"]))?;
        }
    }
    for library in TLS {
        let command = &mut cargo();
        command.args(["clippy", "--quiet", "--package", "tests", "--features", library, "--test", "tls", "--", "-D", "warnings"]);
        run(command)?;
    }
    let command = &mut cargo();
    // As the workspace is compiled, so that the dependencies are there already.
    command.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only").args(["package", "--quiet", "--allow-dirty"]);
    run(command.args(PUBLISHED.iter().flat_map(|package| ["--package", package])))
}

/// All packages that anything here could be built of.
fn packages() -> Result<Vec<Value>> {
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--all-features", "--locked"]))?;
    let unreadable = |why: &str| Error::Refused(format!("what `cargo metadata` says cannot be understood: {why}"));
    let mut metadata: Value = serde_json::from_str(&metadata).map_err(|error| unreadable(&error.to_string()))?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => Err(unreadable("it lists no packages")),
    }
}

fn text<'v>(package: &'v Value, field: &str) -> &'v str {
    package[field].as_str().unwrap_or_default()
}

fn licences(packages: &[Value]) -> Result<()> {
    println!("> the licences of {} packages", packages.len());
    let strange: Vec<String> = packages
        .iter()
        .filter(|package| !READ.contains(&text(package, "name")) && !is_allowed(text(package, "license")))
        .map(|package| format!("{} {}: {:?}", text(package, "name"), text(package, "version"), text(package, "license")))
        .collect();
    if strange.is_empty() { Ok(()) } else { Err(Error::Refused(format!("these licences are not allowed: {}", strange.join(", ")))) }
}

/// Of an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`, without alternatives that are themselves several.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    expression.split(" AND ").all(|all| all.trim_matches([' ', '(', ')']).split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

/// Of what a program that uses the library is linked with.
fn duplicates() -> Result<()> {
    let command = &mut cargo();
    command.args([
        "tree",
        "--duplicates",
        "--package",
        "db-core",
        "--edges",
        "normal",
        "--all-features",
        "--depth",
        "0",
        "--prefix",
        "none",
    ]);
    let tree = output(command)?;
    let twice: Vec<&str> =
        tree.lines().filter(|line| line.split(' ').next().is_some_and(|name| !name.is_empty() && !TWICE.contains(&name))).collect();
    if twice.is_empty() { Ok(()) } else { Err(Error::Refused(format!("several versions of one crate: {}", twice.join(", ")))) }
}

fn features(packages: &[Value], name: &str) -> Vec<String> {
    let package = packages.iter().find(|package| text(package, "name") == name && package["source"].is_null());
    let features = package.and_then(|package| package["features"].as_object());
    features.into_iter().flat_map(|features| features.keys()).filter(|feature| *feature != "default").cloned().collect()
}

/// Every set of these, but those with two libraries for TLS: `native-tls` and `rustls` are two ends of the same socket in the driver, which
/// does not compile with both.
fn combinations(features: &[String]) -> Vec<Vec<String>> {
    let all = (0..1_u32 << features.len()).map(|set| {
        let chosen = features.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
        chosen.map(|(_, feature)| feature.clone()).collect::<Vec<_>>()
    });
    all.filter(|set| !TLS.iter().all(|tls| set.iter().any(|feature| feature == tls))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_allowed_if_it_leaves_a_choice_that_is() {
        for (expression, allowed) in [
            ("MIT", true),
            ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", true),
            ("MIT/Apache-2.0", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("GPL-3.0", false),
            ("MIT AND GPL-3.0", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression), allowed, "{expression}");
        }
    }

    #[test]
    fn every_set_of_features_is_made_but_with_two_tls_libraries() {
        let features = ["metrics", "native-tls", "rustls"].map(String::from);
        let sets = combinations(&features);
        assert_eq!(sets.len(), 6);
        assert!(sets.contains(&vec![]) && sets.contains(&vec!["metrics".into(), "rustls".into()]));
        assert!(!sets.iter().any(|set| set.len() == 3));
    }
}
