//! The terminal on stdout: its width, its colours, and a reader of a pipe that may be gone.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};

/// Width of text for people where stdout is no terminal.
const DEFAULT_WIDTH: usize = 80;

/// Longer lines of text are hard to read on any terminal; as in the help texts.
const MAX_PROSE: usize = 100;

/// The reader of stdout has closed the pipe, as `head` does. Not a failure: it has read enough.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output has gone")]
pub struct PipeClosed;

/// Prints `text` to stdout at once. Escape codes are removed unless a terminal shows them. A closed pipe is no error, so that the
/// command does the rest of its work and its exit code is that of the outcome.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    match print_to_reader(text) {
        Err(error) if error.is::<PipeClosed>() => Ok(()),
        printed => printed,
    }
}

/// Like [`print`], for a command that prints for as long as somebody reads: returns [`PipeClosed`] then.
pub fn print_to_reader(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout();
    let printed = write!(stdout, "{text}").and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(PipeClosed.into()),
        printed => Ok(printed?),
    }
}

/// Prints one line.
pub fn print_line(line: impl Display) -> anyhow::Result<()> {
    print(format_args!("{line}\n"))
}

/// Whether stdout shows colours: a terminal does, unless `$NO_COLOR` is set.
pub fn has_colour() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Number of columns of the terminal; `None` if stdout is none, so that tables are as wide as their cells.
pub fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(io::stdout());
    // A terminal without a size, such as one of a build server, counts 0 columns.
    let columns = size.map_or(0, |(width, _)| usize::from(width.0));
    Some(if columns == 0 { DEFAULT_WIDTH } else { columns })
}

/// Width of sentences on a terminal of that width.
pub fn prose(width: Option<usize>) -> usize {
    width.unwrap_or(DEFAULT_WIDTH).min(MAX_PROSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_narrower_than_a_wide_terminal() {
        assert_eq!(prose(None), 80);
        assert_eq!(prose(Some(60)), 60);
        assert_eq!(prose(Some(250)), 100);
    }
}
