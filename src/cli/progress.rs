//! Prints the progress of a run, one line per event.

use std::io::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::run_progress::{Line, Tone};
use crate::text::humanize::plain;

/// Prints `  3.2s  label            text`; a line without a label continues the one before and shows no time.
pub fn print(at: Duration, line: &Line) {
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
    anstream::println!("{time:>6}  {label:<22}{style}{text}{style:#}");
    // Readers of a pipe follow the run live.
    let _ = std::io::stdout().flush();
}
