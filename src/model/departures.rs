//! Last states of the deleted pods of provisioners. They alone show whether a pod's processes had ended, and are needed
//! after its object is gone.

use std::collections::{HashMap, VecDeque};

use super::records::Pod;
use crate::api::{SharedStr, Uid};

/// Maximum number of pods, the latest ones; a restart replaces a few.
const MAX_PODS: usize = 256;

/// Last state of a deleted pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Departure {
    /// Namespace of the pod.
    pub namespace: SharedStr,
    /// The node it ran on.
    pub node: Option<SharedStr>,
    /// Whether its node had reported every container as terminated before the object was removed. If not, as after a forced
    /// deletion, they may still run.
    pub ended: bool,
}

/// The deleted pods that had a provisioner's sidecars.
#[derive(Debug, Default)]
pub struct Departures {
    pods: HashMap<Uid, Departure>,
    order: VecDeque<Uid>,
}

impl Departures {
    /// Records the last state of a deleted pod.
    pub(super) fn note(&mut self, pod: &Pod) {
        let Some(sidecars) = &pod.sidecars else {
            return;
        };
        let uid = pod.meta.uid.clone();
        let departure = Departure {
            namespace: pod.meta.namespace.clone(),
            node: sidecars.node.clone(),
            ended: sidecars.ended,
        };
        if self.pods.insert(uid.clone(), departure).is_none() {
            self.order.push_back(uid);
        }
        if self.order.len() > MAX_PODS
            && let Some(oldest) = self.order.pop_front()
        {
            self.pods.remove(&oldest);
        }
    }

    /// The recorded pods whose processes may still run.
    pub fn not_ended(&self) -> impl Iterator<Item = (&Uid, &Departure)> {
        self.pods.iter().filter(|(_, departure)| !departure.ended)
    }

    /// The pod with this uid; `None` if its deletion was not observed.
    pub fn of(&self, uid: &Uid) -> Option<&Departure> {
        self.pods.get(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{PROVISIONER, World, pod, replica};
    use crate::model::{Change, Delta};

    fn gone(pod: &Pod) -> Change {
        let (namespace, name) = (pod.meta.namespace.clone(), pod.meta.name.clone());
        Change::Pod(Delta::Delete { namespace, name })
    }

    #[test]
    fn last_state_of_a_provisioner_pod_is_recorded() {
        let killed = replica(PROVISIONER, "7d9f8b6c5d", "leadr");
        let ended = replica(PROVISIONER, "7d9f8b6c5d", "stdby").ended();
        let world = World::rook()
            .with(ended.clone())
            .with(gone(&killed))
            .with(gone(&ended));
        let of = |pod: &Pod| world.0.departures.of(&pod.meta.uid).map(|it| it.ended);
        assert_eq!((of(&killed), of(&ended)), (Some(false), Some(true)));
    }

    #[test]
    fn deletion_during_a_watch_gap_is_recorded() {
        let world = World::rook().with(Change::Pod(Delta::Init));
        let world = world
            .with(replica(PROVISIONER, "7d9f8b6c5d", "stdby"))
            .with(Change::Pod(Delta::InitDone));
        let gone = replica(PROVISIONER, "7d9f8b6c5d", "leadr").meta.uid;
        let not_ended: Vec<_> = world.0.departures.not_ended().collect();
        assert!(
            matches!(not_ended[..], [(uid, _)] if *uid == gone),
            "{not_ended:?}"
        );
    }

    /// Attack: create and delete pods without end, to crowd out those of the provisioner. Defence: only pods with its
    /// sidecars, in the namespaces of provisioners, are recorded, and the latest of them are kept.
    #[test]
    fn deletions_of_other_pods_are_not_recorded() {
        let mut mine = replica("mine", "x", "0");
        mine.meta.namespace = "tenant".into();
        let plain = pod("rook-ceph", "toolbox", &[]);
        let mut world = World::rook().with(mine.clone()).with(plain.clone());
        world = world.with(gone(&mine)).with(gone(&plain));
        assert!(world.0.departures.pods.is_empty());
        for number in 0..2 * MAX_PODS {
            let pod = replica(PROVISIONER, "7d9f8b6c5d", &number.to_string());
            world = world.with(pod.clone()).with(gone(&pod));
        }
        let departures = &world.0.departures;
        assert_eq!(
            (departures.pods.len(), departures.order.len()),
            (MAX_PODS, MAX_PODS)
        );
    }
}
