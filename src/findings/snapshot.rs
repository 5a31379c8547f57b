//! VolumeSnapshots that are not ready for too long, or wait for a found lock (for any time).

use std::collections::HashMap;

use jiff::Timestamp;

use super::{DetectionSettings, Finding, FindingReason, Locks, SnapshotReason};
use crate::api::{ObjectKind, SharedStr};
use crate::csi::ErrorClass;
use crate::model::records::{ClaimPhase, Content, Lease, Snapshot, Source};
use crate::model::{Kind, Model, UnixSeconds};

/// When the snapshot becomes a finding. An accepted snapshot has more time, as its upload may take hours.
fn due(snapshot: &Snapshot, content: Option<&Content>, settings: &DetectionSettings) -> Timestamp {
    let detect = &settings.detect;
    let after = if is_accepted(content) {
        detect.processing_after
    } else {
        detect.failed_after
    };
    after.after(snapshot.meta.created.at())
}

/// Whether the driver has accepted the snapshot and is processing it. An error beside the handle is stale: upstream clears
/// it only once the snapshot is ready.
fn is_accepted(content: Option<&Content>) -> bool {
    content.is_some_and(|content| content.handle.is_some())
}

/// When each unready snapshot becomes a finding.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let unready = model
        .snapshots
        .needs_attention()
        .filter(|it| is_unready(it));
    unready.map(|snapshot| due(snapshot, content(model, snapshot), settings))
}

/// Whether the snapshot is expected to become ready; a snapshot that is being deleted is not.
fn is_unready(snapshot: &Snapshot) -> bool {
    snapshot.ready != Some(true) && snapshot.meta.deleting.is_none()
}

/// Findings about snapshots.
pub fn detect<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
    locks: &'a Locks<'a>,
    now: Timestamp,
) -> impl Iterator<Item = Finding> + use<'a> {
    let snapshotters = Snapshotters::of(model, settings, now);
    model
        .snapshots
        .needs_attention()
        .filter(|snapshot| is_unready(snapshot))
        .filter_map(move |snapshot| {
            let claim = snapshot.source_claim.as_ref()?;
            let content = content(model, snapshot);
            let behind_lock = is_locked(locks, snapshot);
            if now <= due(snapshot, content, settings) && !behind_lock {
                return None;
            }
            let driver = driver(model, snapshot, content);
            if driver
                .as_ref()
                .is_some_and(|driver| settings.drivers.find(driver).is_none())
            {
                return None;
            }
            let reason = reason(model, locks, &snapshotters, snapshot, content)?;
            let error = snapshot.error.as_ref().or_else(|| content?.error.as_ref());
            Some(Finding {
                what: FindingReason::FailedSnapshot(reason),
                evidence: error
                    .map(|error| error.message.to_string())
                    .into_iter()
                    .collect(),
                ..about(model, snapshot, content, driver, claim)
            })
        })
}

/// Whether the creation of the snapshot waits for a found lock.
pub(super) fn is_locked(locks: &Locks<'_>, snapshot: &Snapshot) -> bool {
    locks.on_making(&snapshot.meta.uid).is_some()
}

/// A finding about `snapshot`, with placeholders for reason and evidence.
pub(super) fn about(
    model: &Model,
    snapshot: &Snapshot,
    content: Option<&Content>,
    driver: Option<SharedStr>,
    claim: &SharedStr,
) -> Finding {
    let claim = model.claims.get(&snapshot.meta.namespace, claim);
    Finding {
        what: FindingReason::FailedSnapshot(SnapshotReason::Other),
        object: Some(snapshot.meta.key(ObjectKind::VolumeSnapshot)),
        since: snapshot.meta.created.at(),
        driver,
        class: class(model, snapshot),
        bytes: snapshot.bytes(claim),
        restores: None,
        chain: [
            source(model, snapshot).map(|source| source.meta.key(ObjectKind::ReplicationSource)),
            claim.map(|claim| claim.meta.key(ObjectKind::PersistentVolumeClaim)),
            content.map(|content| content.meta.key(ObjectKind::VolumeSnapshotContent)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        evidence: Vec::new(),
    }
}

/// Class of the snapshot, if it exists: the field may hold any text, and becomes a metric label.
fn class(model: &Model, snapshot: &Snapshot) -> Option<SharedStr> {
    let name = snapshot.class.as_ref()?;
    let class = model.snapshot_classes.get_cluster(name)?;
    Some(class.name.clone())
}

/// The source that created it. VolSync puts the source's name into the snapshot's, which finds the source; the uid proves
/// it.
pub fn source<'m>(model: &'m Model, snapshot: &Snapshot) -> Option<&'m Source> {
    let name = snapshot.meta.name.strip_prefix("volsync-")?;
    let name = name.strip_suffix("-src")?;
    let source = model.sources.get(&snapshot.meta.namespace, &name.into())?;
    (snapshot.source.as_ref() == Some(&source.meta.uid)).then_some(source)
}

/// The content that is bound to the snapshot in both directions.
pub fn content<'m>(model: &'m Model, snapshot: &Snapshot) -> Option<&'m Content> {
    let given = || Snapshot::given_content(&snapshot.meta.uid).into();
    let name = snapshot.content.clone().unwrap_or_else(given);
    model
        .contents
        .get_cluster(&name)
        .filter(|content| content.snapshot.as_ref() == Some(&snapshot.meta.uid))
}

/// Driver of the snapshot, if it is known.
pub fn driver(model: &Model, snapshot: &Snapshot, content: Option<&Content>) -> Option<SharedStr> {
    if let Some(content) = content {
        return Some(content.driver.clone());
    }
    if let Some(class) = &snapshot.class {
        let class = model.snapshot_classes.get_cluster(class)?;
        return Some(class.driver.clone());
    }
    // The default class is that of the driver the claim's volume is from.
    let claim = model
        .claims
        .get(&snapshot.meta.namespace, snapshot.source_claim.as_ref()?)?;
    let class = model.storage_classes.get_cluster(claim.class.as_ref()?)?;
    Some(class.provisioner.clone())
}

/// Reason why the snapshot is not ready; `None` if no snapshotter has had time to process it.
fn reason(
    model: &Model,
    locks: &Locks<'_>,
    snapshotters: &Snapshotters<'_>,
    snapshot: &Snapshot,
    content: Option<&Content>,
) -> Option<SnapshotReason> {
    if is_locked(locks, snapshot) {
        return Some(SnapshotReason::OperationLock);
    }
    if is_accepted(content) {
        return Some(SnapshotReason::Processing);
    }
    let error = snapshot.error.as_ref().or_else(|| content?.error.as_ref());
    if let Some(error) = error {
        return Some(match error.class {
            ErrorClass::Locked(_) => SnapshotReason::OperationLock,
            ErrorClass::Timeout => SnapshotReason::Timeout,
            ErrorClass::SourceMissing => SnapshotReason::SourceMissing,
            ErrorClass::SourceUnbound => SnapshotReason::SourceUnbound,
            ErrorClass::Other => SnapshotReason::Other,
        });
    }
    let Some(content) = content else {
        let claim = snapshot.source_claim.as_ref()?;
        let claim = model.claims.get(&snapshot.meta.namespace, claim);
        return Some(match claim {
            None if model.freshness.trusted(Kind::PersistentVolumeClaims) => {
                SnapshotReason::SourceMissing
            }
            Some(claim) if claim.phase == ClaimPhase::Pending => SnapshotReason::SourceUnbound,
            Some(_) | None => SnapshotReason::Other,
        });
    };
    Some(snapshotters.reason(content))
}

/// State of each snapshotter for which some content has waited too long.
struct Snapshotters<'m>(HashMap<&'m SharedStr, Snapshotter>);

/// State of one snapshotter.
#[derive(Default)]
struct Snapshotter {
    /// Whether no sidecar takes snapshots for the driver.
    absent: bool,
    /// Whether a sidecar has held the lease for longer than the threshold for failed snapshots.
    leads: bool,
    /// Creation time of the youngest content whose status a sidecar has written.
    latest_seen: Option<UnixSeconds>,
    /// Whether a sidecar is processing a content; others then wait for a free worker.
    at_work: bool,
}

impl<'m> Snapshotters<'m> {
    fn of(model: &'m Model, settings: &DetectionSettings, now: Timestamp) -> Self {
        let failed_after = settings.detect.failed_after;
        let late = |content: &&Content| {
            !content.was_seen() && now > failed_after.after(content.meta.created.at())
        };
        let mut all: HashMap<&SharedStr, Snapshotter> = HashMap::new();
        for content in model.contents.needs_attention().filter(late) {
            all.entry(&content.driver).or_default();
        }
        if all.is_empty() {
            return Self(all);
        }
        let acquired: HashMap<&SharedStr, Timestamp> = all
            .iter_mut()
            .filter_map(|(driver, snapshotter)| {
                snapshotter.absent = has_snapshotter(model, driver, now) == Some(false);
                let (_, lease) = crate::model::lease_names(driver);
                let namespaces = &model.discovery.namespaces.0;
                let held = |it: &&Lease| {
                    *it.name == *lease && namespaces.contains(&it.namespace) && it.held(now)
                };
                let acquired = model.leases.iter().find(held)?.acquired?;
                snapshotter.leads = now > failed_after.after(acquired);
                Some((*driver, acquired))
            })
            .collect();
        for content in model.contents.iter().filter(|content| content.was_seen()) {
            let Some(snapshotter) = all.get_mut(&content.driver) else {
                continue;
            };
            let created = Some(content.meta.created);
            snapshotter.latest_seen = snapshotter.latest_seen.max(created);
            let acquired = acquired.get(&content.driver);
            let failed_since = content
                .error
                .as_ref()
                .is_some_and(|error| acquired.is_some_and(|acquired| error.since >= *acquired));
            snapshotter.at_work |=
                content.handle.is_none() && (content.being_created || failed_since);
        }
        Self(all)
    }

    /// Reason why a content without handle and error is not ready.
    fn reason(&self, content: &Content) -> SnapshotReason {
        match self.0.get(&content.driver) {
            _ if content.was_seen() => SnapshotReason::Other,
            Some(snapshotter) if snapshotter.absent => SnapshotReason::SnapshotterAbsent,
            Some(snapshotter)
                if snapshotter.leads
                    && !snapshotter.at_work
                    && snapshotter.latest_seen < Some(content.meta.created) =>
            {
                SnapshotReason::SnapshotterIdle
            }
            Some(_) | None => SnapshotReason::Other,
        }
    }
}

impl Content {
    /// Whether a sidecar has written to its status.
    fn was_seen(&self) -> bool {
        self.seen_by_sidecar || self.being_created
    }
}

/// Whether a sidecar takes snapshots for `driver`: a lease is held, or a running sidecar is about to take it. `None` if
/// this is unknown: the provisioner is not found, or has no pods.
pub fn has_snapshotter(model: &Model, driver: &str, now: Timestamp) -> Option<bool> {
    let (_, name) = crate::model::lease_names(driver);
    let name = SharedStr::from(name);
    let held = |namespace| {
        model
            .leases
            .get(namespace, &name)
            .is_some_and(|l| l.held(now))
    };
    if model.discovery.namespaces.0.iter().any(held) {
        return Some(true);
    }
    let provisioner = model.provisioner(driver)?;
    if provisioner.snapshotter.is_some_and(|lease| lease.held(now)) {
        return Some(true);
    }
    let workload = provisioner.workload;
    model
        .pods
        .needs_attention_in(&workload.meta.namespace)
        .filter(|pod| model.belongs(pod, workload))
        .filter_map(|pod| Some(pod.sidecars.as_ref()?.snapshots()))
        .reduce(|any, snapshots| any || snapshots)
}
