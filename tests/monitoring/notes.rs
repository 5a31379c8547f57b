//! The annotations of every alert, as rendered by Prometheus.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use crate::shipped::{RULES, each, field, path, read};
use crate::{alert_names, files};

/// A test of the rules that only requests the alerts of `test` at the times they fire. It expects none, so that promtool
/// prints what it got.
fn asking(test: &Value) -> Value {
    let alert = Regex::new(r#"^ALERTS\{alertname="(\w+)",alertstate="firing"\}$"#).unwrap();
    let checks: Vec<_> = each(test, "promql_expr_test")
        .filter(|check| each(check, "exp_samples").next().is_some())
        .filter_map(|check| {
            let name = &alert.captures(field(check, "expr"))?[1];
            Some(json!({"alertname": name, "eval_time": check["eval_time"], "exp_alerts": []}))
        })
        .collect();
    json!({
        "interval": test["interval"],
        "input_series": test["input_series"],
        "alert_rule_test": checks,
    })
}

/// Output of promtool for all alerts that fire in the tests.
fn printed() -> String {
    let rules: Vec<_> = RULES.iter().map(|file| path(file)).collect();
    let mut tests = Vec::new();
    for file in files("alerts/tests") {
        tests.extend(each(&read(&file), "tests").map(asking));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes.yaml");
    let all = json!({"rule_files": rules, "evaluation_interval": "1m", "tests": tests});
    std::fs::write(&file, all.to_string()).unwrap();
    let mut promtool = Command::new("promtool");
    let output = promtool.args(["test", "rules"]).arg(file).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
#[ignore = "needs promtool: ./tests/run"]
fn rendered_annotations_have_no_gaps() {
    let printed = printed();
    let alert = Regex::new(
        r#"Labels:\{alertname="(\w+)"[^\n]*\n\s*Annotations:\{description="(.*)", runbook_url="(.*)", summary="(.*)"\}"#,
    )
    .unwrap();
    // A failed template, a missing value, a missing label.
    let broken = Regex::new(r"<error|<no value>|\{\{|NaN|  |of :|for :|of stay|/[ `']|[ `']/ ");
    let broken = broken.unwrap();
    let mut said = BTreeSet::new();
    for found in alert.captures_iter(&printed) {
        let (name, description, summary) = (&found[1], &found[2], &found[4]);
        for text in [description, summary] {
            assert!(!broken.is_match(text), "{name}: {text}");
            assert!(!text.is_empty(), "{name}");
        }
        assert!(!summary.ends_with([' ', ':']), "{name}: {summary}");
        said.insert(name.to_owned());
    }
    assert_eq!(said, alert_names(), "{printed}");
}
