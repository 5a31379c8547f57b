//! What happens, a line each, as it happens.

use std::io::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::run_progress::{Line, Tone};
use crate::text::humanize::plain;

/// `  3.2s  label            text`, or the same without time and label where the line before goes on.
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
    // A pipe is read as the story goes.
    let _ = std::io::stdout().flush();
}
