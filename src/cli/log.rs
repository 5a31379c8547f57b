//! Logs to stderr, filtered by `$RUST_LOG`.
//!
//! Messages contain text of tenants. Control characters are escaped in both formats, so that it can neither end a line nor
//! control the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::text::humanize::{plain, steers};

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line
    #[default]
    Json,
    /// Text
    Pretty,
}

/// Starts logging with the filter that `verbosity` selects; if it is 0, with that in `$RUST_LOG`, else with `default`.
pub fn start(format: LogFormat, default: &str, verbosity: u8) {
    let filter = match verbosity {
        0 => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
        1 => EnvFilter::new(format!("{default},locksmith=debug")),
        _ => EnvFilter::new("debug"),
    };
    // Only on a terminal that supports colour, never in a file.
    let colour = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    subscriber(format, filter, colour, io::stderr).init();
}

/// Writes each event to `to` as one line.
fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    to: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour);
    match format {
        LogFormat::Json => Box::new(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_writer(Escaping(to))
                .finish(),
        ),
        LogFormat::Pretty => Box::new(
            lines
                .with_target(false)
                .fmt_fields(
                    debug_fn(|to, field, value| {
                        let value = plain(&format!("{value:?}"));
                        match field.name() {
                            "message" => write!(to, "{value}"),
                            name => write!(to, "{name}={value}"),
                        }
                    })
                    .delimited(" "),
                )
                .with_writer(to)
                .finish(),
        ),
    }
}

/// Escapes the characters that JSON allows unescaped but a terminal interprets.
struct Escaping<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(escaped(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(json: &str) -> Cow<'_, str> {
    // The line feed at the end is the only control character outside a string.
    let escape = |c: char| steers(c) && c != '\n';
    if !json.contains(escape) {
        return json.into();
    }
    json.chars()
        .fold(String::new(), |mut text, c| {
            if escape(c) {
                // Writing to a String cannot fail; all of these are in the basic plane.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            } else {
                text.push(c);
            }
            text
        })
        .into()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rstest::rstest;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str =
        "no\r\n2026-11-01T02:00:00Z  INFO run=x forged\u{1b}[2J\u{9b}2J\u{202e}\u{2028}";

    fn logged(format: LogFormat) -> String {
        let kept = Kept::default();
        let to = kept.clone();
        let writer = subscriber(format, EnvFilter::new("info"), false, move || to.clone());
        tracing::subscriber::with_default(writer, || {
            let error = HOSTILE;
            tracing::warn!(%error, why = HOSTILE, object = ?HOSTILE, "not written: {HOSTILE}");
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Attack: a message of an Event or a status that ends the log line and starts a forged one, or clears the reader's
    /// screen. Defence: characters with an effect are escaped in every field.
    #[rstest]
    #[case(LogFormat::Json)]
    #[case(LogFormat::Pretty)]
    fn log_fields_cannot_end_a_line_or_control_the_terminal(#[case] format: LogFormat) {
        let text = logged(format);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(steers), "{line:?}");
        assert_eq!(line.matches("forged").count(), 4, "{line:?}");
    }

    #[test]
    fn pretty_fields_are_separated() {
        let kept = Kept::default();
        let to = kept.clone();
        let filter = EnvFilter::new("info");
        let writer = subscriber(LogFormat::Pretty, filter, false, move || to.clone());
        tracing::subscriber::with_default(writer, || {
            tracing::warn!(kind = "pods", attempt = 2, "watch failed");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(
            line.ends_with(" WARN watch failed kind=\"pods\" attempt=2\n"),
            "{line:?}"
        );
    }

    #[test]
    fn escaped_json_decodes_to_the_same_text() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json)).unwrap();
        assert_eq!(line["why"], HOSTILE);
        assert_eq!(line["message"], format!("not written: {HOSTILE}"));
    }
}
