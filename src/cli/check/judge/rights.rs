//! The rights that the configuration needs. Pure.

use std::collections::BTreeSet;

use super::Outcome;
use crate::api::SharedStr;
use crate::cli::check::catalog::CheckId;
use crate::cli::check::facts::{ClusterFacts, Facts, LogContainer};
use crate::cluster::rights::{Purpose, Right};
use crate::text::humanize::count;

/// Longest list of missing rights.
const SHOWN: usize = 4;

/// How the name of a ServiceAccount begins.
const ACCOUNT: &str = "system:serviceaccount:";

pub(super) fn rights(facts: &Facts, cluster: &ClusterFacts) -> Vec<Outcome> {
    let tried = read_logs(cluster);
    let groups = [
        CheckId::RightsObserve,
        CheckId::RightsRecord,
        CheckId::RightsSteps,
    ];
    let outcomes = groups.into_iter().filter_map(|id| {
        let of_group: Vec<_> = cluster
            .rights
            .iter()
            .filter(|(right, _)| group(right) == id)
            // Check `log` has read them, or failed to.
            .filter(|(right, _)| {
                right.purpose != Purpose::Logs || !tried.contains(&right.namespace)
            })
            .collect();
        (!of_group.is_empty()).then(|| judge(id, &of_group, facts, cluster))
    });
    outcomes.collect()
}

fn group(right: &Right) -> CheckId {
    match right.purpose {
        Purpose::Observe | Purpose::Logs | Purpose::Authenticate => CheckId::RightsObserve,
        Purpose::Record => CheckId::RightsRecord,
        Purpose::Step(_) => CheckId::RightsSteps,
    }
}

/// Namespaces in which the log of a provisioner was opened, or refused.
fn read_logs(cluster: &ClusterFacts) -> BTreeSet<SharedStr> {
    let logged = cluster
        .observed
        .drivers
        .iter()
        .filter(|driver| driver.watched && matches!(driver.container, LogContainer::Named(_)));
    let found = logged.filter_map(|driver| driver.provisioner.as_ref().ok());
    found
        .filter(|found| found.followed + found.unreadable.len() > 0)
        .map(|found| found.namespace.clone())
        .collect()
}

fn judge(
    id: CheckId,
    rights: &[&(Right, Result<bool, String>)],
    facts: &Facts,
    cluster: &ClusterFacts,
) -> Outcome {
    let user = cluster.user.as_deref().unwrap_or("this user");
    let missing = rights.iter().filter(|(_, has)| *has == Ok(false));
    let missing: Vec<_> = missing
        .map(|(right, _)| format!("{right} ({})", right.purpose.as_str()))
        .collect();
    if !missing.is_empty() {
        let more = match missing.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = missing.get(..SHOWN).unwrap_or(&missing).join("; ");
        let found = format!("{user} may not: {shown}{more}");
        if user.starts_with(ACCOUNT) {
            return Outcome::fail(id, found);
        }
        let account = format!("{ACCOUNT}{}:locksmith", facts.namespace);
        let hint = if facts.before_install {
            "Nobody can grant rights that they do not have: install as a user who has them."
                .to_owned()
        } else {
            format!("These are your own rights. Check those of the daemon: --as {account}")
        };
        return Outcome::warn(id, found).hint(hint);
    }
    let unknown = rights.iter().find_map(|(right, has)| {
        let why = has.as_ref().err()?;
        Some(format!("{right} could not be reviewed: {why}"))
    });
    match unknown {
        Some(why) => Outcome::warn(id, why).hint(
            "Grant create on selfsubjectaccessreviews, as ClusterRole system:basic-user does.",
        ),
        None => Outcome::pass(id, format!("{user} has {}", count(rights.len(), "right"))),
    }
}
