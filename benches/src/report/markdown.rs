//! How does the report read as text?

use std::fmt::Write as _;

use super::{Section, Table};

/// The whole report.
pub(crate) fn report(about: &[String], sections: &[Section]) -> String {
    let mut text = String::from("# Figures\n\n");
    for paragraph in about {
        line(&mut text, paragraph);
    }
    text += "## Goals\n\n| Goal | Found | |\n|---|---|---|\n";
    for section in sections {
        for goal in &section.goals {
            let met = if goal.met { "met" } else { "**not met**" };
            let _ = writeln!(text, "| {}: {} | {} | {met} |", section.title, goal.what, goal.found);
        }
    }
    for section in sections {
        let _ = write!(text, "\n## {}\n\n", section.title);
        for paragraph in &section.text {
            line(&mut text, paragraph);
        }
        for shown in &section.tables {
            let _ = write!(text, "### {}\n\n{}\n", shown.title, table(shown));
        }
        for plot in &section.plots {
            let _ = write!(text, "![{}]({})\n\n", plot.title, plot.file);
        }
    }
    text
}

pub(crate) fn table(table: &Table) -> String {
    let mut text = format!("| {} |\n|---|", table.head.join(" | "));
    text += &"---:|".repeat(table.head.len().saturating_sub(1));
    text.push('\n');
    for row in &table.rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn line(text: &mut String, paragraph: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{paragraph}\n\n");
}
