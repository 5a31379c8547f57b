//! The metrics in a PromQL expression, and all existing metrics.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::shipped::{RULES, each, read, text};

/// Metrics of Prometheus itself.
const ITS_OWN: [&str; 1] = ["ALERTS"];

const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

/// Every metric in `expr`.
pub fn named(expr: &str) -> BTreeSet<String> {
    let mut bare = expr.to_owned();
    let labels = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)";
    for hides in [r#""[^"]*""#, r"\{[^}]*\}", r"\[[^\]]*\]", labels] {
        bare = Regex::new(hides)
            .unwrap()
            .replace_all(&bare, " ")
            .into_owned();
    }
    let word = Regex::new(r"\b[a-zA-Z_][a-zA-Z0-9_:]*").unwrap();
    word.find_iter(&bare)
        .filter(|word| !bare[word.end()..].trim_start().starts_with('('))
        .map(|word| word.as_str().to_owned())
        .filter(|word| !OPERATORS.contains(&word.as_str()))
        .collect()
}

/// Every rule in both files.
pub fn rules() -> Vec<Value> {
    let mut rules = Vec::new();
    for file in RULES {
        for group in each(&read(file), "groups") {
            rules.extend(each(group, "rules").cloned());
        }
    }
    rules
}

/// Every existing metric: those in the reference, recorded ones, and Prometheus's own.
pub fn known() -> BTreeSet<String> {
    let reference = text("deploy/docs/metrics.md");
    let mut known: BTreeSet<String> = ITS_OWN.map(str::to_owned).into();
    for family in reference.split("\n### `").skip(1) {
        let (name, rest) = family.split_once('`').unwrap();
        if rest.trim_start().starts_with("histogram") {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            known.insert(name.to_owned());
        }
    }
    let recorded = rules();
    let recorded = recorded.iter().filter_map(|rule| rule["record"].as_str());
    known.extend(recorded.map(str::to_owned));
    known
}

/// The labels by which a query may select each metric: of the reference, of recorded metrics those that their rule keeps. The label
/// `namespace` of a Remediation is the daemon's, not that of what is stuck, and alerts have the labels of many metrics.
pub fn labels() -> BTreeMap<String, BTreeSet<String>> {
    let quoted = Regex::new(r"`(\w+)`").unwrap();
    let kept = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let reference = text("deploy/docs/metrics.md");
    let mut labels =
        BTreeMap::from([("ALERTS".to_owned(), BTreeSet::from(["cluster".to_owned()]))]);
    for family in reference.split("\n### `").skip(1) {
        let (name, rest) = family.split_once('`').unwrap();
        let kind = rest.trim_start().lines().next().unwrap();
        let own = quoted.captures_iter(kind).map(|label| label[1].to_owned());
        let mut own: BTreeSet<String> = own.chain(["cluster", "job"].map(str::to_owned)).collect();
        if name.starts_with("locksmith_remediation") || name == "locksmith_gate_open" {
            own.remove("namespace");
        }
        if kind.starts_with("histogram") {
            for part in ["bucket", "sum", "count"] {
                labels.insert(format!("{name}_{part}"), own.clone());
            }
        }
        labels.insert(name.to_owned(), own);
    }
    for rule in rules() {
        let Some(name) = rule["record"].as_str() else {
            continue;
        };
        let expr = rule["expr"].as_str().unwrap();
        let own = match kept.captures(expr) {
            Some(kept) => kept[1]
                .split(',')
                .map(|label| label.trim().to_owned())
                .collect(),
            // It changes the values of another recorded metric, and keeps its labels.
            None => labels[named(expr).first().unwrap()].clone(),
        };
        labels.insert(name.to_owned(), own);
    }
    labels
}

/// Every series selector of `expr`: the metric, and what stands in its braces.
pub fn selectors(expr: &str) -> Vec<(String, String)> {
    let selector = Regex::new(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}").unwrap();
    let found = selector.captures_iter(expr);
    found
        .map(|it| (it[1].to_owned(), it[2].to_owned()))
        .collect()
}

#[test]
fn metrics_are_recognised_in_expressions() {
    let expr = r#"sum by (cluster, le) (rate(a_total{code!~"x{y}", b="c d"}[5m] offset 1h)) * on (d) group_left () e:f:g > bool 1e3 unless ALERTS"#;
    let expected = ["ALERTS", "a_total", "e:f:g"].map(str::to_owned);
    assert_eq!(named(expr), expected.into());
}
