//! The dashboards distinguish "nothing is stuck" from "nothing is observed".

use serde_json::{Value, json};

use crate::judge;
use crate::shipped::{DASHBOARDS, queries};

/// The panels that a person reads first, with the labels of their series.
const FIRST_READ: [(&str, &str); 4] = [
    (
        "Locksmith: Stuck objects by kind A",
        "{finding=\"pending_claim\"}",
    ),
    ("Locksmith: Stuck storage A", "{}"),
    ("Locksmith: Oldest stuck object A", "{}"),
    ("Locksmith: capacity and trends: Stuck storage A", "{}"),
];

/// The panel that shows whether the others can be trusted.
const SEES: [(&str, &str); 1] = [("Locksmith: Observed A", "{}")];

/// A quarter of an hour with these constant series.
fn quarter(name: &str, series: &[&str], panels: &[(&str, &str)], shows: Option<u8>) -> Value {
    let all: Vec<_> = DASHBOARDS.into_iter().flat_map(queries).collect();
    let checks: Vec<_> = panels
        .iter()
        .map(|(of, labels)| {
            let query = all.iter().find(|query| query.of == *of);
            let query = query.unwrap_or_else(|| panic!("there is no {of}"));
            let samples: Vec<_> = shows
                .map(|value| json!({"labels": labels, "value": value}))
                .into_iter()
                .collect();
            json!({
                "expr": query.of_everything(),
                "eval_time": "10m",
                "exp_samples": samples,
            })
        })
        .collect();
    let series: Vec<_> = series
        .iter()
        .map(|series| {
            let (series, value) = series.rsplit_once(' ').unwrap();
            json!({"series": series, "values": format!("{value}x15")})
        })
        .collect();
    json!({"name": name, "interval": "1m", "input_series": series, "promql_expr_test": checks})
}

#[test]
#[ignore = "needs promtool: ./tests/run"]
fn dashboard_is_green_only_if_everything_is_observed() {
    let complete = "locksmith_observation_complete{instance=\"a\"} 1";
    let in_part = "locksmith_observation_complete{instance=\"a\"} 0";
    let none = "locksmith_findings{finding=\"pending_claim\",reason=\"unknown\",instance=\"a\"} 0";
    let unreadable =
        "locksmith_provisioner_logs{driver=\"d\",state=\"unreadable\",instance=\"a\"} 2";
    let followed = "locksmith_provisioner_logs{driver=\"d\",state=\"unreadable\",instance=\"a\"} 0";
    let lost = "locksmith_provisioner_found{driver=\"d\",instance=\"a\"} 0";
    let (first, sees) = (&FIRST_READ[..], &SEES[..]);
    let tests = [
        quarter("nothing is stuck", &[complete, none], first, Some(0)),
        quarter("not all is seen", &[in_part], first, None),
        quarter("locksmith is down", &["up{instance=\"a\"} 0"], first, None),
        quarter(
            "all logs are followed",
            &[complete, followed],
            sees,
            Some(1),
        ),
        quarter(
            "a log cannot be read",
            &[complete, unreadable],
            sees,
            Some(0),
        ),
        quarter(
            "a provisioner is not found",
            &[complete, lost],
            sees,
            Some(0),
        ),
        quarter("locksmith is not there", &["up 0"], sees, None),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blind.yaml");
    let test = json!({"evaluation_interval": "1m", "tests": tests});
    std::fs::write(&file, test.to_string()).unwrap();
    let files = [file.to_str().unwrap().to_owned()];
    judge("promtool", &["test", "rules"], &files);
}
