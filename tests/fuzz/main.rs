//! Replays the corpus of the fuzz targets, so that no found error returns, and every target stays usable.
//!
//! `tests/fuzz/run` does the fuzzing itself.

// A broken promise is a panic, in a target as in a test.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod targets;

use std::path::{Path, PathBuf};

use rstest::rstest;

/// Maximum size of the corpus, which is in the repository.
const MAX_CORPUS: u64 = 64 * 1024;

fn below(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(path)
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let entries = below("corpus").join(target).read_dir().unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(target: &str) {
    let files = corpus(target);
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        targets::run(target, &std::fs::read(&file).unwrap());
    }
}

/// Fuzz target: body of a webhook. A run is started only by a firing alert that a playbook names, about an existing driver.
#[test]
fn webhook() {
    replay("webhook");
}

/// Fuzz target: configuration file. An error has its path; a parsed file round-trips.
#[test]
fn config() {
    replay("config");
}

/// Fuzz target: line of a driver's log. The locked key is a word of it, and not long.
#[test]
fn log_line() {
    replay("log_line");
}

/// Fuzz target: objects of other versions, statuses included. Only existing objects are planned for and changed.
#[test]
fn foreign() {
    replay("foreign");
}

/// Fuzz target: durations. A parsed duration round-trips, and never overflows.
#[test]
fn duration() {
    replay("duration");
}

/// Fuzz target: label matchers. A parsed matcher round-trips; negation inverts the result.
#[test]
fn matcher() {
    replay("matcher");
}

/// Fuzz target: names. An accepted name is one segment of a path, and the API server accepts each name derived from
/// another.
#[test]
fn name() {
    replay("name");
}

#[test]
fn every_target_has_a_corpus_and_a_binary() {
    let list = |path: &str| {
        let entries = below(path).read_dir().unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = entries.map(|entry| stem(entry.unwrap().path())).collect();
        names.sort();
        names
    };
    let mut targets = targets::TARGETS.map(|(name, _)| name.to_owned());
    targets.sort();
    assert_eq!(list("corpus"), targets);
    assert_eq!(list("bin"), targets);
}

#[test]
fn corpus_stays_small() {
    let files = targets::TARGETS.iter().flat_map(|(name, _)| corpus(name));
    let size: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    assert!(size <= MAX_CORPUS, "{size} bytes");
}

/// A target's ability to parse the corpus shows its quality: input that is refused immediately tests nothing.
#[rstest]
#[case("webhook", |data: &[u8]| locksmith::alerts::parse(data).is_ok())]
#[case("config", |data: &[u8]| locksmith::config::parse(&String::from_utf8_lossy(data)).is_ok_and(|it| it != locksmith::config::Config::default()))]
#[case("name", |data: &[u8]| locksmith::api::is_object_name(&String::from_utf8_lossy(data)))]
#[case("foreign", |data: &[u8]| serde_json::from_slice::<Vec<serde_json::Value>>(data).is_ok())]
fn corpus_is_mostly_accepted(#[case] target: &str, #[case] gets_past: fn(&[u8]) -> bool) {
    let files = corpus(target);
    assert!(
        files
            .iter()
            .any(|file| gets_past(&std::fs::read(file).unwrap()))
    );
}
