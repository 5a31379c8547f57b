//! Which failed snapshots are deleted.

use crate::api::{Action, PlannedStep, Skipped, StepName, Target};
use crate::api::{ObjectKind, SharedStr, Uid};
use crate::config::DeleteScope;
use crate::csi::ErrorClass;
use crate::findings::{Finding, FindingReason, SnapshotReason, snapshot_content, snapshot_source};
use crate::model::Model;
use crate::model::records::{Protection, Snapshot};

/// Deletions of the failed snapshots of `driver` that nothing protects.
pub fn plan(
    model: &Model,
    findings: &[Finding],
    driver: &SharedStr,
    scope: DeleteScope,
) -> PlannedStep {
    let (mut targets, mut skipped) = (Vec::new(), Vec::new());
    let of_driver = |finding: &&Finding| finding.driver.as_ref().is_none_or(|of| of == driver);
    for finding in findings.iter().filter(of_driver) {
        let (FindingReason::FailedSnapshot(reason), Some(object)) =
            (&finding.what, finding.object.clone())
        else {
            continue;
        };
        let Some(snapshot) = model.snapshots.get(&object.namespace, &object.name) else {
            continue;
        };
        let unknown = finding.driver.is_none().then_some("its driver is unknown");
        let why = reason
            .why_beyond_repair()
            .or_else(|| why_kept(model, snapshot, scope))
            .or(unknown);
        match why {
            Some(why) => skipped.push(Skipped {
                object,
                reason: why.to_owned(),
            }),
            None => targets.push(Target {
                object,
                action: Action::Delete,
            }),
        }
    }
    PlannedStep {
        targets,
        skipped,
        ..PlannedStep::new(StepName::DeleteFailedSnapshots)
    }
}

/// The failed snapshots of `driver` that a plan made now would not delete, all of them.
pub fn skipped_uids(
    model: &Model,
    findings: &[Finding],
    driver: &SharedStr,
    scope: DeleteScope,
) -> impl Iterator<Item = Uid> {
    let skipped = plan(model, findings, driver, scope).skipped;
    skipped.into_iter().map(|skipped| skipped.object.uid)
}

/// Contents whose deletion may have to be freed after the restart: of what the run deletes, and of what is being deleted.
///
/// A snapshot that is deleted while its creation hangs may be created after the restart and then never be deleted:
/// csi-snapshotter 8.6 and 8.7 call DeleteSnapshot only once the content changes (`ShouldEnqueueContentChange`).
pub fn deletions_to_free(
    model: &Model,
    deletions: Option<&PlannedStep>,
    driver: &SharedStr,
    scope: DeleteScope,
) -> Vec<Target> {
    let targets = deletions.into_iter().flat_map(|step| &step.targets);
    let planned = targets.filter_map(|target| {
        let object = &target.object;
        model.snapshots.get(&object.namespace, &object.name)
    });
    let going = model.snapshots.needs_attention().filter(|snapshot| {
        let of_source = || snapshot.by_volsync && snapshot_source(model, snapshot).is_some();
        snapshot.meta.deleting.is_some()
            && !model.opted_out(&snapshot.meta)
            && (scope == DeleteScope::All || of_source())
    });
    planned
        .chain(going)
        .filter_map(|snapshot| snapshot_content(model, snapshot))
        .filter(|content| content.driver == *driver)
        .map(|content| Target {
            object: content.meta.key(ObjectKind::VolumeSnapshotContent),
            action: Action::Touch,
        })
        .collect()
}

/// Why a snapshot that became ready meanwhile is not deleted.
pub const READY: &str = "is ready";

/// Why a failed snapshot is not deleted, or `None`.
pub fn why_kept(model: &Model, snapshot: &Snapshot, scope: DeleteScope) -> Option<&'static str> {
    if snapshot.ready == Some(true) {
        return Some(READY);
    }
    if model.opted_out(&snapshot.meta) {
        return Some("opted out by label");
    }
    if snapshot.meta.deleting.is_some() {
        return Some("is being deleted already");
    }
    if snapshot.source_claim.is_none() {
        return Some("is pre-provisioned");
    }
    match snapshot.protection {
        Some(Protection::DoNotDelete) => {
            return Some("has the label volsync.backube/do-not-delete");
        }
        Some(Protection::Populating) => return Some("is in use by VolSync's populator"),
        Some(Protection::Group) => return Some("is a member of a group snapshot"),
        Some(Protection::Finalizer) => return Some("has a finalizer of another controller"),
        None => {}
    }
    // Tenants can forge the label and the ownerReference. The snapshot must also have the name that VolSync gives the
    // snapshot of an existing source; each source has only one.
    let of_source = snapshot_source(model, snapshot).is_some();
    if scope == DeleteScope::Volsync && !(snapshot.by_volsync && of_source) {
        return Some("was not made by VolSync for an existing ReplicationSource");
    }
    if is_latest_image(model, snapshot) {
        return Some("is the latestImage of a ReplicationDestination");
    }
    let content = snapshot_content(model, snapshot);
    if content.is_some_and(|content| !content.deletes) {
        return Some("has deletionPolicy Retain: the storage snapshot would be left behind");
    }
    if content.is_some_and(|content| content.handle.is_some()) {
        return SnapshotReason::Processing.why_beyond_repair();
    }
    let error = snapshot.error.as_ref().or_else(|| content?.error.as_ref());
    match error?.class {
        ErrorClass::SourceMissing => SnapshotReason::SourceMissing.why_beyond_repair(),
        ErrorClass::SourceUnbound => SnapshotReason::SourceUnbound.why_beyond_repair(),
        ErrorClass::Locked(_) | ErrorClass::Timeout | ErrorClass::Other => None,
    }
}

fn is_latest_image(model: &Model, snapshot: &Snapshot) -> bool {
    model.destinations.iter().any(|destination| {
        destination.meta.namespace == snapshot.meta.namespace
            && destination.latest_image.as_ref() == Some(&snapshot.meta.name)
    })
}
