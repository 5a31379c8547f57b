//! Reads the configuration file: returns a [`Config`], or every error in it.

use std::path::PathBuf;

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::{Config, check};

/// Decoding stops after this many errors, since it starts again after each.
const MAX_FAULTS: usize = 100;

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not valid YAML.
    #[error("the configuration is not valid YAML: {0}")]
    Syntax(String),
    /// Fields that are unknown, have a wrong value or contradict each other; one line each, `path: problem and fix`.
    #[error("{}", .0.join("\n"))]
    Faults(Vec<String>),
}

/// Reads and checks the file at `path`.
pub fn load(path: &std::path::Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text)
}

/// Parses and checks a configuration; an empty one has all defaults.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| ConfigError::Syntax(in_yaml_words(&error.to_string())))?;
    let value = if value.is_null() {
        serde_json::json!({})
    } else {
        value
    };
    let (config, undecoded) = decode(value);
    let mut checked = config.as_ref().map(check::faults).unwrap_or_default();
    // A list without the item that could not be decoded is not the one that was written.
    checked.retain(|fault| !undecoded.iter().any(|(path, _)| is_about(fault, path)));
    let undecoded = undecoded.into_iter();
    let mut faults: Vec<_> = undecoded
        .map(|(path, why)| format!("{path}: {why}"))
        .collect();
    faults.extend(checked);
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(ConfigError::Faults(faults)),
    }
}

/// Whether `fault` is about the value at `path` or one that contains it.
fn is_about(fault: &str, path: &str) -> bool {
    let field = fault.split_once(": ").map_or(fault, |(field, _)| field);
    let rest = path.strip_prefix(field);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Decodes a configuration, and collects the fields that cannot be decoded, each with its path and the reason. They are left out of the configuration, so that
/// one pass finds every error.
fn decode(mut value: Value) -> (Option<Config>, Vec<(String, String)>) {
    let mut faults = Vec::new();
    loop {
        match serde_path_to_error::deserialize(value.clone()) {
            Ok(config) => return (Some(config), faults),
            Err(error) => {
                let path = match error.path().to_string() {
                    // The path of a field without a name is empty, too.
                    path if path.is_empty() => "\"\"".to_owned(),
                    path => path,
                };
                faults.push((path, in_yaml_words(&error.inner().to_string())));
                if faults.len() == MAX_FAULTS || !remove(&mut value, error.path()) {
                    return (None, faults);
                }
            }
        }
    }
}

/// Words of Rust in the errors of serde and of the YAML parser, each with the word of YAML.
const WORDS: [(&str, &str); 10] = [
    ("invalid type: map,", "invalid type: mapping,"),
    ("invalid type: sequence,", "invalid type: list,"),
    ("invalid type: floating point ", "invalid type: number "),
    (", expected a map", ", expected a mapping"),
    (", expected a sequence", ", expected a list"),
    (", expected string or map", ", expected a string"),
    (
        ", expected u32",
        ", expected a whole number from 0 to 4294967295",
    ),
    (", expected unit", ", expected no value"),
    ("unknown variant `", "unknown value `"),
    (", set DuplicateKeyPolicy in Options if acceptable", ""),
];

/// `message` without words of Rust.
fn in_yaml_words(message: &str) -> String {
    let replaced = WORDS.iter();
    let text = replaced.fold(message.to_owned(), |text, (rust, yaml)| {
        text.replace(rust, yaml)
    });
    // The name of a type follows.
    match text.rsplit_once(", expected struct ") {
        Some((found, _)) => format!("{found}, expected a mapping"),
        None => text,
    }
}

/// Removes the value at `path`; false if there is none, as for an error of the whole file.
fn remove(value: &mut Value, path: &Path) -> bool {
    let segments: Vec<&Segment> = path.iter().collect();
    let Some((last, parents)) = segments.split_last() else {
        return false;
    };
    let parent = parents
        .iter()
        .try_fold(value, |value, segment| match segment {
            Segment::Map { key } => value.get_mut(key),
            Segment::Seq { index } => value.get_mut(index),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
    match (parent, last) {
        (Some(Value::Object(fields)), Segment::Map { key }) => fields.remove(key).is_some(),
        (Some(Value::Array(items)), Segment::Seq { index }) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn empty_file_has_all_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn annotated_example_has_the_defaults() {
        let example = include_str!("../../deploy/locksmith.yaml");
        assert_eq!(parse(example).unwrap(), Config::default());
    }

    #[test]
    fn annotated_example_has_every_field() {
        fn paths(value: &serde_json::Value, at: &str, into: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    fields
                        .iter()
                        .for_each(|(name, value)| paths(value, &format!("{at}.{name}"), into));
                }
                _ => into.push(at.to_owned()),
            }
        }
        let (mut documented, mut known) = (Vec::new(), Vec::new());
        let example: serde_json::Value =
            serde_saphyr::from_str(include_str!("../../deploy/locksmith.yaml")).unwrap();
        paths(&example, "", &mut documented);
        paths(
            &serde_json::to_value(Config::default()).unwrap(),
            "",
            &mut known,
        );
        known.retain(|path| !documented.contains(path));
        assert_eq!(
            known,
            Vec::<String>::new(),
            "missing in deploy/locksmith.yaml"
        );
    }

    #[rstest]
    #[case("mode: heal", "mode: unknown value `heal`")]
    #[case(
        "steps: {resumeSources: {evry: 3s}}",
        "steps.resumeSources.evry: unknown field `evry`"
    )]
    #[case("detect: {pendingAfter: 10}", "detect.pendingAfter: ")]
    #[case(
        "detect: {pendingAfter: soon}",
        "\"soon\" is not a duration such as 90s"
    )]
    #[case(
        "gates: {maxDeletionsShare: 130%}",
        "gates.maxDeletionsShare: \"130%\" is not a share"
    )]
    #[case("drivers: [{container: x}]", "drivers[0]: missing field `name`")]
    #[case(
        "playbooks: {x: {alerts: [[a]], steps: []}}",
        "playbooks.x.alerts[0][0]: \"a\" is not a matcher"
    )]
    #[case("mode: [", "not valid YAML")]
    #[case(
        "steps: {resumeSources: {batch: 0}}",
        "steps.resumeSources.batch: must be at least 1"
    )]
    #[case(
        "playbooks: {x: {alerts: [], steps: [resumeSources]}}",
        "playbooks.x.steps: resumeSources must be preceded by suspendSources"
    )]
    #[case(
        "alertmanager: {require: [cluster]}",
        "alertmanager.require[0]: \"cluster\" is not a matcher"
    )]
    #[case(
        "server: {auth: {token: x}}",
        "server.auth.token: unknown field `token`"
    )]
    #[case(
        "server: {tls: {certificate: /c}}",
        "server.tls.key: must be set together with tls.certificate"
    )]
    #[case(
        "server: {tls: {key: /k}}",
        "server.tls.certificate: must be set together with tls.key"
    )]
    #[case(
        "server: {auth: {tokenFile: /t, kubernetes: true}}",
        "server.auth.kubernetes: must be false if auth.tokenFile is set"
    )]
    #[case(
        "server: {auth: {metrics: true}}",
        "server.auth.metrics: requires auth.tokenFile or auth.kubernetes"
    )]
    #[case(
        "server: {links: [{name: a, url: 'https://a.example'}, {name: b, url: 'javascript:alert(1)'}]}",
        "server.links[1].url: must be an absolute http or https URL"
    )]
    #[case(
        "server: {links: [{name: a, url: /d/locksmith}]}",
        "server.links[0].url: must be an absolute http or https URL"
    )]
    #[case(
        "server: {links: [{name: ' ', url: 'https://a.example'}]}",
        "server.links[0].name: must not be empty"
    )]
    #[case(
        "steps: {suspendSources: {settle: 1h, deadline: 1h}}",
        "steps.suspendSources.deadline: must be longer than steps.suspendSources.settle"
    )]
    #[case(
        "provisionerNamespaces: []",
        "provisionerNamespaces: must name at least one namespace"
    )]
    #[case(
        "drivers: [{name: x, container: x, provisioner: {namespace: a, kind: Job, name: b}}]",
        "drivers[0].provisioner.kind: unknown value `Job`"
    )]
    #[case("remediation: {keep: 0}", "remediation.keep: must be at least 1")]
    #[case(
        "gates: {budgets: {perCluster: 0}}",
        "gates.budgets.perCluster: must be at least 1"
    )]
    #[case(
        "gates: {budgets: {perPlaybook: 0}}",
        "gates.budgets.perPlaybook: must be at least 1"
    )]
    #[case(
        "gates: {budgets: {perObject: 0}}",
        "gates.budgets.perObject: must be at least 1"
    )]
    #[case(
        "playbooks: {heal: {alerts: [[]], steps: [restartProvisioner]}}",
        "playbooks.heal.alerts[0]: matches an alert without any label"
    )]
    #[case(
        "playbooks: {heal: {alerts: [[alertname=X], ['alertname=~\".*\"']], steps: [restartProvisioner]}}",
        "playbooks.heal.alerts[1]: matches an alert without any label"
    )]
    #[case(
        "remediation: {keepFor: 1h}",
        "remediation.keepFor: must not be shorter than gates.budgets.within"
    )]
    #[case("gates: {promql: {ill: up}}", "gates.promql: requires prometheus.url")]
    #[case(
        "{prometheus: {url: 'http://prometheus:9090'}, gates: {promql: {ill: ' '}}}",
        "gates.promql.ill: must not be empty"
    )]
    #[case("'': 1", "\"\": unknown field")]
    #[case(
        "prometheus: {interval: 0s}",
        "prometheus.interval: must be longer than 0s"
    )]
    #[case(
        "alertmanager: {interval: 0s}",
        "alertmanager.interval: must be longer than 0s"
    )]
    #[case(
        "prometheus: {url: 'http://me:pass@prometheus:9090'}",
        "prometheus.url: must not contain a user name or password"
    )]
    #[case(
        "prometheus: {url: 'http://prometheus:9090/?tenant=a'}",
        "prometheus.url: must not contain ? or #"
    )]
    #[case(
        "alertmanager: {url: 'http://alertmanager:9093/#/alerts'}",
        "alertmanager.url: must not contain ? or #"
    )]
    #[case(
        "alertmanager: {http: {headers: {X-API-Key: a}}}",
        "alertmanager.http.headers.X-API-Key: is set by locksmith itself, or a credential"
    )]
    #[case(
        "alertmanager: {http: {tokenFile: /t, basicAuth: {username: u, passwordFile: /p}}}",
        "alertmanager.http.basicAuth: must be null if tokenFile is set"
    )]
    #[case(
        "prometheus: {http: {basicAuth: {username: 'a:b', passwordFile: /p}}}",
        "prometheus.http.basicAuth.username: must not be empty nor contain a colon"
    )]
    #[case(
        "prometheus: {http: {basicAuth: {username: u}}}",
        "prometheus.http.basicAuth: missing field `passwordFile`"
    )]
    #[case(
        "prometheus: {http: {basicAuth: {username: u, password: p}}}",
        "prometheus.http.basicAuth.password: unknown field `password`"
    )]
    #[case(
        "alertmanager: {http: {headers: {'X Tenant': a}}}",
        "alertmanager.http.headers.X Tenant: is not a valid header name"
    )]
    #[case(
        "alertmanager: {http: {headers: {Authorization: Bearer x}}}",
        "alertmanager.http.headers.Authorization: is set by locksmith itself, or a credential; those belong in tokenFile or basicAuth"
    )]
    #[case(
        "alertmanager: {http: {headers: {Host: a}}}",
        "alertmanager.http.headers.Host: is set by locksmith itself"
    )]
    #[case(
        "alertmanager: {http: {headers: {X-Scope-OrgID: a, x-scope-orgid: b}}}",
        "alertmanager.http.headers.x-scope-orgid: is listed twice"
    )]
    #[case(
        "drivers: [{name: '*', container: x}]",
        "drivers[0].name: must name a driver"
    )]
    #[case(
        "drivers: [{name: 'org.democratic-csi.*', container: x}]",
        "drivers[0].name: * is only allowed as the first character"
    )]
    #[case(
        "drivers: [{name: '**.csi.ceph.com', container: x}]",
        "drivers[0].name: * is only allowed as the first character"
    )]
    #[case(
        "drivers: [{name: x, container: x, lockPatterns: ['no group']}]",
        "drivers[0].lockPatterns: "
    )]
    fn error_names_the_path(#[case] text: &str, #[case] says: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn error_of_a_header_does_not_contain_its_value() {
        let text = "alertmanager: {http: {headers: {X-Tenant: \"s3cret\\n\"}}}";
        let error = parse(text).unwrap_err().to_string();
        let expected = "alertmanager.http.headers.X-Tenant: has a value that no header may have";
        assert_eq!(error, expected);
    }

    /// Fields of a playbook called `heal`. The error names the fix, and is the only one.
    #[rstest]
    #[case::no_steps("steps: []", "steps: must name at least one step")]
    #[case::a_step_twice(
        "steps: [restartProvisioner, verifyProvisioning, restartProvisioner]",
        "steps: restartProvisioner is listed twice; use attempts to repeat the playbook"
    )]
    #[case::deletes_sources_unasked(
        "steps: [deleteOrphanedSources]",
        "approval: must be true, because deleteOrphanedSources deletes sources that no controller recreates"
    )]
    #[case::deletes_sources_with_approval_off(
        "{steps: [deleteOrphanedSources], approval: false}",
        "approval: must be true, because deleteOrphanedSources deletes sources that no controller recreates"
    )]
    #[case::never(
        "{steps: [restartProvisioner], attempts: 0}",
        "attempts: must be at least 1"
    )]
    #[case::suspends_for_ever(
        "steps: [suspendSources, restartProvisioner]",
        "steps: suspendSources must be followed by resumeSources"
    )]
    #[case::resumes_without_suspending(
        "steps: [restartProvisioner, resumeSources]",
        "steps: resumeSources must be preceded by suspendSources"
    )]
    #[case::resumes_before_it_suspends(
        "steps: [resumeSources, restartProvisioner, suspendSources]",
        "steps: resumeSources must come after suspendSources"
    )]
    #[case::continues_after_resuming(
        "steps: [suspendSources, resumeSources, restartProvisioner]",
        "steps: restartProvisioner must come before resumeSources"
    )]
    #[case::verifies_before_it_restarts(
        "steps: [verifyProvisioning, restartProvisioner]",
        "steps: verifyProvisioning must come after restartProvisioner"
    )]
    fn invalid_playbook_is_refused(#[case] playbook: &str, #[case] says: &str) {
        let fields = playbook.trim_matches(['{', '}']);
        let text = format!("playbooks: {{heal: {{alerts: [[alertname=X]], {fields}}}}}");
        let error = parse(&text).unwrap_err().to_string();
        assert_eq!(error, format!("playbooks.heal.{says}"));
    }

    /// The refused values are refused only for that error: corrected, they are accepted.
    #[rstest]
    #[case("steps: [restartProvisioner, verifyProvisioning]")]
    #[case("steps: [deleteOrphanedSources], approval: true")]
    #[case("steps: [suspendSources, restartProvisioner, resumeSources]")]
    fn corrected_playbook_is_accepted(#[case] fields: &str) {
        let text = format!("playbooks: {{heal: {{alerts: [[alertname=X]], {fields}}}}}");
        assert!(parse(&text).unwrap().playbooks.0.contains_key("heal"));
    }

    #[test]
    fn one_pass_finds_errors_of_every_kind() {
        let text = "
mode: heal
detect: {pendingAfter: soon, lockedAfter: 1m, failedafter: 1m}
drivers: [{name: a, container: b}, {container: x}, {name: c, containers: d}]
alertmanager: {url: 'alertmanager:9093'}
remediation: {keep: 0}
";
        let error = parse(text).unwrap_err().to_string();
        let lines: Vec<_> = error.lines().collect();
        let expected = [
            "mode: unknown value `heal`",
            "detect.pendingAfter: \"soon\" is not a duration",
            "detect.failedafter: unknown field `failedafter`",
            "drivers[1]: missing field `name`",
            // The item before it is left out by now.
            "drivers[1].containers: unknown field `containers`",
            "remediation.keep: must be at least 1",
            "alertmanager.url: must be an http or https URL",
        ];
        for start in expected {
            let count = lines.iter().filter(|line| line.starts_with(start)).count();
            assert_eq!(count, 1, "{start} in {error}");
        }
        assert_eq!(lines.len(), expected.len(), "{error}");
    }

    #[rstest]
    #[case::mapping(
        "gates: {windows: [nights]}",
        "gates.windows[0]: invalid type: string \"nights\", expected a mapping"
    )]
    #[case::list(
        "gates: {windows: {from: a}}",
        "gates.windows: invalid type: mapping, expected a list"
    )]
    #[case::word(
        "mode: {act: true}",
        "mode.act: invalid type: boolean `true`, expected no value"
    )]
    #[case::list_for_a_string("mode: [act]", "mode: invalid type: list, expected a string")]
    #[case::mapping_of_expressions(
        "gates: {promql: [up]}",
        "gates.promql: invalid type: list, expected a mapping"
    )]
    #[case::number(
        "gates: {maxDeletions: -1}",
        "gates.maxDeletions: invalid value: integer `-1`, expected a whole number from 0 to 4294967295"
    )]
    #[case::fraction(
        "gates: {maxDeletions: 1.5}",
        "gates.maxDeletions: invalid type: number `1.5`, expected a whole number from 0 to 4294967295"
    )]
    #[case::values(
        "mode: heal",
        "mode: unknown value `heal`, expected one of `observe`, `plan`, `act`"
    )]
    #[case::step_settings(
        "steps: {resumeSources: all}",
        "steps.resumeSources: invalid type: string \"all\", expected a mapping"
    )]
    fn error_has_the_words_of_yaml(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn duplicate_key_is_named_without_advice_for_programmers() {
        let error = parse("mode: act\nmode: plan").unwrap_err().to_string();
        assert!(error.contains("duplicate mapping key"), "{error}");
        assert!(!error.contains("Policy"), "{error}");
    }

    /// The list without the unknown step lacks a step, which nobody wrote.
    #[rstest]
    #[case(
        "[suspendSources, restartProvisioner, resumeSource]",
        "playbooks.heal.steps[2]"
    )]
    #[case(
        "[suspendSource, restartProvisioner, resumeSources]",
        "playbooks.heal.steps[0]"
    )]
    #[case("[restartprovisioner]", "playbooks.heal.steps[0]")]
    fn misspelt_step_is_one_error(#[case] steps: &str, #[case] path: &str) {
        let text = format!(
            "{{remediation: {{keep: 0}}, playbooks: {{heal: {{alerts: [[alertname=X]], steps: {steps}}}}}}}"
        );
        let error = parse(&text).unwrap_err().to_string();
        let paths: Vec<_> = error
            .lines()
            .map(|line| line.split(": ").next().unwrap())
            .collect();
        assert_eq!(paths, [path, "remediation.keep"], "{error}");
    }

    #[test]
    fn every_error_has_its_own_line() {
        let playbook = "alerts: [], steps: [resumeSources], attempts: 0";
        let text = format!("{{remediation: {{keep: 0}}, playbooks: {{heal: {{{playbook}}}}}}}");
        let error = parse(&text).unwrap_err().to_string();
        let paths: Vec<_> = error
            .lines()
            .map(|line| line.split(':').next().unwrap())
            .collect();
        let all = [
            "remediation.keep",
            "playbooks.heal.attempts",
            "playbooks.heal.steps",
        ];
        assert_eq!(paths, all);
    }
}
