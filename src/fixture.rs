//! A constructed [`View`] with one of everything, for tests of its readers.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::api::StepName;
use crate::api::remediation::{GateRecord, Phase, StepPhase, StepProgress};
use crate::api::{LockKey, ObjectKey, ObjectKind};
use crate::config::Mode;
use crate::findings::{
    ClaimReason, Finding, FindingReason, FormingLocks, SnapshotReason, SourceReason,
};
use crate::model::{Freshness, Kind, WatchState};
use crate::state::view::{Breaker, HoldView, ProvisionerView, RunView, StepView, View};

const GI: u64 = 1 << 30;
const RBD: &str = "rook-ceph.rbd.csi.ceph.com";

/// Runs `work` on a thread with a stack of `bytes`; returns its result and duration.
pub fn on_stack_of<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> (Duration, T) {
    let thread = std::thread::Builder::new().stack_size(bytes);
    let begun = Instant::now();
    let result = thread.spawn(work).unwrap().join().unwrap();
    (begun.elapsed(), result)
}

/// The clock of the tests.
pub fn now() -> Timestamp {
    "2026-11-01T03:00:00Z".parse().unwrap()
}

/// The given number of minutes before [`now`].
pub fn ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

/// An object with a uid derived from its kind and name.
pub fn object(kind: ObjectKind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("{}-{name}", kind.as_str()).as_str().into(),
    }
}

fn finding(what: FindingReason, object: ObjectKey, minutes: i64, gi: u64) -> Finding {
    Finding {
        what,
        object: Some(object),
        since: ago(minutes),
        driver: Some(RBD.into()),
        class: Some("ceph-block".into()),
        bytes: gi * GI,
        restores: None,
        chain: Vec::new(),
        evidence: Vec::new(),
    }
}

/// Every watch synced, except for Remediations, which the cluster does not serve.
pub fn all_seen() -> Freshness {
    let mut freshness = Freshness::default();
    for kind in Kind::ALL {
        freshness.note(kind, WatchState::Synced, ago(1));
    }
    freshness.note(Kind::Remediations, WatchState::NotServed, ago(1));
    freshness
}

/// A cluster without findings.
pub fn healthy() -> View {
    View {
        at: now(),
        mode: Mode::Observe,
        findings: Vec::new(),
        forming_locks: Vec::new(),
        freshness: all_seen(),
        doubts: Vec::new(),
        drivers: vec![RBD.into()],
        provisioners: vec![ProvisionerView {
            driver: RBD.into(),
            workload: Some(object(
                ObjectKind::Deployment,
                "rook-ceph",
                "csi-rbdplugin-provisioner",
            )),
            problem: None,
            followed: 2,
            unreadable: Vec::new(),
            unopened: 0,
            leaders: vec![object(
                ObjectKind::Pod,
                "rook-ceph",
                "csi-rbdplugin-provisioner-6c5d8b7f9d-abcde",
            )],
        }],
        objects: [
            (Kind::PersistentVolumeClaims, 40),
            (Kind::ReplicationSources, 12),
        ]
        .into(),
        holds: Vec::new(),
        hold_policy: None,
        runs: Vec::new(),
        breaker: Breaker::default(),
    }
}

/// A cluster during a remediation.
pub fn jammed() -> View {
    View {
        mode: Mode::Act,
        findings: findings(),
        forming_locks: vec![FormingLocks {
            driver: RBD.into(),
            count: 2,
            since: ago(3),
            due: ago(-2),
        }],
        holds: holds(),
        runs: vec![running(), failed()],
        breaker: Breaker {
            failures: 1,
            open: false,
        },
        ..healthy()
    }
}

fn claim(name: &str) -> ObjectKey {
    object(ObjectKind::PersistentVolumeClaim, "media", name)
}

fn source() -> ObjectKey {
    object(ObjectKind::ReplicationSource, "media", "prowlarr")
}

fn findings() -> Vec<Finding> {
    let snapshot = object(ObjectKind::VolumeSnapshot, "media", "volsync-sonarr-src");
    let lock = |key: &str, object: &ObjectKey, minutes, gi| {
        let what = FindingReason::OperationLock(LockKey(key.into()));
        finding(what, object.clone(), minutes, gi)
    };
    vec![
        Finding {
            bytes: GI / 2,
            driver: None,
            ..finding(
                FindingReason::FailedSnapshot(SnapshotReason::Other),
                object(ObjectKind::VolumeSnapshot, "ai", "volsync-litellm-src"),
                12,
                0,
            )
        },
        Finding {
            class: Some("csi-ceph-block".into()),
            chain: vec![claim("sonarr")],
            evidence: vec![
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded".into(),
            ],
            ..finding(
                FindingReason::FailedSnapshot(SnapshotReason::Timeout),
                snapshot.clone(),
                95,
                20,
            )
        },
        finding(FindingReason::HeldSource, source(), 15, 5),
        // Two keys, one object.
        lock(
            "0001-0009-rook-ceph-0000000000000002-7f1e",
            &snapshot,
            30,
            20,
        ),
        lock(
            "0001-0009-rook-ceph-0000000000000002-8a2b",
            &snapshot,
            25,
            20,
        ),
        lock("pvc-4e1c", &claim("prowlarr"), 40, 5),
        Finding {
            driver: None,
            class: None,
            evidence: vec!["PersistentVolumeClaim litellm not found, asked 9 times".into()],
            ..finding(
                FindingReason::OrphanedSource(SourceReason::ClaimMissing),
                object(ObjectKind::ReplicationSource, "ai", "litellm"),
                3 * 24 * 60,
                0,
            )
        },
        Finding {
            evidence: vec!["an operation with the given Volume ID pvc-4e1c already exists".into()],
            ..finding(
                FindingReason::PendingClaim(ClaimReason::OperationLock),
                claim("prowlarr"),
                42,
                5,
            )
        },
    ]
}

/// Holds: one of a run, a planned one, and one of a class.
fn holds() -> Vec<HoldView> {
    let of_run = HoldView {
        object: source(),
        hold: "csi-operation-locks-7c1d".into(),
        run: Some("csi-operation-locks-7c1d".into()),
        by: "csi-operation-locks-7c1d".into(),
        reason: None,
        since: ago(15),
        until: ago(-105),
    };
    let planned = HoldView {
        object: object(ObjectKind::ReplicationSource, "media", "lidarr"),
        hold: "planned-x7k2p".into(),
        run: None,
        by: "ada".into(),
        reason: Some("NAS migration".into()),
        since: ago(125),
        until: ago(-5),
    };
    let mut class = object(ObjectKind::VolumeSnapshotClass, "", "csi-ceph-block");
    class.uid = "".into();
    let of_class = HoldView {
        object: class,
        ..planned.clone()
    };
    vec![of_run, planned, of_class]
}

/// The record of a gate.
pub fn gate(gate: &str, open: bool) -> GateRecord {
    let unless_open = |text: &str| if open { String::new() } else { text.to_owned() };
    GateRecord {
        gate: gate.to_owned(),
        open,
        reason: unless_open("41 of 50 objects > 30%"),
        opens_when: unless_open("when fewer objects are affected"),
    }
}

fn step(step: StepName, phase: StepPhase, minutes: i64) -> StepView {
    let over = phase != StepPhase::Started;
    StepView {
        step,
        phase,
        started: ago(minutes),
        finished: over.then(|| ago(minutes - 2)),
        deadline: Some(ago(minutes - 5)),
        message: if over {
            "12 sources held".into()
        } else {
            String::new()
        },
        progress: (!over).then(|| StepProgress {
            done: 1,
            total: 4,
            waiting_for: "lease rook-ceph/external-snapshotter-leader to be taken over".into(),
            deadline: Some(ago(minutes - 10)),
        }),
    }
}

fn running() -> RunView {
    RunView {
        namespace: "locksmith".into(),
        name: "csi-operation-locks-7c1d".into(),
        playbook: "csi-operation-locks".into(),
        driver: RBD.into(),
        phase: Phase::Running,
        step: Some(StepName::RestartProvisioner),
        message: "waiting for the leases to be taken over".into(),
        created: ago(20),
        started: Some(ago(16)),
        finished: None,
        gates: vec![gate("mode", true), gate("blastRadius", false)],
        steps: vec![
            step(StepName::SuspendSources, StepPhase::Succeeded, 16),
            step(StepName::RestartProvisioner, StepPhase::Started, 3),
        ],
        upcoming: vec![
            StepName::DeleteFailedSnapshots,
            StepName::VerifyProvisioning,
            StepName::ResumeSources,
        ],
        held: 1,
    }
}

fn failed() -> RunView {
    RunView {
        name: "csi-operation-locks-6b0c".into(),
        phase: Phase::Failed,
        step: None,
        message: "1 PersistentVolumeClaim is Pending still".into(),
        created: ago(130),
        started: Some(ago(128)),
        finished: Some(ago(90)),
        gates: Vec::new(),
        steps: vec![
            step(StepName::SuspendSources, StepPhase::Succeeded, 128),
            StepView {
                message: "1 still Pending after 5m: PersistentVolumeClaim media/prowlarr".into(),
                ..step(StepName::VerifyProvisioning, StepPhase::Failed, 100)
            },
        ],
        upcoming: Vec::new(),
        ..running()
    }
}

/// A cluster that could not be read completely: the right to read some snapshots is missing.
pub fn half_seen() -> View {
    let mut view = jammed();
    view.freshness.note(
        Kind::VolumeSnapshots,
        WatchState::Failing("volumesnapshots.snapshot.storage.k8s.io is forbidden".into()),
        ago(2),
    );
    view
}
