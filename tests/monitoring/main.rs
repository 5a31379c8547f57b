//! The shipped rules, dashboards and runbooks are valid, and consistent with each other and the program.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod blind;
mod metrics;
mod notes;
mod receivers;
mod routes;
mod shipped;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use metrics::rules;
use shipped::{
    DASHBOARDS, RULES, VARIABLES, each, field, panels, path, queries, read, scraping, text,
};

/// URL of the pages of this repository.
const PAGES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");

fn alerts() -> Vec<Value> {
    let mut alerts = rules();
    alerts.retain(|rule| rule["alert"].is_string());
    alerts
}

fn alert_names() -> BTreeSet<String> {
    let alerts = alerts();
    let names = alerts.iter().map(|alert| field(alert, "alert").to_owned());
    names.collect()
}

/// The files of a directory, sorted.
fn files(folder: &str) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(path(folder))
        .unwrap()
        .map(|file| format!("{folder}/{}", file.unwrap().file_name().display()))
        .collect();
    files.sort();
    files
}

/// Runs one of Prometheus's tools in the repository, which must succeed.
fn judge(tool: &str, args: &[&str], files: &[String]) {
    let judged = Command::new(tool)
        .args(args)
        .args(files)
        .current_dir(path(""))
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error}; tests/run installs it"));
    let said = [judged.stdout, judged.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(judged.status.success(), "{said}");
}

#[test]
#[ignore = "needs promtool: ./tests/run"]
fn promtool_accepts_the_rules() {
    let rules = RULES.map(str::to_owned);
    judge("promtool", &["check", "rules", "--lint-fatal"], &rules);
}

#[test]
#[ignore = "needs promtool: ./tests/run"]
fn rules_pass_their_tests() {
    judge("promtool", &["test", "rules"], &files("alerts/tests"));
}

#[test]
#[ignore = "needs promtool: ./tests/run"]
fn promtool_accepts_the_sample() {
    // In the directory of its rules, which it names. Debian's Prometheus has no Kubernetes discovery, hence another one.
    let directory = tempfile::tempdir().unwrap();
    for file in RULES {
        let name = path(file).file_name().unwrap().to_owned();
        std::fs::copy(path(file), directory.path().join(name)).unwrap();
    }
    let sample = scraping("alerts/prometheus.yaml", &["127.0.0.1:9797"]);
    let file = directory.path().join("prometheus.yaml");
    std::fs::write(&file, sample.to_string()).unwrap();
    let files = [file.to_str().unwrap().to_owned()];
    judge("promtool", &["check", "config", "--lint-fatal"], &files);
}

#[test]
#[ignore = "needs amtool: ./tests/run"]
fn amtool_accepts_the_samples() {
    let samples = ["alerts/alertmanager.yaml", "alerts/receivers.yaml"].map(str::to_owned);
    judge("amtool", &["check-config"], &samples);
}

#[test]
fn every_alert_is_tested_firing_and_not_firing() {
    let alert = Regex::new(r#"^ALERTS\{alertname="(\w+)",alertstate="firing"\}$"#).unwrap();
    let mut tested: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for file in files("alerts/tests") {
        for test in each(&read(&file), "tests") {
            for check in each(test, "promql_expr_test") {
                if let Some(asked) = alert.captures(field(check, "expr")) {
                    let fires = each(check, "exp_samples").next().is_some();
                    tested.entry(asked[1].to_owned()).or_default().insert(fires);
                }
            }
        }
    }
    let both = BTreeSet::from([false, true]);
    let expected = alert_names().into_iter().map(|name| (name, both.clone()));
    assert_eq!(tested, expected.collect());
}

#[test]
fn every_queried_metric_exists() {
    let known = metrics::known();
    let mut asked: Vec<(String, String)> = Vec::new();
    for rule in rules() {
        let name = rule["alert"].as_str().or(rule["record"].as_str());
        asked.push((name.unwrap().to_owned(), field(&rule, "expr").to_owned()));
    }
    for file in DASHBOARDS {
        asked.extend(
            queries(file)
                .into_iter()
                .map(|query| (query.of, query.expr)),
        );
    }
    for (of, expr) in asked {
        let named = metrics::named(&expr);
        assert!(!named.is_empty(), "{of} asks for nothing: {expr}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{of}: there is no {unknown:?}");
    }
}

#[test]
fn every_alert_has_summary_description_and_runbook() {
    for alert in alerts() {
        let name = field(&alert, "alert");
        let severity = field(&alert["labels"], "severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        field(&alert, "for");
        let notes = &alert["annotations"];
        assert!(!field(notes, "summary").ends_with('.'), "{name}");
        let description = field(notes, "description");
        assert!(
            description.contains('`') && description.ends_with('.'),
            "{name}: no command to type"
        );
        let runbook = format!("deploy/docs/runbooks/{name}.md");
        assert_eq!(field(notes, "runbook_url"), format!("{PAGES}{runbook}"));
        let page = text(&runbook);
        for part in [
            &format!("# {name}\n"),
            "\n## What locksmith does\n",
            "\n## By hand\n",
            "\n## How to check\n",
        ] {
            assert!(page.contains(part), "{runbook}: no {part:?}");
        }
    }
}

#[test]
fn alerts_without_a_delay_have_a_reason() {
    let rules = text("alerts/locksmith.rules.yaml");
    for rule in rules
        .split("\n\n")
        .flat_map(|group| group.split("runbook_url:"))
    {
        if let Some((why, alert)) = rule.split_once("- alert: ") {
            let says = why.contains("keep_firing_for") || alert.contains("keep_firing_for");
            assert!(says, "no word of keep_firing_for: {alert}");
        }
    }
}

#[test]
fn runbooks_belong_to_alerts_and_link_only_to_runbooks() {
    let alerts = alert_names();
    let link = Regex::new(r"\]\(([^)]+)\)").unwrap();
    for page in files("deploy/docs/runbooks") {
        let name = page.rsplit('/').next().unwrap().trim_end_matches(".md");
        assert!(alerts.contains(name), "{page}: no such alert");
        for linked in link.captures_iter(&text(&page)) {
            let to = linked[1].trim_end_matches(".md");
            assert!(alerts.contains(to), "{page} leads to {to}");
        }
    }
}

#[test]
fn named_alerts_exist() {
    let mut alerts = alert_names();
    // `locksmith test-alert` sends it, and no rule.
    alerts.insert(locksmith::alerts::test_alert::ALERTNAME.to_owned());
    let alert = Regex::new(r"Locksmith(?:\([\w|]+\)|\w+)").unwrap();
    for file in ["deploy/locksmith.yaml", "alerts/alertmanager.yaml"] {
        let text = text(file);
        let mut found = 0;
        for words in alert.find_iter(&text) {
            let ends = words.as_str().trim_start_matches("Locksmith");
            for end in ends.trim_matches(['(', ')']).split('|') {
                let name = format!("Locksmith{end}");
                assert!(alerts.contains(&name), "{file}: there is no {name}");
                found += 1;
            }
        }
        assert!(found > 3, "{file} names {found} alerts");
    }
}

#[test]
fn panels_have_descriptions_and_portable_datasources() {
    for file in DASHBOARDS {
        let board = read(file);
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in panels(&board) {
            let title = field(panel, "title");
            assert!(titles.insert(title), "{file}: two panels are {title}");
            assert!(ids.insert(panel["id"].as_u64()), "{file}: {title}: id");
            assert!(
                field(panel, "description").ends_with('.'),
                "{file}: {title}"
            );
            let datasource = match field(&panel["datasource"], "type") {
                "loki" => "${loki}",
                _ => "${datasource}",
            };
            assert_eq!(panel["datasource"]["uid"], datasource, "{file}: {title}");
            // A table of alerts links to the runbook of each.
            let cells = each(&panel["fieldConfig"], "overrides");
            let mut cells = cells.flat_map(|one| each(one, "properties"));
            let leads = each(panel, "links").next().is_some();
            assert!(
                leads || cells.any(|one| one["id"] == "links"),
                "{file}: {title} leads nowhere"
            );
            for link in each(panel, "links") {
                let page = field(link, "url").strip_prefix(PAGES);
                let page = page.unwrap_or_else(|| panic!("{title} leads elsewhere"));
                assert!(path(page).is_file(), "{file}: {title}: no {page}");
            }
            for target in each(panel, "targets") {
                let expr = field(target, "expr");
                assert!(expr.contains("cluster=~\"$cluster\""), "{file}: {title}");
            }
        }
        assert!(!ids.is_empty());
    }
}

/// The last version of Grafana's classic schema; newer Grafanas read it, too.
const SCHEMA: u64 = 42;

#[test]
fn dashboards_have_the_schema_and_the_variables() {
    for file in DASHBOARDS {
        let board = read(file);
        assert_eq!(board["schemaVersion"], SCHEMA, "{file}");
        let listed = each(&board["templating"], "list").map(|one| field(one, "name"));
        let listed: Vec<_> = listed.filter(|name| VARIABLES.contains(name)).collect();
        assert_eq!(listed, VARIABLES, "{file}");
        for variable in each(&board["templating"], "list") {
            if variable["type"] == "query" {
                let name = field(variable, "name");
                assert!(
                    field(variable, "query").ends_with(&format!(", {name})")),
                    "{file}: {name}"
                );
                // A series without the label is selected, too.
                assert_eq!(variable["allValue"], ".*", "{file}: {name}");
                let selects = format!("{name}=~\"${name}\"");
                let uses = queries(file);
                assert!(
                    uses.iter().any(|query| query.expr.contains(&selects)),
                    "{file}: no query uses {name}"
                );
            }
        }
    }
}

/// A variable lists the values that those before it leave: it does not select by itself and by what comes after.
#[test]
fn queries_select_by_every_variable_whose_label_they_have() {
    let labels = metrics::labels();
    for file in DASHBOARDS {
        for query in queries(file) {
            let variable = query.of.rsplit(": ").next().unwrap();
            let position = VARIABLES.iter().position(|name| *name == variable);
            // Listing namespaces and drivers side by side: neither narrows the other.
            let may = &VARIABLES[..position.map_or(VARIABLES.len(), |at| at.min(2))];
            let selectors = metrics::selectors(&query.expr);
            let selected: BTreeSet<_> =
                selectors.iter().map(|(metric, _)| metric.clone()).collect();
            if variable != "cluster" {
                assert_eq!(selected, metrics::named(&query.expr), "{}", query.of);
            }
            for (metric, matchers) in selectors {
                for name in VARIABLES {
                    let has = may.contains(&name) && labels[&metric].contains(name);
                    let selects = matchers.contains(&format!("{name}=~\"${name}\""));
                    assert_eq!(has, selects, "{}: {metric} by {name}", query.of);
                }
            }
        }
    }
}

/// Grafana reads nothing for panels in a closed row, so one without Loki shows no error.
#[test]
fn logs_are_in_a_closed_row_of_a_datasource_of_their_own() {
    let board = read("dashboards/locksmith.json");
    let variables = each(&board["templating"], "list");
    let mut sources = variables.filter(|one| one["type"] == "datasource");
    assert!(sources.any(|one| one["name"] == "loki" && one["query"] == "loki"));
    let logs = |panel: &&Value| panel["datasource"]["type"] == "loki";
    assert_eq!(each(&board, "panels").filter(logs).count(), 0);
    let rows = each(&board, "panels").filter(|panel| panel["type"] == "row");
    let closed = rows.filter(|row| row["collapsed"] == true);
    assert_eq!(
        closed
            .flat_map(|row| each(row, "panels"))
            .filter(logs)
            .count(),
        1
    );
}

#[test]
fn panels_do_not_overlap() {
    for file in DASHBOARDS {
        let board = read(file);
        let mut taken = BTreeMap::new();
        for panel in each(&board, "panels") {
            let title = field(panel, "title");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|part| panel["gridPos"][part].as_u64().unwrap());
            assert!(x + w <= 24, "{file}: {title} is too wide");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(cell, title);
                assert_eq!(other, None, "{file}: {title} at {cell:?}");
            }
        }
    }
}
