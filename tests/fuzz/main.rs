//! The corpus of the fuzz targets, replayed: whatever was found once is found again, and no target rots.
//!
//! `tests/fuzz/run` does the fuzzing itself.

// A broken promise is a panic, in a target as in a test.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod targets;

use std::path::{Path, PathBuf};

use rstest::rstest;

/// All of the corpus; it is in the repository.
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

/// Fuzz target: body of a webhook. No run is asked for but by a firing alert that a playbook names, of a driver there is.
#[test]
fn webhook() {
    replay("webhook");
}

/// Fuzz target: configuration file. A fault is told with its path; what is read is written so that it is read the same.
#[test]
fn config() {
    replay("config");
}

/// Fuzz target: line of a driver's log. The key that is said to be locked is a word of it, and not long.
#[test]
fn log_line() {
    replay("log_line");
}

/// Fuzz target: objects of other versions, statuses included. What is planned and done is done to objects that are there.
#[test]
fn foreign() {
    replay("foreign");
}

/// Fuzz target: durations. What is read is written so that it is read the same, and goes beyond no time.
#[test]
fn duration() {
    replay("duration");
}

/// Fuzz target: label matchers. What is read is written so that it is read the same; negation turns the answer.
#[test]
fn matcher() {
    replay("matcher");
}

/// Fuzz target: names. An accepted name is one segment of a path, and each name derived from another is one that the API
/// server accepts.
#[test]
fn name() {
    replay("name");
}

#[test]
fn every_target_has_its_corpus_and_its_binary() {
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
fn the_corpus_stays_small() {
    let files = targets::TARGETS.iter().flat_map(|(name, _)| corpus(name));
    let size: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    assert!(size <= MAX_CORPUS, "{size} bytes");
}

/// What a target takes apart says something of the corpus: one that is refused at the door tests nothing behind it.
#[rstest]
#[case("webhook", |data: &[u8]| locksmith::alerts::parse(data).is_ok())]
#[case("config", |data: &[u8]| locksmith::config::parse(&String::from_utf8_lossy(data)).is_ok_and(|it| it != locksmith::config::Config::default()))]
#[case("name", |data: &[u8]| locksmith::api::is_object_name(&String::from_utf8_lossy(data)))]
#[case("foreign", |data: &[u8]| serde_json::from_slice::<Vec<serde_json::Value>>(data).is_ok())]
fn the_corpus_gets_past_the_door(#[case] target: &str, #[case] gets_past: fn(&[u8]) -> bool) {
    let files = corpus(target);
    assert!(
        files
            .iter()
            .any(|file| gets_past(&std::fs::read(file).unwrap()))
    );
}
