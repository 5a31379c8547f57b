//! Makes `deploy/docs/metrics.md` from the table of families, and holds the file against it.

use std::fmt::Write as _;

use super::families::TABLE;
use super::family::Row;

const INTRODUCTION: &str = "\
# Metrics

`/metrics` answers in OpenMetrics 1.0 to whoever asks for it, as Prometheus does, and else in the older text format.
Names, types, labels and texts below are those of the code: a test fails where this page differs, and
`UPDATE_DOCS=1 cargo test reference` writes it anew.

- Labels `namespace`, `name` and `kind` are those of the object a series is about: scrape with `honorLabels: true`.
- A point in time is in seconds since 1970; `time() - x` is an age.
- Series about an object are there while it is stuck, held or unfinished, and gone with it. Reasons are closed sets; what
  anybody wrote in a message is never a label.
- Every replica watches the cluster and exports all of it: what is stuck, held, under way and seen is there once a
  replica. Take the `max by` the labels you need before summing, never the plain `sum`. Only the counters and histograms,
  the program's own, and `locksmith_leader` are each replica's: add the former up, except `locksmith_stuck_duration_seconds`,
  which every replica observes by itself. Steps, writes and accepted alerts are counted by whichever leads at the time.
- Nothing seen is not nothing stuck: while `locksmith_observation_complete` is 0, what is not reported may still be.
";

fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (group, rows) in TABLE {
        write!(page, "\n## {group}\n").unwrap();
        rows.iter().for_each(|row| describe(row, &mut page));
    }
    page
}

fn describe(row: &Row, page: &mut String) {
    let (name, kind) = (row.full_name(), row.kind.as_str());
    write!(page, "\n### `{name}`\n\n{kind}").unwrap();
    if !row.labels.is_empty() {
        write!(page, " by `{}`", row.labels.join("`, `")).unwrap();
    }
    write!(page, "\n\n{}\n", row.help).unwrap();
}

#[test]
fn the_page_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        page,
        reference(),
        "out of date: UPDATE_DOCS=1 cargo test reference"
    );
}

#[test]
fn help_can_be_written_as_it_stands() {
    for row in TABLE.iter().flat_map(|(_, rows)| *rows) {
        let spoils = |c: char| c == '\\' || c.is_control();
        assert!(
            row.help.ends_with('.') && !row.help.contains(spoils),
            "{}",
            row.full_name()
        );
    }
}
