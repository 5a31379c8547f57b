//! How the program tells what it does: to stderr, filtered by `$RUST_LOG`.

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    #[default]
    Json,
    /// For people
    Pretty,
}

/// Starts logging; without `$RUST_LOG`, what `default` lets through.
pub fn start(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => to_stderr
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
        // Coloured for a terminal that wants it, and in no file.
        LogFormat::Pretty => to_stderr
            .with_target(false)
            .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
            .init(),
    }
}
