//! The daemon: whether it leads, and its version. Pure.

use super::Outcome;
use super::drivers::vacancy;
use crate::cli::check::catalog::CheckId;
use crate::cli::check::facts::{ClusterFacts, Facts};
use crate::config::Mode;
use crate::model::Kind;

/// The version of this program.
const OURS: &str = env!("CARGO_PKG_VERSION");

pub(super) fn daemon(facts: &Facts, cluster: &ClusterFacts) -> Vec<Outcome> {
    if facts.before_install {
        return Vec::new();
    }
    let leads = facts.mode != Mode::Observe && cluster.observed.freshness.trusted(Kind::Leases);
    let leader = leads.then(|| leader(facts, cluster));
    leader.into_iter().chain([version(cluster)]).collect()
}

fn leader(facts: &Facts, cluster: &ClusterFacts) -> Outcome {
    let id = CheckId::Leader;
    let namespace = &facts.namespace;
    let outcome = match &cluster.observed.leader {
        None => Outcome::fail(id, format!("no replica ever led in namespace {namespace}")),
        Some(lease) if lease.held => return Outcome::pass(id, &*lease.holder),
        Some(lease) => Outcome::fail(id, vacancy(lease)),
    };
    outcome.hint(id.fix().replace("NAMESPACE", namespace))
}

fn version(cluster: &ClusterFacts) -> Outcome {
    let id = CheckId::DaemonVersion;
    let scraped = cluster.prometheus.as_ref();
    let scraped = scraped.and_then(|it| it.versions.as_ref().ok()?.first());
    let version = match (&cluster.daemon, scraped) {
        (Ok(version), _) | (Err(_), Some(version)) => version,
        (Err(why), None) => return Outcome::warn(id, format!("not known: {why}")),
    };
    if version == OURS {
        Outcome::pass(id, version)
    } else {
        let found = format!("the daemon is {version}, and this program {OURS}");
        Outcome::warn(id, found)
    }
}
