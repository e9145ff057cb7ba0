//! How is another program run for its figures?

use std::fs;
use std::process::Command;

use crate::error::{Doing, Error, Result};

/// What a program said.
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end. `cure` says what to do if it is not there.
pub(crate) fn run(command: &mut Command, cure: &'static str) -> Result<Said> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::NotRun { program, source, cure })?;
    let said =
        Said { stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() };
    if output.status.success() {
        return Ok(said);
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy());
    Err(Error::Failed { line: words.collect::<Vec<_>>().join(" "), status: output.status, stderr: last_lines(&said.stderr) })
}

/// The number behind `label` on the first line that has it; thousands may be separated by commas.
pub(crate) fn number_after(program: &str, label: &'static str, text: &str) -> Result<f64> {
    let found = text.split_once(label).and_then(|(_, rest)| {
        let digits: String = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
        digits.parse().ok()
    });
    found.ok_or_else(|| Error::Output { program: program.into(), wanted: label, output: last_lines(text) })
}

/// Seconds of processor time, in user and kernel mode, of the children that this process has waited for, and of theirs.
pub(crate) fn children_seconds() -> Result<f64> {
    // 100 to the second, wherever Linux shows them.
    const TICK: f64 = 0.01;
    let stat = fs::read_to_string("/proc/self/stat").doing(|| "reading /proc/self/stat".into())?;
    // The name of the program, in parentheses, may have spaces. The fields behind it begin with the third.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    Ok((field(16) + field(17)) * TICK)
}

/// Memory of this process that is in use, in bytes.
pub(crate) fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").doing(|| "reading /proc/self/status".into())?;
    number_after("/proc/self/status", "VmRSS:", &status).map(|kilobytes| kilobytes * 1024.0)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_label() {
        let text = "==1== \n==1== Total:     1,234 bytes in 56 blocks\n";
        assert_eq!(number_after("p", "Total:", text).ok(), Some(1234.0));
        assert_eq!(number_after("p", "bytes in", text).ok(), Some(56.0));
        assert!(number_after("p", "Lost:", text).is_err());
    }
}
