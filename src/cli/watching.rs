//! Shows a changing text until the command is interrupted: redrawn on a terminal, appended elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use futures::{Stream, StreamExt as _};

use super::output::{has_colour, print, print_to_reader};

/// Shortest time between two texts on a terminal.
const REDRAW: Duration = Duration::from_secs(1);

/// The same where texts are appended, so that a log does not fill up.
const APPEND: Duration = Duration::from_secs(10);

/// Clears the screen and goes to its upper left corner.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Prints texts, each instead of the one before on a terminal.
pub struct Screen {
    watches: bool,
    /// Whether stdout is a terminal that may be sent escape codes, so not with `$NO_COLOR`.
    redraws: bool,
    shown: Option<String>,
}

impl Screen {
    /// A screen that is redrawn only if the command goes on watching: a single text leaves the terminal as it is.
    pub fn new(watches: bool) -> Self {
        Self {
            watches,
            redraws: watches && std::io::stdout().is_terminal() && has_colour(),
            shown: None,
        }
    }

    /// Prints `text`, unless it is the one shown.
    pub fn show(&mut self, text: &str) -> anyhow::Result<()> {
        if self.shown.as_deref() == Some(text) {
            return Ok(());
        }
        let before = match (self.redraws, &self.shown) {
            (true, _) => CLEAR,
            (false, Some(_)) => "\n",
            (false, None) => "",
        };
        if self.watches {
            print_to_reader(format_args!("{before}{text}"))?;
        } else {
            print(text)?;
        }
        self.shown = Some(text.to_owned());
        Ok(())
    }

    /// Waits until the next text may be shown, and for an item; returns the latest. `None` if there are no more.
    pub async fn latest<T>(&self, items: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
        let pause = tokio::time::sleep(if self.redraws { REDRAW } else { APPEND });
        tokio::pin!(pause);
        let mut latest = None;
        loop {
            tokio::select! {
                () = &mut pause => break,
                item = items.next() => match item {
                    Some(item) => latest = Some(item),
                    None => return latest,
                },
            }
        }
        match latest {
            Some(item) => Some(item),
            None => items.next().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn latest_item_is_returned_after_the_pause() {
        let screen = Screen {
            watches: true,
            redraws: true,
            shown: None,
        };
        let (send, mut received) = mpsc::channel(4);
        let sending = tokio::spawn(async move {
            for (after, item) in [(100, "first"), (200, "second"), (5_000, "third")] {
                sleep(Duration::from_millis(after)).await;
                send.send(item).await.unwrap();
            }
        });
        let mut items = Box::pin(futures::stream::poll_fn(|cx| received.poll_recv(cx)));
        let begun = Instant::now();
        assert_eq!(screen.latest(&mut items).await, Some("second"));
        assert_eq!(begun.elapsed(), REDRAW);
        assert_eq!(screen.latest(&mut items).await, Some("third"));
        assert!(begun.elapsed() > Duration::from_secs(5));
        sending.await.unwrap();
        assert_eq!(screen.latest(&mut items).await, None);
    }
}
