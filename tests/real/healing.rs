//! Sends one webhook, and collects the outcome of its run.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt};
use locksmith::api::hold::SnapshotHold;

use crate::daemon::Daemon;
use crate::jam::Jam;
use crate::layout::DRIVER;
use crate::run::Run;
use crate::stack::{Stack, VOLSYNC};
use crate::testbed::Event;
use crate::{PATIENCE, render};

/// Time limit for the restart. No test provokes a restart that fails, so that a short limit would only fail on a loaded machine.
const RESTART_WITHIN: &str = "40s";

/// The default order of events, in seconds instead of minutes. `within` is the time limit for the restores and for the
/// verification, each.
pub fn config(within: &str) -> String {
    format!(
        "
mode: act
remediation: {{namespace: {}}}
detect: {{pendingAfter: 1s, failedAfter: 1s, orphanedAfter: 1s, lockedAfter: 2s}}
steps:
  suspendSources: {{settle: 500ms}}
  deleteFailedSnapshots: {{settle: 5s}}
  restartProvisioner: {{within: {RESTART_WITHIN}}}
  verifyProvisioning: {{within: {within}}}
  verdict: {{within: {within}}}
  resumeSources: {{batch: 20, every: 1s}}
gates: {{minimumAge: 1s, progressWithin: 1s}}
",
        render::NAMESPACE
    )
}

/// The cluster after a run.
pub struct Outcome {
    pub run: Run,
    /// Number of formerly Pending claims that are Bound.
    pub bound: usize,
    /// Number of snapshots that VolSync created between the hold and the first release.
    pub created: usize,
    /// Number of snapshots that the program deleted.
    pub deleted: usize,
    /// Number of them whose creation did not hang.
    pub wrongly_deleted: usize,
    /// Held sources, in order.
    pub held: Vec<String>,
    /// Number of the program's writes to sources and claims.
    pub writes: usize,
    /// Number of claims with an annotation of VolSync's.
    pub annotated: usize,
}

impl Outcome {
    /// Reads the outcome from the cluster.
    pub async fn read(stack: &Stack, jam: &Jam, run: Run) -> Self {
        let events = stack.audited().await;
        let (created, deleted) = snapshots(&events, &run);
        let locked: BTreeSet<_> = jam.stuck.iter().map(|one| one.uid.clone()).collect();
        Self {
            bound: bound(stack, jam).await,
            created,
            deleted: deleted.len(),
            wrongly_deleted: deleted.iter().filter(|uid| !locked.contains(*uid)).count(),
            held: held(stack).await,
            writes: writes(&events),
            annotated: annotated(stack).await,
            run,
        }
    }
}

/// Sends the alert of the jam, and waits until its run has finished.
pub async fn heal(stack: &Stack, daemon: &Daemon, limit: Duration) -> Run {
    let labels = [("driver", DRIVER)];
    let (code, answer) = daemon.fire("LocksmithOperationLocked", &labels).await;
    assert_eq!(code, 202, "{answer}");
    Run::finished(&stack.client(), daemon, limit).await
}

/// Waits until the program observes everything that is stuck.
pub async fn sees(daemon: &Daemon) {
    let wanted = [
        ("orphaned_source", 3.0),
        ("failed_snapshot", 5.0),
        ("pending_claim", 4.0),
        ("operation_lock", 1.0),
    ];
    let all = daemon.until("the whole jam to be seen", |samples| {
        wanted.iter().all(|(finding, expected)| {
            let prefix = format!("locksmith_stuck_operations{{finding=\"{finding}\"");
            let of_it = samples.iter().filter(|(name, _)| name.starts_with(&prefix));
            of_it.map(|(_, value)| value).sum::<f64>() >= *expected
        })
    });
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("the jam is seen");
}

/// Number of snapshots that VolSync created during the hold, and uids of those that the program deleted.
fn snapshots(events: &[Event], run: &Run) -> (usize, Vec<String>) {
    let held = run.step("suspendSources").map(|(_, end)| end);
    let resumed = run.step("resumeSources").map(|(begin, _)| begin);
    let during = |event: &&Event| {
        let after = held.is_some_and(|held| event.received >= held);
        after && resumed.is_none_or(|resumed| event.received < resumed)
    };
    let of = |event: &&Event| {
        event.resource == "volumesnapshots" && event.subresource.is_empty() && event.code < 300
    };
    let created = events.iter().filter(of).filter(during);
    let created = created
        .filter(|event| event.user == VOLSYNC && event.verb == "create")
        .count();
    let deleted = events
        .iter()
        .filter(of)
        .filter(|event| event.verb == "delete" && event.user.contains("locksmith"));
    let uid = |event: &Event| {
        let uid = &event.request_body.as_ref()?["preconditions"]["uid"];
        Some(uid.as_str()?.to_owned())
    };
    (
        created,
        deleted
            .map(|event| uid(event).expect("a uid as precondition"))
            .collect(),
    )
}

/// Number of formerly Pending claims that are Bound.
async fn bound(stack: &Stack, jam: &Jam) -> usize {
    let claims: Api<PersistentVolumeClaim> = Api::all(stack.client());
    let claims = claims.list(&Default::default()).await.unwrap().items;
    let bound = |uid: &String| {
        let claim = claims
            .iter()
            .find(|claim| claim.uid().as_ref() == Some(uid));
        let phase = claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref());
        phase == Some("Bound")
    };
    jam.pending.iter().filter(|claim| bound(&claim.uid)).count()
}

/// Names of the held sources, in order.
async fn held(stack: &Stack) -> Vec<String> {
    let holds: Api<SnapshotHold> = Api::all(stack.client());
    let holds = holds.list(&Default::default()).await.unwrap().items;
    let places = holds.iter().flat_map(|hold| hold.spec.sources.values());
    let names = places.map(|place| place.rsplit('/').next().unwrap_or_default().to_owned());
    let names: BTreeSet<_> = names.collect();
    names.into_iter().collect()
}

/// Number of the program's writes to sources and claims.
fn writes(events: &[Event]) -> usize {
    let kinds = ["replicationsources", "persistentvolumeclaims"];
    events
        .iter()
        .filter(|event| event.user.contains("locksmith") && event.is_write())
        .filter(|event| kinds.contains(&event.resource.as_str()))
        .count()
}

/// Number of claims with an annotation of VolSync's; no person sets one in this jam.
async fn annotated(stack: &Stack) -> usize {
    let claims: Api<PersistentVolumeClaim> = Api::all(stack.client());
    let claims = claims.list(&Default::default()).await.unwrap().items;
    claims
        .iter()
        .filter(|claim| {
            let mut keys = claim.annotations().keys();
            keys.any(|key| key.starts_with("volsync.backube/"))
        })
        .count()
}
