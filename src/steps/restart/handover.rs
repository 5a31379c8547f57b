//! The handover of leases whose holder is gone.
//!
//! Rook's sidecars do not release a lease on exit, and the next one waits 137 s and more for it to expire. Once no old
//! process can run any more, the holder is removed from the lease instead, as client-go does where it releases one. That
//! takes proof for every old pod: its node reported its containers as terminated (after a forced deletion it has not), and
//! that node is Ready. In any doubt the lease expires by itself.
//!
//! A new sidecar that tries just before the handover retries after 1 to 2.2 retry periods (client-go, `JitterFactor` 1.2; 26 to
//! 57 s with Rook). The handover therefore happens once the phase of every old pod proves its end, before its object is
//! removed: new pods of a Deployment with strategy `Recreate` are created at that removal.

use jiff::Timestamp;

use super::Restart;
use crate::api::Action;
use crate::api::remediation::StepRecord;
use crate::api::{ObjectKey, ObjectKind};
use crate::model::records::{Lease, Pod};
use crate::model::{Provisioner, is_random_identity};
use crate::steps::{Intent, StepDecision};

/// The leases to record as evidence of their holders before an attempt writes anything. A lease is recorded only if its holder is
/// among the pods that are replaced, as far as that is known, and none if another pod is terminating already. A lease that
/// is not recorded is not handed over.
pub(super) fn unrecorded_leases(restart: &Restart<'_>) -> Vec<ObjectKey> {
    let (cx, record) = (restart.cx, restart.record);
    let untouched = record.acted_at.is_none()
        && cx
            .model
            .pods
            .iter()
            .all(|pod| pod.meta.deleting.is_none() || !cx.model.belongs(pod, restart.workload));
    if !untouched {
        return Vec::new();
    }
    leases(restart)
        .filter(|object| recorded_holder(restart, object).is_none())
        .filter(|object| is_held_by_old(restart, object))
        .cloned()
        .collect()
}

/// The next action for leases that still name an ended holder: hand over, or record why to wait; `None` if that is recorded
/// already.
pub(super) fn hand_over(restart: &Restart<'_>, replaced_at: Timestamp) -> Option<StepDecision> {
    let (cx, record) = (restart.cx, restart.record);
    let of = cx.model.provisioner_of(restart.workload, restart.driver());
    let (mut intents, mut waits) = (Vec::new(), None);
    for lease in of.leases() {
        // A new pod that has the holder's identity takes the lease at once.
        let mut holders = cx.model.holders(&of, lease).into_iter();
        if restart.taken_over(&of, lease, replaced_at)
            || holders.any(|pod| restart.old_pod(&pod.meta.uid).is_none())
        {
            continue;
        }
        let Some(holder) = &lease.holder else {
            continue;
        };
        match blocker(restart, &of, lease, replaced_at) {
            None => intents.push(Intent::HandOver {
                object: lease.key(),
                holder: holder.clone(),
                renewed: lease.renewed,
            }),
            Some(blocker) => waits = waits.or_else(|| Some(waiting(lease, &blocker))),
        }
    }
    if !intents.is_empty() {
        return Some(StepDecision::Act(intents));
    }
    let message = waits.unwrap_or_default();
    (message != record.message).then(|| {
        StepDecision::Note(StepRecord {
            message,
            ..record.clone()
        })
    })
}

fn waiting(lease: &Lease, blocker: &str) -> String {
    format!(
        "waits until lease {}/{} expires, up to {} s after its last renewal: {blocker}",
        lease.namespace, lease.name, lease.seconds
    )
}

/// The reason `lease` must not be handed over, or `None`.
fn blocker(
    restart: &Restart<'_>,
    of: &Provisioner<'_>,
    lease: &Lease,
    replaced_at: Timestamp,
) -> Option<String> {
    let model = restart.cx.model;
    let key = lease.key();
    if lease.renewed.is_some_and(|renewed| renewed > replaced_at) {
        return Some("it was renewed after every old pod had ended".to_owned());
    }
    if !leases(restart).any(|planned| *planned == key) {
        return Some("it is not in the plan".to_owned());
    }
    let Some(recorded) = recorded_holder(restart, &key) else {
        return Some("its holder before the restart is unknown".to_owned());
    };
    let holder = lease.holder.as_deref().unwrap_or_default();
    if recorded != holder {
        return Some("its holder changed during the restart".to_owned());
    }
    if is_random_identity(holder, restart.driver())
        && let Some(blocker) = other_possible_holder(restart, lease)
    {
        return Some(blocker);
    }
    if let Some(rival) = model.rivals(of, lease).next() {
        let rival = rival.meta.key(ObjectKind::Pod);
        return Some(format!("{rival} may hold it, too"));
    }
    let going = |pod: &&Pod| {
        let old_and_over = pod.is_over() && restart.old_pod(&pod.meta.uid).is_some();
        pod.meta.deleting.is_some() && !old_and_over && model.belongs(pod, restart.workload)
    };
    if let Some(pod) = model.pods.iter().find(going) {
        let pod = pod.meta.key(ObjectKind::Pod);
        return Some(format!("{pod} is still terminating"));
    }
    let targets = restart.step.targets.iter();
    let mut pods = targets
        .map(|target| &target.object)
        .filter(|object| object.kind == ObjectKind::Pod);
    pods.find_map(|pod| {
        let node = match restart.old_pod(&pod.uid) {
            Some(old) => old.sidecars.as_ref().and_then(|it| it.node.as_ref()),
            None => match model.departures.of(&pod.uid) {
                None => return Some(format!("the end of {pod} was not observed")),
                Some(departure) if !departure.ended => {
                    return Some(format!(
                        "{pod} was removed before its containers were seen to end"
                    ));
                }
                Some(departure) => departure.node.as_ref(),
            },
        };
        let Some(node) = node else {
            return Some(format!("the node of {pod} is unknown"));
        };
        let ready = model.nodes.get_cluster(node).is_some_and(|node| node.ready);
        (!ready).then(|| format!("node {node} of {pod} is not Ready"))
    })
}

fn leases<'a>(restart: &Restart<'a>) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
    let targets = restart.step.targets.iter();
    targets
        .filter(|target| target.action == Action::HandOver)
        .map(|target| &target.object)
}

/// The reason a pod other than the old ones may hold a lease under a random identity, which names no pod.
fn other_possible_holder(restart: &Restart<'_>, lease: &Lease) -> Option<String> {
    let model = restart.cx.model;
    let mut not_ready: Vec<_> = model.nodes.iter().filter(|node| !node.ready).collect();
    not_ready.sort_by_key(|node| &node.name);
    if let Some(node) = not_ready.first() {
        let name = &node.name;
        return Some(format!(
            "a process on node {name}, which is not Ready, may hold it"
        ));
    }
    let by_force = model.departures.not_ended().any(|(uid, departure)| {
        departure.namespace == lease.namespace && !restart.old.contains(uid)
    });
    by_force.then(|| "a pod that was removed before it was seen to end may hold it".to_owned())
}

/// The holder of the lease before this attempt wrote anything. The attempt before recorded the holder that its own restart ended.
/// Records are counted and not dated, as the clocks of two replicas differ: after an attempt without one, the next makes two.
fn recorded_holder(restart: &Restart<'_>, object: &ObjectKey) -> Option<String> {
    let evidence = restart.cx.status().evidence.iter();
    let recorded = evidence.filter(|evidence| evidence.object == *object);
    let holders = recorded.filter_map(|recorded| {
        let content: serde_json::Value = serde_json::from_str(&recorded.content).ok()?;
        let holder = content.pointer("/object/spec/holderIdentity")?;
        holder.as_str().map(str::to_owned)
    });
    let mut holders: Vec<_> = holders.collect();
    let attempts = usize::try_from(restart.record.attempt).unwrap_or(usize::MAX);
    if holders.len() < attempts {
        return None;
    }
    holders.pop()
}

fn is_held_by_old(restart: &Restart<'_>, object: &ObjectKey) -> bool {
    let model = restart.cx.model;
    let lease = model.leases.get(&object.namespace, &object.name);
    let Some(lease) = lease.filter(|lease| lease.uid == object.uid) else {
        return false;
    };
    let Some(holder) = &lease.holder else {
        return false;
    };
    let of = model.provisioner_of(restart.workload, restart.driver());
    let holders = model.holders(&of, lease);
    let old = |pod: &&Pod| restart.old.contains(&pod.meta.uid);
    if is_random_identity(holder, restart.driver()) {
        return only_old_run(restart);
    }
    !holders.is_empty() && holders.iter().all(old)
}

/// Whether no pod of the workload runs but the planned ones. One that came after the plan may hold a lease under an identity that
/// names no pod, and the restart does not end it.
fn only_old_run(restart: &Restart<'_>) -> bool {
    let model = restart.cx.model;
    let of_workload = model.pods.iter();
    let mut running =
        of_workload.filter(|pod| !pod.finished && model.belongs(pod, restart.workload));
    running.all(|pod| restart.old.contains(&pod.meta.uid))
}
