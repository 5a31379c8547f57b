//! Which failed snapshots are deleted.

use super::{Action, PlannedStep, Spared, StepName, Target};
use crate::config::DeleteScope;
use crate::findings::{Finding, What, snapshot_content, snapshot_source};
use crate::model::records::{Protection, Snapshot};
use crate::model::{Model, Sym};

/// Deletions of the failed snapshots of `driver` that nothing protects.
pub fn plan(model: &Model, findings: &[Finding], driver: &Sym, scope: DeleteScope) -> PlannedStep {
    let (mut targets, mut spared) = (Vec::new(), Vec::new());
    let failed = findings
        .iter()
        .filter(|finding| matches!(finding.what, What::FailedSnapshot(_)))
        .filter(|finding| finding.driver.as_ref().is_none_or(|of| of == driver))
        .filter_map(|finding| Some((finding.object.clone()?, finding.driver.is_some())));
    for (object, driver_known) in failed {
        let Some(snapshot) = model.snapshots.get(&object.namespace, &object.name) else {
            continue;
        };
        let unknown = (!driver_known).then_some("nothing tells which driver it is of");
        match why_kept(model, snapshot, scope).or(unknown) {
            Some(why) => spared.push(Spared {
                object,
                why: why.to_owned(),
            }),
            None => targets.push(Target {
                object,
                action: Action::Delete,
            }),
        }
    }
    PlannedStep {
        step: StepName::DeleteFailedSnapshots,
        targets,
        spared,
        replicas: None,
    }
}

/// Why a failed snapshot is not deleted, or `None`.
pub fn why_kept(model: &Model, snapshot: &Snapshot, scope: DeleteScope) -> Option<&'static str> {
    if snapshot.ready == Some(true) {
        return Some("is ready");
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
        Some(Protection::DoNotDelete) => return Some("carries volsync.backube/do-not-delete"),
        Some(Protection::Populating) => return Some("is in use by VolSync's populator"),
        Some(Protection::Group) => return Some("is a member of a group snapshot"),
        Some(Protection::Finalizer) => return Some("carries a finalizer of somebody else's"),
        None => {}
    }
    // Its maker could write the label and the owner of its choice: the source has to be there, and to make snapshots of
    // this name, of which there is one at a time.
    let of_source = snapshot_source(model, snapshot).is_some();
    if scope == DeleteScope::Volsync && !(snapshot.by_volsync && of_source) {
        return Some("was not made by VolSync for a ReplicationSource that is there");
    }
    if is_latest_image(model, snapshot) {
        return Some("is the latestImage of a ReplicationDestination");
    }
    let content = snapshot_content(model, snapshot);
    if content.is_some_and(|content| !content.deletes) {
        return Some("has deletionPolicy Retain: the storage snapshot would be left behind");
    }
    if content.is_some_and(|content| content.handle.is_some() && content.error.is_none()) {
        return Some("is still being processed by the driver");
    }
    None
}

fn is_latest_image(model: &Model, snapshot: &Snapshot) -> bool {
    model.destinations.iter().any(|destination| {
        destination.meta.namespace == snapshot.meta.namespace
            && destination.latest_image.as_ref() == Some(&snapshot.meta.name)
    })
}
