//! VolumeSnapshots and contents whose deletion is stuck. It blocks VolSync's next backup of that name.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{
    DeletionReason, DetectionSettings, Finding, FindingReason, Locks, snapshot, snapshot_content,
};
use crate::api::{ObjectKind, SharedStr};
use crate::model::records::{ClaimPhase, Content, DataSource, Meta, Protection, Snapshot};
use crate::model::{Model, UnixSeconds};

/// When each deletion becomes stuck.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let snapshots = model
        .snapshots
        .needs_attention()
        .map(|snapshot| &snapshot.meta);
    let contents = model
        .contents
        .needs_attention()
        .map(|content| &content.meta);
    snapshots
        .chain(contents)
        .filter_map(|meta| due(meta, settings))
}

fn due(meta: &Meta, settings: &DetectionSettings) -> Option<Timestamp> {
    Some(settings.detect.deleting_after.after(meta.deleting?.at()))
}

/// Findings about deletions. A snapshot and its content give one finding, about the snapshot.
pub fn detect<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
    locks: &'a Locks<'a>,
    now: Timestamp,
) -> Vec<Finding> {
    let late = |meta: &Meta| due(meta, settings).is_some_and(|due| now > due);
    let is_watched = |driver: &SharedStr| settings.drivers.find(driver).is_some();
    let snapshots = model
        .snapshots
        .needs_attention()
        .map(|snapshot| (snapshot, snapshot_content(model, snapshot)))
        .filter(|(snapshot, content)| {
            late(&snapshot.meta) || content.is_some_and(|content| late(&content.meta))
        });
    let mut in_use = None;
    let mut findings = Vec::new();
    let mut covered: HashSet<&SharedStr> = HashSet::new();
    for (snapshot, content) in snapshots {
        covered.extend(content.map(|content| &content.meta.name));
        let driver = snapshot::driver(model, snapshot, content);
        if driver.as_ref().is_some_and(|driver| !is_watched(driver)) {
            continue;
        }
        let in_use = in_use.get_or_insert_with(|| restored_from(model));
        let reason = reason(locks, in_use, Some(snapshot), content);
        findings.push(of_snapshot(model, snapshot, content, driver, reason));
    }
    let alone = model.contents.needs_attention().filter(|content| {
        late(&content.meta) && !covered.contains(&content.meta.name) && is_watched(&content.driver)
    });
    findings.extend(alone.map(|content| {
        let reason = reason(locks, &HashSet::new(), None, Some(content));
        of_content(content, reason)
    }));
    findings
}

fn of_snapshot(
    model: &Model,
    snapshot: &Snapshot,
    content: Option<&Content>,
    driver: Option<SharedStr>,
    reason: DeletionReason,
) -> Finding {
    let none = SharedStr::from("");
    let claim = snapshot.source_claim.as_ref().unwrap_or(&none);
    let begun = [Some(&snapshot.meta), content.map(|content| &content.meta)];
    let begun = begun.into_iter().flatten().filter_map(|meta| meta.deleting);
    let about = snapshot::about(model, snapshot, content, driver, claim);
    Finding {
        what: FindingReason::DeletionStuck(reason),
        since: begun.min().map_or(about.since, UnixSeconds::at),
        ..about
    }
}

/// A content whose VolumeSnapshot is gone.
fn of_content(content: &Content, reason: DeletionReason) -> Finding {
    let begun = content.meta.deleting.unwrap_or(content.meta.created);
    Finding {
        what: FindingReason::DeletionStuck(reason),
        object: Some(content.meta.key(ObjectKind::VolumeSnapshotContent)),
        since: begun.at(),
        driver: Some(content.driver.clone()),
        class: None,
        bytes: 0,
        restores: None,
        chain: Vec::new(),
        evidence: Vec::new(),
    }
}

/// Snapshots that a Pending claim is restored from: their deletion waits for it (external-snapshotter,
/// `SnapshotDeletePending`).
fn restored_from(model: &Model) -> HashSet<(&SharedStr, &SharedStr)> {
    let restoring = model.claims.needs_attention().filter_map(|claim| {
        let from = match &claim.data_source {
            Some(DataSource::Snapshot(name)) => (&claim.meta.namespace, name),
            Some(DataSource::ForeignSnapshot { namespace, name }) => (namespace, name),
            _ => return None,
        };
        (claim.phase == ClaimPhase::Pending).then_some(from)
    });
    restoring.collect()
}

/// Reason of a stuck deletion. A failure of the driver to delete is reported only in Events, so it is `Other`.
fn reason(
    locks: &Locks<'_>,
    in_use: &HashSet<(&SharedStr, &SharedStr)>,
    snapshot: Option<&Snapshot>,
    content: Option<&Content>,
) -> DeletionReason {
    let locked = snapshot.is_some_and(|it| snapshot::is_locked(locks, it))
        || content
            .and_then(|content| content.handle.as_ref())
            .is_some_and(|handle| locks.on(handle).is_some());
    if locked {
        return DeletionReason::OperationLock;
    }
    if content.is_some_and(|content| content.being_created) {
        return DeletionReason::BeingCreated;
    }
    match snapshot {
        Some(it) if it.protection == Some(Protection::Finalizer) => DeletionReason::Finalizer,
        Some(it) if in_use.contains(&(&it.meta.namespace, &it.meta.name)) => DeletionReason::InUse,
        Some(_) | None => DeletionReason::Other,
    }
}
