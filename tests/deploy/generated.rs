//! The kustomize files: the output of `helm template`, sorted into base, overlays and uninstall.

use std::fmt::Write as _;

use crate::path;
use crate::render::{HELM_LABELS, helm};

const HEAD: &str = "# Generated from deploy/chart: see tests/deploy.\n";

/// The chart's templates in every mode, in the order they are applied.
const BASE: [&str; 7] = [
    "serviceaccount",
    "rbac-read",
    "hold-policy",
    "service",
    "deployment",
    "poddisruptionbudget",
    "networkpolicy",
];

/// Additional templates of a mode.
const OVERLAYS: [(&str, &[&str]); 2] = [
    ("plan", &["rbac-record"]),
    ("act", &["rbac-record", "rbac-act"]),
];

/// The documents of `printed` from these templates.
fn of_templates(printed: &str, templates: &[&str]) -> String {
    let mut file = HEAD.to_owned();
    for template in templates {
        let source = format!("# Source: locksmith/templates/{template}.yaml\n");
        let documents = printed
            .split("---\n")
            .filter_map(|it| it.strip_prefix(&source));
        for document in documents {
            writeln!(file, "---\n{}", document.trim()).unwrap();
        }
    }
    file
}

/// Without lines for Helm only: kustomize appends a hash of the configuration to its name itself, and a person applies the
/// hook. Labels name the release.
fn without_helms_own(file: &str) -> String {
    let helms = |line: &str| {
        let line = line.trim();
        let mut own = ["checksum/config", "helm.sh/hook"]
            .iter()
            .chain(&HELM_LABELS);
        own.any(|key| line.starts_with(key))
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut lines = file.lines().peekable();
    while let Some(line) = lines.next() {
        let emptied = line.trim() == "annotations:" && lines.peek().is_some_and(|next| helms(next));
        if !emptied && !helms(line) {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}

fn holds(file: &str, wanted: &str) {
    let path = path(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, wanted,
        "{file} is out of date: UPDATE_DOCS=1 cargo test --test deploy -- --include-ignored"
    );
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn kustomize_files_match_the_chart() {
    let base = of_templates(&helm(&[]), &BASE);
    holds("deploy/base/locksmith.yaml", &without_helms_own(&base));
    for (mode, templates) in OVERLAYS {
        let printed = helm(&[&format!("mode={mode}")]);
        let file = format!("deploy/overlays/{mode}/rbac.yaml");
        holds(
            &file,
            &without_helms_own(&of_templates(&printed, templates)),
        );
    }
    let job = of_templates(&helm(&[]), &["uninstall"]);
    holds("deploy/uninstall/job.yaml", &without_helms_own(&job));
}
