//! Writes `deploy/docs/metrics.md` from the table of families, and checks that the file is up to date.

use std::fmt::Write as _;

use super::families::TABLE;
use super::family::Row;

const INTRODUCTION: &str = "\
# Metrics

`/metrics` is served as OpenMetrics 1.0 to clients that accept it, such as Prometheus, and otherwise in the older text
format; compressed with gzip if the client accepts that. This page is generated from the code by `UPDATE_DOCS=1 cargo test reference`; a test fails if it is out of date.

- The labels `namespace`, `name` and `kind` identify the object of a series: scrape with `honorLabels: true`.
- Timestamps are in seconds since 1970; `time() - x` is an age.
- A series about an object exists while the object is stuck, held or unfinished. Reasons are closed sets; free text from
  messages is never a label.
- Every replica watches the whole cluster, so each exports the same findings, holds, Remediations and observation. Take
  `max by` the labels you need before you sum. Counters, histograms, process metrics and `locksmith_leader` belong to one
  replica: sum the counters and histograms, except `locksmith_stuck_duration_seconds`, which every replica observes.
  Steps, writes and accepted alerts are counted by the leader.
- While `locksmith_observation_complete` is 0, findings may be missing: an absent series does not mean that nothing is
  stuck.
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
fn metrics_page_matches_the_code() {
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
fn help_needs_no_escaping() {
    for row in TABLE.iter().flat_map(|(_, rows)| *rows) {
        let spoils = |c: char| c == '\\' || c.is_control();
        assert!(
            row.help.ends_with('.') && !row.help.contains(spoils),
            "{}",
            row.full_name()
        );
    }
}
