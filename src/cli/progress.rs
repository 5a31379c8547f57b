//! Prints the progress of a run: one line per event, and the current step as a bar on a terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::print_line;
use crate::api::StepName;
use crate::api::remediation::StepProgress;
use crate::run_progress::{Line, Tone, of_step};
use crate::text::humanize::plain;

/// Where there is no terminal, the current step is printed this often.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The bar of a step, under the columns of [`print()`].
const BAR: &str = "        {prefix:<22}{bar:20} {pos}/{len} {wide_msg}";

/// Prints the progress of one run.
pub struct Printer {
    begun: Instant,
    terminal: bool,
    /// The bar of the current step, on a terminal.
    bar: Option<ProgressBar>,
    current: Option<Line>,
}

impl Printer {
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            bar: None,
            current: None,
        }
    }

    /// Prints a line, above the bar.
    pub fn line(&self, line: &Line) -> anyhow::Result<()> {
        let print = || print(self.begun.elapsed(), line);
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Sets the current step and its progress.
    pub fn set(&mut self, current: Option<(StepName, &StepProgress)>) {
        self.current = current.map(|(step, progress)| of_step(step, progress));
        match current {
            Some((step, progress)) if self.terminal => {
                let bar = self.bar.get_or_insert_with(bar);
                bar.set_prefix(step.as_str());
                bar.set_length(progress.total.into());
                bar.set_position(progress.done.into());
                bar.set_message(plain(&progress.waiting_for));
                // A draw may have been left out, as they are limited in rate.
                bar.force_draw();
            }
            Some(_) | None => self.clear(),
        }
    }

    /// Prints the current step, where no bar shows it.
    pub fn report(&self) -> anyhow::Result<()> {
        match (self.terminal, &self.current) {
            (false, Some(line)) => self.line(line),
            _ => Ok(()),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    match ProgressStyle::with_template(BAR) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Prints `  3.2s  label            text`; a line without a label continues the one before and shows no time.
pub fn print(at: Duration, line: &Line) -> anyhow::Result<()> {
    let style = match line.tone {
        Tone::Plain => Style::new(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Ask => AnsiColor::Yellow.on_default(),
    };
    let time = if line.label.is_empty() {
        String::new()
    } else {
        format!("{:.1}s", at.as_secs_f64())
    };
    let (label, text) = (plain(&line.label), plain(&line.text));
    print_line(format_args!("{time:>6}  {label:<22}{style}{text}{style:#}"))
}
