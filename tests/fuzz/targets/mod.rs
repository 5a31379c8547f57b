//! Fuzz targets: each takes bytes, and panics if a promise is broken. Called by the fuzzer (see `tests/fuzz/run`) and by
//! the ordinary tests, which replay the corpus.

mod config;
mod duration;
mod foreign;
mod log_line;
mod matcher;
mod name;
mod webhook;

/// Name of a target, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is also that of its corpus and of its binary.
pub const TARGETS: [Target; 7] = [
    ("webhook", webhook::run),
    ("config", config::run),
    ("log_line", log_line::run),
    ("foreign", foreign::run),
    ("duration", duration::run),
    ("matcher", matcher::run),
    ("name", name::run),
];

/// Runs the target with that name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of this name");
    target(data);
}

/// The program reads text; invalid UTF-8 is replaced.
fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A fixed time, so that nothing depends on the clock.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_795_836_000).expect("a time within range")
}
