//! Prometheus and Alertmanager: reachable, the rules loaded, the daemon scraped, alerts routed. Pure.

use super::Outcome;
use crate::cli::alert_route::{Hook, hooks};
use crate::cli::check::catalog::CheckId;
use crate::cli::check::facts::{AlertmanagerFacts, ClusterFacts, Facts, PrometheusFacts};
use crate::config::Mode;
use crate::text::humanize::count;

/// The rules as they ship.
const RULES: &str = include_str!("../../../../alerts/locksmith.rules.yaml");

/// Names of the alerts that ship.
pub fn shipped_alerts() -> impl Iterator<Item = &'static str> {
    RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
}

pub(super) fn monitoring(facts: &Facts, cluster: &ClusterFacts) -> Vec<Outcome> {
    if facts.before_install {
        return Vec::new();
    }
    let mut outcomes = match &cluster.prometheus {
        Some(prometheus) => prometheus_checks(facts, prometheus),
        None => vec![Outcome::warn(
            CheckId::Prometheus,
            "prometheus.url is not set",
        )],
    };
    // No alert starts anything in mode observe.
    if facts.mode != Mode::Observe {
        outcomes.extend(match &cluster.alertmanager {
            Some(alertmanager) => alertmanager_checks(facts, alertmanager),
            None => vec![Outcome::warn(
                CheckId::Alertmanager,
                "alertmanager.url is not set",
            )],
        });
    }
    outcomes
}

/// An address that does not answer: from outside, one of the cluster's own often cannot be reached.
fn unreachable(id: CheckId, facts: &Facts, url: &str, why: &str) -> Outcome {
    let found = format!("{url}: {why}");
    if facts.in_cluster {
        Outcome::fail(id, found)
    } else {
        Outcome::warn(id, found)
    }
}

fn prometheus_checks(facts: &Facts, prometheus: &PrometheusFacts) -> Vec<Outcome> {
    let id = CheckId::Prometheus;
    let PrometheusFacts {
        url,
        alerts,
        versions,
        expressions,
    } = prometheus;
    if let (Err(why), Err(_)) = (alerts, versions) {
        return vec![unreachable(id, facts, url, why)];
    }
    let rules = match alerts {
        Err(why) => Outcome::warn(CheckId::Rules, format!("cannot be read: {why}")),
        Ok(loaded) => {
            let missing: Vec<_> = shipped_alerts()
                .filter(|name| !loaded.contains(*name))
                .collect();
            let all = shipped_alerts().count();
            match missing[..] {
                [] => Outcome::pass(CheckId::Rules, count(all, "alert")),
                [..] if missing.len() == all => {
                    Outcome::fail(CheckId::Rules, "none of the shipped alerts is loaded")
                }
                [..] => Outcome::warn(
                    CheckId::Rules,
                    format!("not loaded: {}", missing.join(", ")),
                ),
            }
        }
    };
    let target = match versions {
        Err(why) => Outcome::warn(CheckId::Target, format!("cannot be queried: {why}")),
        Ok(versions) if versions.is_empty() => Outcome::fail(
            CheckId::Target,
            "no series locksmith_build_info: no daemon is scraped",
        ),
        Ok(versions) => Outcome::pass(CheckId::Target, count(versions.len(), "target")),
    };
    let mut outcomes = vec![Outcome::pass(id, url), rules, target];
    outcomes.extend(promql(expressions));
    outcomes
}

/// The expressions of gate promql, if there are any. One that returns series now closes the gate as it should.
fn promql(expressions: &[(String, Result<usize, String>)]) -> Option<Outcome> {
    let id = CheckId::Promql;
    let refused = expressions.iter().filter_map(|(name, series)| {
        let why = series.as_ref().err()?;
        Some(format!("{name}: {why}"))
    });
    let refused: Vec<_> = refused.collect();
    if !refused.is_empty() {
        return Some(Outcome::fail(id, refused.join("; ")));
    }
    let returns = |series: &Result<usize, String>| series.as_ref().is_ok_and(|series| *series > 0);
    let closed = expressions.iter().filter(|(_, series)| returns(series));
    let closed: Vec<_> = closed.map(|(name, _)| name.as_str()).collect();
    let evaluated = count(expressions.len(), "expression");
    (!expressions.is_empty()).then(|| match closed[..] {
        [] => Outcome::pass(id, evaluated),
        [..] => Outcome::pass(
            id,
            format!("{evaluated}; closed now by {}", closed.join(", ")),
        ),
    })
}

fn alertmanager_checks(facts: &Facts, alertmanager: &AlertmanagerFacts) -> Vec<Outcome> {
    let id = CheckId::Alertmanager;
    match &alertmanager.config {
        Err(why) => vec![unreachable(id, facts, &alertmanager.url, why)],
        Ok(config) => vec![
            Outcome::pass(id, &alertmanager.url),
            route(config, alertmanager),
        ],
    }
}

/// Alertmanager hides URLs of webhooks from 0.26 on. Then the name of the receiver is all that is known.
fn route(config: &str, alertmanager: &AlertmanagerFacts) -> Outcome {
    let id = CheckId::Route;
    if alertmanager.starting.is_empty() {
        let found = "no shipped alert starts a playbook by its name alone: its route is not known";
        return Outcome::warn(id, found)
            .hint("Run locksmith test-alert with the labels of your own alerts: --label");
    }
    let mut found = Vec::new();
    let mut hidden = Vec::new();
    for alert in &alertmanager.starting {
        let hooks = match hooks(config, alert) {
            Ok(hooks) => hooks,
            Err(why) => return Outcome::warn(id, format!("the configuration is not read: {why}")),
        };
        let ours = hooks.iter().find(|hook| hook.is_ours());
        match (ours, hooks.iter().find(|hook| hook.url.is_none())) {
            (Some(hook), _) => found.push(match hook.url {
                Some(_) => hook.receiver.clone(),
                None => format!("{} (Alertmanager hides its URL)", hook.receiver),
            }),
            (None, Some(Hook { receiver, .. })) => hidden.push(receiver.clone()),
            (None, None) => {
                let found = format!("{alert} is routed to no webhook of locksmith");
                return Outcome::warn(id, found);
            }
        }
    }
    for receivers in [&mut found, &mut hidden] {
        receivers.sort();
        receivers.dedup();
    }
    if hidden.is_empty() {
        return Outcome::pass(id, format!("to receiver {}", found.join(", ")));
    }
    let hidden = hidden.join(", ");
    Outcome::warn(
        id,
        format!("to receiver {hidden}, whose URL Alertmanager hides: it may not be locksmith's"),
    )
    .hint("Run locksmith test-alert, or call the receiver locksmith.")
}
