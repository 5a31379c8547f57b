//! Checks across fields: values out of range, and combinations that cannot work. Pure.

use std::collections::BTreeMap;

use super::http::url_fault;
use super::{Config, Playbook};
use crate::api::StepName;
use crate::csi::LockPatterns;

/// Every error, as `path: problem and fix`.
pub fn faults(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let steps = &config.steps;
    if steps.resume_sources.batch == 0 {
        faults.push("steps.resumeSources.batch: must be at least 1".to_owned());
    }
    if steps.suspend_sources.deadline <= steps.suspend_sources.settle {
        faults.push(
            "steps.suspendSources.deadline: must be longer than steps.suspendSources.settle"
                .to_owned(),
        );
    }
    if config.remediation.keep == 0 {
        faults.push("remediation.keep: must be at least 1".to_owned());
    }
    let budgets = &config.gates.budgets;
    for (field, most) in [
        ("perCluster", budgets.per_cluster),
        ("perPlaybook", budgets.per_playbook),
        ("perObject", budgets.per_object),
    ] {
        if most == 0 {
            faults.push(format!(
                "gates.budgets.{field}: must be at least 1; to change nothing, set mode: plan"
            ));
        }
    }
    if config.remediation.keep_for < config.gates.budgets.within {
        faults
            .push("remediation.keepFor: must not be shorter than gates.budgets.within".to_owned());
    }
    if !config.gates.promql.is_empty() && config.prometheus.url.is_none() {
        faults.push("gates.promql: requires prometheus.url".to_owned());
    }
    for (name, expression) in &config.gates.promql {
        if expression.trim().is_empty() {
            faults.push(format!("gates.promql.{name}: must not be empty"));
        }
    }
    for (field, interval) in [
        ("prometheus.interval", config.prometheus.interval),
        ("alertmanager.interval", config.alertmanager.interval),
    ] {
        if interval.0.is_zero() {
            faults.push(format!("{field}: must be longer than 0s"));
        }
    }
    let (prometheus, alertmanager) = (&config.prometheus, &config.alertmanager);
    for (section, url, http) in [
        ("prometheus", &prometheus.url, &prometheus.http),
        ("alertmanager", &alertmanager.url, &alertmanager.http),
    ] {
        let fault = url.as_deref().and_then(url_fault);
        faults.extend(fault.map(|fault| format!("{section}.url: {fault}")));
        let of_http = http.faults().into_iter();
        faults.extend(of_http.map(|fault| format!("{section}.http.{fault}")));
    }
    for (index, driver) in config.drivers.0.iter().enumerate() {
        if driver.name.trim_start_matches('*').is_empty() {
            faults.push(format!(
                "drivers[{index}].name: must name a driver, or be * and the end of a name"
            ));
        }
        if driver.name.chars().skip(1).any(|c| c == '*') {
            faults.push(format!(
                "drivers[{index}].name: * is only allowed as the first character"
            ));
        }
        if let Err(fault) = LockPatterns::new(&driver.lock_patterns) {
            faults.push(format!("drivers[{index}].lockPatterns: {fault}"));
        }
    }
    if config.provisioner_namespaces.0.is_empty() {
        faults.push("provisionerNamespaces: must name at least one namespace".to_owned());
    }
    faults.extend(config.server.faults());
    for (name, playbook) in &config.playbooks.0 {
        let of_playbook = alert_faults(playbook)
            .chain(step_faults(playbook))
            .chain(limit_fault(config, playbook));
        faults.extend(of_playbook.map(|fault| format!("playbooks.{name}.{fault}")));
    }
    faults
}

/// Every valid setting that is a risk, as `path: problem and fix`.
pub fn warnings(config: &Config) -> Vec<String> {
    let (prometheus, alertmanager) = (&config.prometheus, &config.alertmanager);
    let mut warnings = Vec::new();
    for (section, url, http) in [
        ("prometheus", &prometheus.url, &prometheus.http),
        ("alertmanager", &alertmanager.url, &alertmanager.http),
    ] {
        let of_section = url.iter().flat_map(|url| http.warnings(url));
        warnings.extend(of_section.map(|warning| format!("{section}.{warning}")));
    }
    warnings
}

/// As in Alertmanager, a line of matchers must require some label; otherwise every alert would start a run.
fn alert_faults(playbook: &Playbook) -> impl Iterator<Item = String> {
    let nothing = BTreeMap::new();
    let lines = playbook.alerts.iter().enumerate();
    lines
        .filter(move |(_, line)| line.iter().all(|matcher| matcher.matches(&nothing)))
        .map(|(at, _)| {
            format!("alerts[{at}]: matches an alert without any label; require one, such as alertname=\"X\"")
        })
}

/// Errors of a playbook that the limits never allow to run.
fn limit_fault(config: &Config, playbook: &Playbook) -> Option<String> {
    let deletes = playbook.steps.iter().any(|step| step.deletes());
    (deletes && config.gates.max_deletions == 0)
        .then(|| "steps: delete objects, but gates.maxDeletions is 0".to_owned())
}

fn step_faults(playbook: &Playbook) -> impl Iterator<Item = String> {
    let position = |step| playbook.steps.iter().position(|s| *s == step);
    let suspend = position(StepName::SuspendSources);
    let resume = position(StepName::ResumeSources);
    let restart = position(StepName::RestartProvisioner);
    let verify = position(StepName::VerifyProvisioning);
    let twice = playbook
        .steps
        .iter()
        .enumerate()
        .find(|(at, step)| playbook.steps[..*at].contains(step));
    [
        playbook
            .steps
            .is_empty()
            .then(|| "steps: must name at least one step".to_owned()),
        twice.map(|(_, step)| {
            format!(
                "steps: {} is listed twice; use attempts to repeat the playbook",
                step.as_str()
            )
        }),
        (position(StepName::DeleteOrphanedSources).is_some() && !playbook.approval).then(|| {
            "approval: must be true, because deleteOrphanedSources deletes sources that no controller recreates".to_owned()
        }),
        (playbook.attempts == 0).then(|| "attempts: must be at least 1".to_owned()),
        match (suspend, resume) {
            (Some(_), None) => {
                Some("steps: suspendSources must be followed by resumeSources".to_owned())
            }
            (None, Some(_)) => {
                Some("steps: resumeSources must be preceded by suspendSources".to_owned())
            }
            (Some(suspend), Some(resume)) if resume < suspend => {
                Some("steps: resumeSources must come after suspendSources".to_owned())
            }
            (_, Some(resume)) => playbook
                .steps
                .get(resume + 1)
                .map(|step| format!("steps: {} must come before resumeSources", step.as_str())),
            (None, None) => None,
        },
        match (restart, verify) {
            (Some(restart), Some(verify)) if verify < restart => {
                Some("steps: verifyProvisioning must come after restartProvisioner".to_owned())
            }
            _ => None,
        },
    ]
    .into_iter()
    .flatten()
}
