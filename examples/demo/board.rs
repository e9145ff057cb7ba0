//! The live view.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::Run;

/// Over how long "per second" is taken.
const WINDOW: Duration = Duration::from_secs(1);

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Board {
    view: View,
    samples: VecDeque<(Duration, u64)>,
}

enum View {
    Terminal { time: ProgressBar, lines: Vec<ProgressBar> },
    Lines { next: Duration },
}

impl Board {
    pub(crate) fn new(length: Duration) -> Self {
        let view = if std::io::stderr().is_terminal() { View::terminal(length) } else { View::Lines { next: LINE_EVERY } };
        Self { view, samples: VecDeque::new() }
    }

    pub(crate) fn show(&mut self, run: &Run) {
        let elapsed = run.began.elapsed();
        let ok = run.tally.ok.load(Ordering::Relaxed);
        let per_second = self.per_second(elapsed, ok);
        let count = |counter: &AtomicU64| HumanCount(counter.load(Ordering::Relaxed));
        let lines = [
            format!("{} transfers, {} per second", HumanCount(ok), HumanCount(per_second)),
            format!("{} connections killed, server killed {} times", count(&run.tally.connections_killed), run.tally.server_kills()),
            format!("{} retries, {} reconnects", count(&run.tally.retries), count(&run.tally.reconnects)),
            format!("transfers again after a server kill: {}", run.tally.recoveries()),
        ];
        match &mut self.view {
            View::Terminal { time, lines: bars } => {
                time.set_position(elapsed.as_secs().min(run.length.as_secs()));
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
        if let View::Terminal { time, lines } = self.view {
            lines.iter().chain([&time]).for_each(ProgressBar::abandon);
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
    fn terminal(length: Duration) -> Self {
        let all = MultiProgress::new();
        let bar = ProgressStyle::with_template("{bar:60.green} {pos}/{len} s").unwrap_or_else(|_| ProgressStyle::default_bar());
        let text = ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let time = all.add(ProgressBar::new(length.as_secs()).with_style(bar));
        let lines = (0..4).map(|_| all.add(ProgressBar::no_length().with_style(text.clone()))).collect();
        Self::Terminal { time, lines }
    }
}
