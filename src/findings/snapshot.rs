//! VolumeSnapshots that are not ready for too long.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Finding, Locks, Policy, SnapshotReason, What};
use crate::model::records::{Content, Snapshot, Source};
use crate::model::{Kind, Model, Nature, ObjectKind, Sym};

/// The sidecar that takes snapshots.
const SNAPSHOTTER: &str = "csi-snapshotter";

/// Until when a snapshot may not be ready.
fn due(snapshot: &Snapshot, policy: &Policy) -> Timestamp {
    policy.detect.failed_after.after(snapshot.meta.created.at())
}

/// Until when each snapshot that is not ready may be so.
pub fn dues<'a>(model: &'a Model, policy: &'a Policy) -> impl Iterator<Item = Timestamp> + use<'a> {
    let unready = model.snapshots.unsettled().filter(|it| is_unready(it));
    unready.map(|snapshot| due(snapshot, policy))
}

fn is_unready(snapshot: &Snapshot) -> bool {
    snapshot.ready != Some(true)
}

/// Findings on snapshots.
pub fn detect<'a>(
    model: &'a Model,
    policy: &'a Policy,
    locks: &'a Locks<'a>,
    now: Timestamp,
) -> impl Iterator<Item = Finding> + use<'a> {
    // Looked up once a driver: a tenant may make thousands of snapshots.
    let mut served = HashMap::new();
    model
        .snapshots
        .unsettled()
        .filter(move |snapshot| is_unready(snapshot) && now > due(snapshot, policy))
        .filter_map(move |snapshot| {
            let claim = snapshot.source_claim.as_ref()?;
            let content = content(model, snapshot);
            let driver = driver(model, snapshot, content);
            if driver
                .as_ref()
                .is_some_and(|driver| policy.drivers.find(driver).is_none())
            {
                return None;
            }
            let is_served = driver.as_ref().is_none_or(|driver| {
                *served
                    .entry(driver.clone())
                    .or_insert_with(|| has_snapshotter(model, driver, now))
            });
            let reason = reason(model, locks, snapshot, content, is_served)?;
            let claim = model.claims.get(&snapshot.meta.namespace, claim);
            let said = snapshot.error.as_ref().or_else(|| content?.error.as_ref());
            Some(Finding {
                what: What::FailedSnapshot(reason),
                object: Some(snapshot.meta.key(ObjectKind::VolumeSnapshot)),
                since: snapshot.meta.created.at(),
                driver,
                class: class(model, snapshot),
                bytes: snapshot.bytes(claim),
                chain: [
                    source(model, snapshot)
                        .map(|source| source.meta.key(ObjectKind::ReplicationSource)),
                    claim.map(|claim| claim.meta.key(ObjectKind::PersistentVolumeClaim)),
                    content.map(|content| content.meta.key(ObjectKind::VolumeSnapshotContent)),
                ]
                .into_iter()
                .flatten()
                .collect(),
                evidence: said
                    .map(|trouble| trouble.message.to_string())
                    .into_iter()
                    .collect(),
            })
        })
}

/// Its class, if there is one of that name: what somebody asked for may be any text, and is to be a metric label.
fn class(model: &Model, snapshot: &Snapshot) -> Option<Sym> {
    let name = snapshot.class.as_ref()?;
    let class = model.snapshot_classes.get_cluster(name)?;
    Some(class.name.clone())
}

/// The source that asked for it. VolSync makes the name of the source's, which finds it; the uid proves it.
pub fn source<'m>(model: &'m Model, snapshot: &Snapshot) -> Option<&'m Source> {
    let name = snapshot.meta.name.strip_prefix("volsync-")?;
    let name = name.strip_suffix("-src")?;
    let source = model.sources.get(&snapshot.meta.namespace, &name.into())?;
    (snapshot.source.as_ref() == Some(&source.meta.uid)).then_some(source)
}

/// The content that points back at the snapshot.
pub fn content<'m>(model: &'m Model, snapshot: &Snapshot) -> Option<&'m Content> {
    let given = || Snapshot::given_content(&snapshot.meta.uid).into();
    let name = snapshot.content.clone().unwrap_or_else(given);
    model
        .contents
        .get_cluster(&name)
        .filter(|content| content.snapshot.as_ref() == Some(&snapshot.meta.uid))
}

fn driver(model: &Model, snapshot: &Snapshot, content: Option<&Content>) -> Option<Sym> {
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

/// Why the snapshot is not ready, or `None` when its driver has it and is still at work.
fn reason(
    model: &Model,
    locks: &Locks<'_>,
    snapshot: &Snapshot,
    content: Option<&Content>,
    is_served: bool,
) -> Option<SnapshotReason> {
    if locks.on_making(&snapshot.meta.uid).is_some() {
        return Some(SnapshotReason::OperationLock);
    }
    let error = snapshot.error.as_ref().or_else(|| content?.error.as_ref());
    if let Some(error) = error {
        return Some(match error.nature {
            Nature::Locked(_) => SnapshotReason::OperationLock,
            Nature::Timeout => SnapshotReason::Timeout,
            Nature::SourceMissing => SnapshotReason::SourceMissing,
            Nature::Other => SnapshotReason::Other,
        });
    }
    let source = snapshot.source_claim.as_ref()?;
    match content {
        None if model.freshness.trusted(Kind::PersistentVolumeClaims)
            && model.claims.get(&snapshot.meta.namespace, source).is_none() =>
        {
            Some(SnapshotReason::SourceMissing)
        }
        Some(content) if content.handle.is_some() => None,
        Some(content) if !content.seen_by_sidecar && !is_served => {
            Some(SnapshotReason::SnapshotterAbsent)
        }
        Some(_) | None => Some(SnapshotReason::Other),
    }
}

/// Whether anything takes snapshots for `driver`: a held lease, or a running sidecar about to take it.
pub fn has_snapshotter(model: &Model, driver: &str, now: Timestamp) -> bool {
    let (_, lease) = crate::model::lease_names(driver);
    model
        .leases
        .iter()
        .any(|l| *l.name == *lease && l.held(now))
        || model.provisioner(driver).is_some_and(|provisioner| {
            model.replicas(&provisioner).any(|replica| {
                replica
                    .pod
                    .containers
                    .iter()
                    .any(|container| &**container == SNAPSHOTTER)
            })
        })
}
