//! How the provisioner gets new pods.

use super::CannotPlan;
use crate::api::{Action, PlannedStep, StepName, Target};
use crate::api::{ObjectKind, SharedStr};
use crate::config::WorkloadKind;
use crate::model::Model;

/// A rollout of the Deployment that serves `driver`, or the deletion of its pods where an operator owns it:
/// ceph-csi-operator overwrites the pod template and so reverts a rollout (`driver_controller.go`). The pods of a
/// StatefulSet or DaemonSet are deleted, too: its update strategy may be OnDelete. Those of a DaemonSet without leader
/// election also mount volumes on their node, and are not restarted.
pub fn plan(model: &Model, driver: &SharedStr) -> Result<PlannedStep, CannotPlan> {
    let provisioner = model
        .find_provisioner(driver)
        .map_err(|reason| CannotPlan::NoProvisioner(driver.clone(), reason))?;
    let workload = provisioner.workload;
    if model.opted_out(&workload.meta) {
        return Err(CannotPlan::OptedOut(workload.key()));
    }
    let has_election = provisioner
        .provisioner
        .or(provisioner.snapshotter)
        .is_some();
    if workload.kind == WorkloadKind::DaemonSet && !has_election {
        return Err(CannotPlan::NodeDeployment(driver.clone(), workload.key()));
    }
    let mut replicas = model.replicas(&provisioner);
    if let Some(kept) = replicas.find(|replica| model.opted_out(&replica.pod.meta)) {
        let pod = kept.pod.meta.key(ObjectKind::Pod);
        return Err(CannotPlan::OptedOut(pod));
    }
    // Finished or terminating pods, such as evicted ones, need no replacement.
    let mut pods: Vec<_> = model
        .replicas(&provisioner)
        .filter(|replica| !replica.pod.finished && replica.pod.meta.deleting.is_none())
        .map(|replica| replica.pod.meta.key(ObjectKind::Pod))
        .collect();
    pods.sort();
    let rolls_out = workload.kind == WorkloadKind::Deployment && workload.controller.is_none();
    let (of_workload, of_pods) = if rolls_out {
        (Action::Rollout, Action::Await)
    } else {
        (Action::Await, Action::Replace)
    };
    let target = |object, action| Target { object, action };
    let pods = pods.into_iter().map(|pod| target(pod, of_pods));
    let leases = provisioner.leases();
    let leases = leases.map(|lease| target(lease.key(), Action::HandOver));
    let targets = std::iter::once(target(workload.key(), of_workload))
        .chain(pods)
        .chain(leases)
        .collect();
    // The nodes decide how many a DaemonSet has.
    let scaled = workload.kind != WorkloadKind::DaemonSet;
    Ok(PlannedStep {
        targets,
        replicas: scaled.then_some(workload.replicas),
        ..PlannedStep::new(StepName::RestartProvisioner)
    })
}
