//! The live view.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::{Run, Script};

/// Over how long "per second" is taken.
const WINDOW: Duration = Duration::from_secs(1);

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Board {
    view: View,
    samples: VecDeque<(Duration, u64)>,
}

enum View {
    Terminal { bar: ProgressBar, lines: Vec<ProgressBar> },
    Lines { next: Duration },
}

impl Board {
    pub(crate) fn new(script: &Script) -> Self {
        let view = if std::io::stderr().is_terminal() { View::terminal(script) } else { View::Lines { next: LINE_EVERY } };
        Self { view, samples: VecDeque::new() }
    }

    pub(crate) fn show(&mut self, run: &Run) {
        let elapsed = run.began.elapsed();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let count = |counter: &AtomicU64| HumanCount(load(counter));
        let ok = load(&run.tally.ok);
        let per_second = self.per_second(elapsed, ok);
        let mut lines = [
            format!("{} transfers, {} per second", HumanCount(ok), HumanCount(per_second)),
            format!("{} connections killed, server killed {} times", count(&run.tally.sessions_killed), run.tally.server_kills()),
            format!("{} retries, {} reconnects", count(&run.tally.retries), HumanCount(run.reconnects())),
            format!("transfers again after a server kill: {}", run.tally.recoveries()),
        ];
        if let Script::Torture { ops, .. } | Script::Cluster { ops, .. } = &run.script {
            lines[0] = format!("{} of {} operations, {}", count(&run.tally.done), HumanCount(*ops as u64), lines[0]);
            lines[1] = format!("{} COMMITs cut, {}", count(&run.tally.commits_cut), lines[1]);
            if matches!(run.script, Script::Cluster { .. }) {
                lines[3] = format!("{} faults of nodes", run.tally.node_outages().len());
            }
        }
        match &mut self.view {
            View::Terminal { bar, lines: bars } => {
                let done = if matches!(run.script, Script::Demo { .. }) { elapsed.as_secs() } else { load(&run.tally.done) };
                bar.set_position(done.min(bar.length().unwrap_or(done)));
                bars.iter().zip(lines).for_each(|(bar, line)| bar.set_message(line));
            }
            View::Lines { next } if elapsed >= *next => {
                *next += LINE_EVERY;
                eprintln!("{:3} s: {}", elapsed.as_secs(), lines.join("; "));
            }
            View::Lines { .. } => {}
        }
    }

    /// Leaves the last state on the screen.
    pub(crate) fn finish(self) {
        if let View::Terminal { bar, lines } = self.view {
            lines.iter().chain([&bar]).for_each(ProgressBar::abandon);
            eprintln!();
        }
    }

    fn per_second(&mut self, now: Duration, ok: u64) -> u64 {
        self.samples.push_back((now, ok));
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        let Some((since, before)) = self.samples.front() else { return 0 };
        let seconds = now.saturating_sub(*since).as_secs_f64();
        if seconds > 0.0 { ((ok - before) as f64 / seconds) as u64 } else { 0 }
    }
}

impl View {
    fn terminal(script: &Script) -> Self {
        let (length, unit) = match script {
            Script::Demo { length } => (length.as_secs(), "s"),
            Script::Torture { ops, .. } | Script::Cluster { ops, .. } => (*ops as u64, "operations"),
        };
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template(&format!("{{bar:60.green}} {{pos}}/{{len}} {unit}"));
        let text = ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = all.add(ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        let lines = (0..4).map(|_| all.add(ProgressBar::no_length().with_style(text.clone()))).collect();
        Self::Terminal { bar, lines }
    }
}
