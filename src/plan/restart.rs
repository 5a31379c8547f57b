//! How the provisioner gets new pods.

use super::{Action, CannotPlan, PlannedStep, StepName, Target};
use crate::model::{Model, ObjectKind, Sym};

/// A rollout of the Deployment that serves `driver`, or the deletion of its pods where an operator owns it:
/// ceph-csi-operator overwrites the pod template and so reverts a rollout (`driver_controller.go`).
pub fn plan(model: &Model, driver: &Sym) -> Result<PlannedStep, CannotPlan> {
    let provisioner = model
        .provisioner(driver)
        .ok_or_else(|| CannotPlan::NoProvisioner(driver.clone()))?;
    let deployment = provisioner.deployment;
    if model.opted_out(&deployment.meta) {
        let deployment = deployment.meta.key(ObjectKind::Deployment);
        return Err(CannotPlan::OptedOut(deployment));
    }
    let mut replicas = model.replicas(&provisioner);
    if let Some(kept) = replicas.find(|replica| model.opted_out(&replica.pod.meta)) {
        let pod = kept.pod.meta.key(ObjectKind::Pod);
        return Err(CannotPlan::OptedOut(pod));
    }
    // One that is over or going, such as an evicted one, needs nobody to replace it.
    let mut pods: Vec<_> = model
        .replicas(&provisioner)
        .filter(|replica| !replica.pod.finished && replica.pod.meta.deleting.is_none())
        .map(|replica| replica.pod.meta.key(ObjectKind::Pod))
        .collect();
    pods.sort();
    let owned = deployment.controller.is_some();
    let replace = if owned {
        Action::Replace
    } else {
        Action::Await
    };
    let rollout = (!owned).then(|| Target {
        object: deployment.meta.key(ObjectKind::Deployment),
        action: Action::Rollout,
    });
    let targets = rollout
        .into_iter()
        .chain(owned.then(|| Target {
            object: deployment.meta.key(ObjectKind::Deployment),
            action: Action::Await,
        }))
        .chain(pods.into_iter().map(|object| Target {
            object,
            action: replace,
        }))
        .collect();
    Ok(PlannedStep {
        step: StepName::RestartProvisioner,
        targets,
        spared: Vec::new(),
        replicas: Some(deployment.replicas),
    })
}
