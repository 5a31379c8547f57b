//! What is fuzzed: bytes in, nothing out, and a panic where a promise is broken. Both the fuzzer (see `tests/fuzz/run`)
//! and the ordinary tests, which replay the corpus, call these.

mod config;
mod duration;
mod foreign;
mod log_line;
mod matcher;
mod name;
mod webhook;

/// What a target is called, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is that of its corpus and of its binary.
pub const TARGETS: [Target; 7] = [
    ("webhook", webhook::run),
    ("config", config::run),
    ("log_line", log_line::run),
    ("foreign", foreign::run),
    ("duration", duration::run),
    ("matcher", matcher::run),
    ("name", name::run),
];

/// Runs the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of this name");
    target(data);
}

/// Text is what the program reads; what is none is tried as far as it is.
fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A moment, that nothing depends on the clock.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_795_836_000).expect("a time within range")
}
