//! Which failed snapshots are deleted.

use crate::api::{Action, PlannedStep, SkipReason, Skipped, StepName, Target};
use crate::api::{ObjectKind, SharedStr, Uid};
use crate::config::DeleteScope;
use crate::csi::ErrorClass;
use crate::findings::{Finding, FindingReason, snapshot_content, snapshot_source};
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
        let unknown = finding
            .driver
            .is_none()
            .then_some(SkipReason::UnknownDriver);
        let why = reason
            .beyond_repair()
            .or_else(|| snapshot_skip_reason(model, snapshot, scope))
            .or(unknown);
        match why {
            Some(reason) => skipped.push(Skipped::new(object, reason)),
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

/// Why a failed snapshot is not deleted, or `None`.
pub fn snapshot_skip_reason(
    model: &Model,
    snapshot: &Snapshot,
    scope: DeleteScope,
) -> Option<SkipReason> {
    if snapshot.ready == Some(true) {
        return Some(SkipReason::Ready);
    }
    if model.opted_out(&snapshot.meta) {
        return Some(SkipReason::OptedOut);
    }
    if snapshot.meta.deleting.is_some() {
        return Some(SkipReason::BeingDeleted);
    }
    if snapshot.source_claim.is_none() {
        return Some(SkipReason::PreProvisioned);
    }
    match snapshot.protection {
        Some(Protection::DoNotDelete) => return Some(SkipReason::DoNotDelete),
        Some(Protection::Populating) => return Some(SkipReason::Populating),
        Some(Protection::Group) => return Some(SkipReason::GroupMember),
        Some(Protection::Finalizer) => return Some(SkipReason::ForeignFinalizer),
        None => {}
    }
    // Tenants can forge the label and the ownerReference. The snapshot must also have the name that VolSync gives the
    // snapshot of an existing source; each source has only one.
    let of_source = snapshot_source(model, snapshot).is_some();
    if scope == DeleteScope::Volsync && !(snapshot.by_volsync && of_source) {
        return Some(SkipReason::NotByVolSync);
    }
    if is_latest_image(model, snapshot) {
        return Some(SkipReason::LatestImage);
    }
    let content = snapshot_content(model, snapshot);
    if content.is_some_and(|content| !content.deletes) {
        return Some(SkipReason::Retained);
    }
    if content.is_some_and(|content| content.handle.is_some()) {
        return Some(SkipReason::Processing);
    }
    let error = snapshot.error.as_ref().or_else(|| content?.error.as_ref());
    match error?.class {
        ErrorClass::SourceMissing => Some(SkipReason::SourceMissing),
        ErrorClass::SourceUnbound => Some(SkipReason::SourceUnbound),
        ErrorClass::Locked(_) | ErrorClass::Timeout | ErrorClass::Other => None,
    }
}

fn is_latest_image(model: &Model, snapshot: &Snapshot) -> bool {
    model.destinations.iter().any(|destination| {
        destination.meta.namespace == snapshot.meta.namespace
            && destination.latest_image.as_ref() == Some(&snapshot.meta.name)
    })
}
