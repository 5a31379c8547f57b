//! `restartProvisioner`: new pods, and new holders of both leases.

use std::collections::HashSet;

use super::{Intent, Progress, Scene, Step, count, some};
use crate::api::remediation::StepRecord;
use crate::model::records::{Deployment, Lease, Pod};
use crate::model::{ObjectKey, ObjectKind, Uid, lease_names};
use crate::plan::Action;

pub(super) struct RestartProvisioner;

impl Step for RestartProvisioner {
    fn advance(&self, scene: &Scene<'_>) -> Progress {
        let within = scene.config.steps.restart_provisioner.within;
        let targets = || scene.planned.targets.iter();
        let Some(planned) = targets()
            .map(|t| &t.object)
            .find(|o| o.kind == ObjectKind::Deployment)
        else {
            return Progress::Failed("the plan names no Deployment".to_owned());
        };
        let deployment = scene
            .model
            .deployments
            .get(&planned.namespace, &planned.name);
        let Some(deployment) = deployment.filter(|deployment| deployment.meta.uid == planned.uid)
        else {
            return Progress::Failed(format!("{planned} is gone or is another one by now"));
        };
        let old: HashSet<&Uid> = targets().map(|target| &target.object.uid).collect();
        let remaining = |object: &&ObjectKey| {
            scene
                .model
                .pods
                .get(&object.namespace, &object.name)
                .is_some_and(|pod| pod.meta.uid == object.uid)
        };
        let old_pods: Vec<&ObjectKey> = targets()
            .map(|target| &target.object)
            .filter(|object| object.kind == ObjectKind::Pod)
            .filter(remaining)
            .collect();
        if let Some(replicas) = scene.planned.replicas
            && replicas != deployment.replicas
        {
            return Progress::Failed(format!(
                "somebody scaled {planned} from {replicas} to {} meanwhile; it is theirs now",
                deployment.replicas
            ));
        }
        let token = scene.token();
        if let Some(rollout) = targets().find(|target| target.action == Action::Rollout) {
            let asked = deployment.restarted_by.as_deref() == Some(&*token);
            match (asked, scene.record.acted_at) {
                (false, None) if scene.overdue(within) => {
                    return Progress::Failed(format!(
                        "failed to ask for a rollout of {planned} within {within}"
                    ));
                }
                (false, None) => {
                    return Progress::Act(vec![Intent::Rollout {
                        object: rollout.object.clone(),
                        token,
                    }]);
                }
                (true, None) => return noted(scene),
                (false, Some(_)) if !old_pods.is_empty() => {
                    return Progress::Failed(format!(
                        "something reverted the rollout of {planned}"
                    ));
                }
                _ => {}
            }
        }
        let replace: Vec<Intent> = targets()
            .filter(|target| target.action == Action::Replace)
            .filter(|target| old_pods.contains(&&target.object))
            .filter(|target| {
                let pod = scene
                    .model
                    .pods
                    .get(&target.object.namespace, &target.object.name);
                pod.is_some_and(|pod| pod.meta.deleting.is_none())
            })
            .map(|target| Intent::Replace(target.object.clone()))
            .collect();
        if !replace.is_empty() && !scene.overdue(within) {
            return Progress::Act(replace);
        }
        if scene.record.acted_at.is_none() && replace.is_empty() {
            return noted(scene);
        }
        match missing(scene, deployment, &old, &old_pods) {
            None => Progress::Done(
                format!(
                    "{} of {planned} new and Ready, leases taken over",
                    count(wanted(deployment), "pod")
                ),
                Vec::new(),
            ),
            Some(missing) if scene.overdue(within) => Progress::Failed(format!(
                "{missing} within {within} of the restart of {planned}"
            )),
            Some(_) => Progress::Wait(scene.deadline(within)),
        }
    }
}

fn noted(scene: &Scene<'_>) -> Progress {
    Progress::Note(StepRecord {
        acted_at: Some(scene.now),
        ..scene.record.clone()
    })
}

/// How many pods the Deployment asks for.
fn wanted(deployment: &Deployment) -> usize {
    usize::try_from(deployment.replicas).unwrap_or(0)
}

/// What the cluster does not show yet, or `None` when the restart is complete.
fn missing(
    scene: &Scene<'_>,
    deployment: &Deployment,
    old: &HashSet<&Uid>,
    old_pods: &[&ObjectKey],
) -> Option<String> {
    if !old_pods.is_empty() {
        return Some(format!("{} did not go", some(old_pods.iter().copied())));
    }
    let leases = leases(scene, deployment);
    for lease in &leases {
        // By pod, not by name: a holder's name may be cut, and an old holder's lease outlives its pod.
        let holder = scene.model.holder(lease);
        let new = |pod: &Pod| !old.contains(&pod.meta.uid) && pod.meta.deleting.is_none();
        let taken = lease.held(scene.now) && holder.is_some_and(new);
        if !taken {
            return Some(format!(
                "nobody took over the lease {}/{}",
                lease.namespace, lease.name
            ));
        }
    }
    if leases.is_empty() {
        return Some(format!("there is no lease of {}", driver(scene)));
    }
    let ready = scene
        .model
        .pods
        .iter()
        .filter(|pod| {
            pod.meta.namespace == deployment.meta.namespace && !old.contains(&pod.meta.uid)
        })
        .filter(|pod| belongs(pod, deployment) && pod.ready && pod.meta.deleting.is_none())
        .count();
    let wanted = wanted(deployment);
    (ready < wanted).then(|| format!("only {ready} of {wanted} new pods are Ready"))
}

fn driver<'a>(scene: &'a Scene<'_>) -> &'a str {
    scene.status.plan.as_ref().map_or("", |plan| &plan.driver)
}

/// The leases of the driver's sidecars, which are where their pods are.
fn leases<'a>(scene: &'a Scene<'_>, deployment: &Deployment) -> Vec<&'a Lease> {
    let (provisioner, snapshotter) = lease_names(driver(scene));
    let names = [provisioner.as_str(), snapshotter.as_str()];
    scene
        .model
        .leases
        .iter()
        .filter(|lease| lease.namespace == deployment.meta.namespace)
        .filter(|lease| names.contains(&&*lease.name))
        .collect()
}

/// Whether the pod is of this Deployment: its ReplicaSet bears the Deployment's name and the template's hash.
fn belongs(pod: &Pod, deployment: &Deployment) -> bool {
    let (Some((_, owner)), Some(hash)) = (&pod.controller, &pod.template_hash) else {
        return false;
    };
    owner
        .strip_suffix(&**hash)
        .and_then(|name| name.strip_suffix('-'))
        == Some(&*deployment.meta.name)
}
