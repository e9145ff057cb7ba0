//! What must hold of the crates besides their tests: every combination of features compiles, their dependencies may be used, they can be
//! packaged.

use crate::command::{Result, cargo, cargo_tool, run, succeeds};
use crate::server;

/// In the order in which they need each other.
const PUBLISHED: [&str; 3] = ["db-macros", "db-testkit", "db-core"];

/// Either is enough, and the driver does not compile with both.
const TLS: [&str; 2] = ["native-tls", "rustls"];

pub(crate) fn check() -> Result<()> {
    server::openssl()?;
    let packages = || PUBLISHED.iter().flat_map(|package| ["--package", package]);

    cargo_tool("cargo-deny")?;
    run(cargo().args(["deny", "check", "licenses", "sources"]))?;
    // Of what a program that uses the library is linked with.
    run(cargo().args(["deny", "--manifest-path", "db-core/Cargo.toml", "--exclude-dev", "--config", "deny.toml", "check", "bans"]))?;
    let advisories = succeeds(cargo().args(["deny", "fetch", "db"]));
    if advisories {
        run(cargo().args(["deny", "check", "advisories"]))?;
    }

    cargo_tool("cargo-hack")?;
    let command = &mut cargo();
    command.args(["hack", "clippy", "--quiet", "--lib", "--feature-powerset", "--exclude-features=default"]).args(packages());
    command.arg(format!("--mutually-exclusive-features={}", TLS.join(",")));
    run(command.args(["--", "-D", "warnings"]))?;
    for library in TLS {
        let command = &mut cargo();
        command.args(["clippy", "--quiet", "--package", "tests", "--features", library, "--test", "tls", "--", "-D", "warnings"]);
        run(command)?;
    }

    let command = &mut cargo();
    // As the workspace is compiled, so that the dependencies are there already.
    command.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only").args(["package", "--quiet", "--allow-dirty"]);
    run(command.args(packages()))?;
    if !advisories {
        println!("NOT CHECKED: security advisories. Their database cannot be fetched: `cargo deny fetch db` says why.");
    }
    Ok(())
}
