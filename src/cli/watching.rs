//! Shows a changing text until the command is interrupted: redrawn on a terminal, appended elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::output::print;

/// Shortest time between two texts on a terminal.
const REDRAW: Duration = Duration::from_secs(1);

/// The same elsewhere, so that a log does not fill up.
const APPEND: Duration = Duration::from_secs(10);

/// Prints texts, each instead of the one before on a terminal.
pub struct Screen {
    terminal: bool,
    shown: Option<String>,
}

impl Screen {
    pub fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            shown: None,
        }
    }

    /// Prints `text`, unless it is the one shown.
    pub fn show(&mut self, text: &str) -> anyhow::Result<()> {
        if self.shown.as_deref() == Some(text) {
            return Ok(());
        }
        let before = if self.terminal {
            // Clears the screen and goes to its upper left corner.
            "\u{1b}[2J\u{1b}[H"
        } else if self.shown.is_some() {
            "\n"
        } else {
            ""
        };
        print(format_args!("{before}{text}"))?;
        self.shown = Some(text.to_owned());
        Ok(())
    }

    /// Waits until the next text may be shown.
    pub async fn pause(&self) {
        tokio::time::sleep(if self.terminal { REDRAW } else { APPEND }).await;
    }
}
