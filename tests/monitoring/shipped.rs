//! Parses the shipped rules and dashboards.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Rule files.
pub const RULES: [&str; 2] = ["alerts/locksmith.rules.yaml", "alerts/recording.rules.yaml"];

/// Dashboards.
pub const DASHBOARDS: [&str; 2] = [
    "dashboards/locksmith.json",
    "dashboards/locksmith-capacity.json",
];

/// A query to Prometheus, with its source.
pub struct Query {
    /// Dashboard and panel, annotation or variable; or the rule.
    pub of: String,
    /// PromQL with Grafana's variables.
    pub expr: String,
}

/// The variables of the dashboards, each named as the label that it selects.
pub const VARIABLES: [&str; 4] = ["cluster", "job", "namespace", "driver"];

impl Query {
    /// The expression with everything selected.
    pub fn of_everything(&self) -> String {
        VARIABLES.iter().fold(self.expr.clone(), |expr, variable| {
            expr.replace(&format!("\"${variable}\""), "\".*\"")
        })
    }
}

/// Path of a file in the repository.
pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub fn text(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Parses a file of YAML or JSON.
pub fn read(file: &str) -> Value {
    serde_saphyr::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The sample configuration of Prometheus, which scrapes `targets` instead of discovering them in Kubernetes.
pub fn scraping(file: &str, targets: &[&str]) -> Value {
    let mut sample = read(file);
    let job = &mut sample["scrape_configs"][0];
    let job = job.as_object_mut().unwrap();
    assert!(job.remove("kubernetes_sd_configs").is_some());
    assert!(job.remove("relabel_configs").is_some());
    job.insert("static_configs".to_owned(), json!([{"targets": targets}]));
    sample
}

/// A required text field.
pub fn field<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

/// The elements of a field; none if it is absent.
pub fn each<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

/// The panels of a dashboard, also those in a row that is closed, without the rows.
pub fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    let all =
        each(board, "panels").flat_map(|panel| [panel].into_iter().chain(each(panel, "panels")));
    all.filter(|panel| panel["type"] != "row")
}

/// All queries of a dashboard to Prometheus: panels, annotations and variables.
pub fn queries(file: &str) -> Vec<Query> {
    let board = read(file);
    let mut queries = Vec::new();
    let mut ask = |of: &str, expr: &str| {
        queries.push(Query {
            of: format!("{}: {of}", field(&board, "title")),
            expr: expr.to_owned(),
        });
    };
    for panel in panels(&board).filter(|panel| panel["datasource"]["type"] == "prometheus") {
        for target in each(panel, "targets") {
            let of = format!("{} {}", field(panel, "title"), field(target, "refId"));
            ask(&of, field(target, "expr"));
        }
    }
    for annotation in each(&board["annotations"], "list") {
        ask(field(annotation, "name"), field(annotation, "expr"));
    }
    for variable in each(&board["templating"], "list") {
        if variable["type"] == "query" {
            // label_values(series, label) is a function of Grafana; a selector of the series may contain commas.
            let asked = field(variable, "query");
            let series = asked.trim_start_matches("label_values(");
            let series = series.rsplit_once(',').map_or(asked, |(series, _)| series);
            ask(field(variable, "name"), series);
        }
    }
    queries
}
