//! The API server, and what must be installed in the cluster. Pure.

use super::Outcome;
use crate::cli::check::catalog::CheckId;
use crate::cli::check::facts::{ClusterFacts, Facts, Trial};
use crate::config::Mode;
use crate::model::{CLOCK_TOLERANCE, Freshness, Kind, WatchState};

/// The first minor version of Kubernetes 1 with stable ValidatingAdmissionPolicies.
const POLICIES_SINCE: u32 = 30;

const VOLSYNC: [Kind; 2] = [Kind::ReplicationSources, Kind::ReplicationDestinations];
const SNAPSHOTS: [Kind; 3] = [
    Kind::VolumeSnapshots,
    Kind::VolumeSnapshotContents,
    Kind::VolumeSnapshotClasses,
];

/// Inputs that have a check of their own.
const OTHERS: [Kind; 4] = [
    Kind::HoldPolicy,
    Kind::HoldBinding,
    Kind::Definitions,
    Kind::Clock,
];

pub(super) fn server(facts: &Facts) -> Vec<Outcome> {
    let version = match &facts.version {
        Ok(version) => version,
        Err(why) => {
            let found = format!("{}: {why}", facts.server);
            return vec![Outcome::fail(CheckId::Reachable, found)];
        }
    };
    let new_enough = (version.major, version.minor) >= (1, POLICIES_SINCE);
    let text = &version.text;
    vec![
        Outcome::pass(CheckId::Reachable, facts.server.clone()),
        if new_enough {
            Outcome::pass(CheckId::Version, text.clone())
        } else {
            Outcome::fail(CheckId::Version, format!("{text} is older than 1.30"))
        },
    ]
}

pub(super) fn clock(cluster: &ClusterFacts) -> Vec<Outcome> {
    let id = CheckId::Clock;
    vec![match cluster.observed.freshness.of(Kind::Clock) {
        WatchState::Synced => {
            Outcome::pass(id, format!("differs by less than {CLOCK_TOLERANCE:#}"))
        }
        WatchState::Failing(why) | WatchState::Refused(why) => Outcome::fail(id, why.clone()),
        WatchState::NotServed => Outcome::warn(id, "the API server sends no time"),
        WatchState::Never => Outcome::warn(id, "the API server did not answer in time"),
    }]
}

pub(super) fn prerequisites(facts: &Facts, cluster: &ClusterFacts) -> Vec<Outcome> {
    let freshness = &cluster.observed.freshness;
    let mut outcomes = vec![
        served(CheckId::VolSync, &VOLSYNC, freshness),
        served(CheckId::Snapshots, &SNAPSHOTS, freshness),
    ];
    outcomes.extend(policy_api(facts, freshness));
    if !facts.before_install {
        outcomes.extend(ours(facts, cluster));
    }
    outcomes.push(observation(freshness));
    outcomes
}

/// Whether every one of `kinds` is served and could be read.
fn served(id: CheckId, kinds: &[Kind], freshness: &Freshness) -> Outcome {
    let missing = kinds
        .iter()
        .filter(|kind| *freshness.of(**kind) == WatchState::NotServed);
    let missing: Vec<_> = missing.map(|kind| kind.as_str()).collect();
    if !missing.is_empty() {
        return Outcome::fail(id, format!("not served: {}", missing.join(", ")));
    }
    if let Some(why) = kinds.iter().find_map(|kind| unread(*kind, freshness)) {
        return Outcome::fail(id, why).hint(CheckId::Observation.fix());
    }
    let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    Outcome::pass(id, names.join(", "))
}

/// Why a served kind could not be read, or `None`.
fn unread(kind: Kind, freshness: &Freshness) -> Option<String> {
    let why = match freshness.of(kind) {
        WatchState::Synced | WatchState::NotServed => return None,
        WatchState::Failing(why) | WatchState::Refused(why) => why,
        WatchState::Never => "no response yet",
    };
    Some(format!("{} cannot be read: {why}", kind.as_str()))
}

fn policy_api(facts: &Facts, freshness: &Freshness) -> Option<Outcome> {
    let id = CheckId::PolicyApi;
    let kinds = [Kind::HoldPolicy, Kind::HoldBinding];
    let states = kinds.map(|kind| freshness.of(kind));
    if states.contains(&&WatchState::NotServed) {
        return Some(Outcome::fail(id, "policies are not served"));
    }
    match kinds.into_iter().find_map(|kind| unread(kind, freshness)) {
        None => Some(Outcome::pass(id, "served")),
        // `hold-policy` reports it.
        Some(_) if !facts.before_install => None,
        Some(why) => Some(Outcome::warn(id, why)),
    }
}

/// Our own kinds, and the policy that enforces holds.
fn ours(facts: &Facts, cluster: &ClusterFacts) -> Vec<Outcome> {
    let observes = facts.mode == Mode::Observe;
    let install = crate::holds::policy::install(&facts.namespace);
    let problem = |id, why: String| {
        let outcome = if observes {
            Outcome::warn(id, why)
        } else {
            Outcome::fail(id, why)
        };
        outcome.hint(format!("Run {install}"))
    };
    let mut outcomes = vec![match &cluster.definitions {
        Ok(WatchState::Synced) => Outcome::pass(CheckId::Crds, "as this program needs them"),
        Ok(WatchState::Failing(why)) => {
            let why = why.strip_suffix(&format!(": run {install}")).unwrap_or(why);
            problem(CheckId::Crds, why.to_owned())
        }
        Ok(_) => return vec![problem(CheckId::Crds, "not installed".to_owned())],
        Err(why) => Outcome::warn(CheckId::Crds, why.clone()),
    }];
    let freshness = &cluster.observed.freshness;
    let kinds = [Kind::HoldPolicy, Kind::HoldBinding];
    if kinds
        .map(|kind| freshness.of(kind))
        .contains(&&WatchState::NotServed)
    {
        return outcomes;
    }
    match (&cluster.observed.hold_policy, &cluster.trial) {
        (Some(why), _) => outcomes.push(problem(CheckId::HoldPolicy, why.clone())),
        (None, trial) => {
            outcomes.push(Outcome::pass(CheckId::HoldPolicy, "as shipped"));
            outcomes.extend(trial.as_ref().map(effect));
        }
    }
    outcomes
}

fn effect(trial: &Result<(), Trial>) -> Outcome {
    let id = CheckId::HoldEffect;
    match trial {
        Ok(()) => Outcome::pass(id, "a trial hold was enforced"),
        Err(Trial::Refuted(why)) => Outcome::fail(id, why.clone()),
        Err(Trial::NotTried(why)) => Outcome::warn(id, why.clone())
            .hint("Grant create, get and delete on snapshotholds, as Roles locksmith-hold and locksmith-record do."),
    }
}

fn observation(freshness: &Freshness) -> Outcome {
    let id = CheckId::Observation;
    let elsewhere = [&VOLSYNC[..], &SNAPSHOTS, &OTHERS].concat();
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| !elsewhere.contains(kind));
    let unread: Vec<_> = kinds.filter_map(|kind| unread(kind, freshness)).collect();
    if unread.is_empty() {
        Outcome::pass(id, "every other collection could be read")
    } else {
        Outcome::fail(id, unread.join("; "))
    }
}
