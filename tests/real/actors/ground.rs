//! The environment of the script: the real stack, or the simulated world on its embedded API server.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use locksmith::api::hold::{SnapshotHold, SnapshotHoldSpec};
use locksmith::demo::scenario::until;
use locksmith::demo::world::Scope;
use locksmith::demo::{Cluster, show};
use serde_json::Value;

use crate::layout::NAMESPACE;
use crate::render;
use crate::stack::Stack;
use crate::{PATIENCE, daemon::POLL};

/// Selects the provisioner's pods.
const PODS: &str = "app=csi-rbdplugin-provisioner";
/// Container in them that logs refusals.
const DRIVER: &str = "csi-rbdplugin";
const REPLICAS: usize = 2;

/// Everything except for letting a call hang uses the API.
pub enum Ground {
    Real(Box<Stack>),
    Simulated(Box<Cluster>),
}

impl Ground {
    pub fn client(&self) -> Client {
        match self {
            Self::Real(stack) => stack.client(),
            Self::Simulated(cluster) => cluster.server.client(),
        }
    }

    /// Lets calls hang from now on: on the real stack those that match `rules`, once each; in the simulated world all.
    pub fn hang(&self, rules: &[Value]) {
        match self {
            Self::Real(stack) => stack.ceph.set_faults(rules),
            Self::Simulated(cluster) => cluster.world.ceph().sicken(Scope::All),
        }
    }

    /// Waits until the calls with these request names hang; later calls do not.
    pub async fn hung(&self, requests: &[String]) {
        match self {
            Self::Real(stack) => {
                let hangs = |request: &String, calls: &[crate::ceph::Call]| {
                    let mut calls = calls.iter();
                    calls.any(|call| call.event == "hang" && call.name == *request)
                };
                let all = |calls: &[_]| requests.iter().all(|request| hangs(request, calls));
                stack.ceph.until("the calls to hang", all).await;
            }
            Self::Simulated(cluster) => {
                let ceph = cluster.world.ceph();
                let locked = |request: &String| ceph.locks().iter().any(|lock| lock.id == *request);
                let hung = async {
                    while !requests.iter().all(locked) {
                        tokio::time::sleep(POLL).await;
                    }
                };
                tokio::time::timeout(PATIENCE, hung).await.unwrap();
                ceph.heal();
            }
        }
    }

    /// Deletes the provisioner's pods, and waits until their replacements are Ready.
    pub async fn restart(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client(), NAMESPACE);
        let listed = ListParams::default().labels(PODS);
        let mut old = Vec::new();
        for pod in pods.list(&listed).await.unwrap() {
            old.extend(pod.uid());
            let params = DeleteParams::default();
            pods.delete(&pod.name_any(), &params).await.unwrap();
        }
        assert_eq!(old.len(), REPLICAS);
        let new = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions
                .flatten()
                .any(|one| (&*one.type_, &*one.status) == ("Ready", "True"));
            ready
                && pod
                    .labels()
                    .get("app")
                    .is_some_and(|app| PODS.ends_with(app))
        };
        let replaced = |all: &[std::sync::Arc<Pod>]| {
            let gone = !all
                .iter()
                .any(|pod| old.contains(&pod.uid().unwrap_or_default()));
            gone && all.iter().filter(|pod| new(pod)).count() == REPLICAS
        };
        until(pods, "new pods", PATIENCE, replaced).await.unwrap();
    }

    /// Holds a source for an hour; returns the hold's name.
    pub async fn create_hold(&self, uid: &str, place: &str) -> String {
        let spec = SnapshotHoldSpec {
            remediation: Some("run".to_owned()),
            until: Timestamp::now() + SignedDuration::from_hours(1),
            reason: None,
            held_by: None,
            sources: BTreeMap::from([(uid.into(), place.to_owned())]),
            snapshot_classes: Vec::new(),
        };
        let hold = SnapshotHold::new("script", spec);
        let created = self.holds().create(&Default::default(), &hold).await;
        created.unwrap().name_any()
    }

    pub async fn delete_hold(&self, name: &str) {
        self.holds()
            .delete(name, &Default::default())
            .await
            .unwrap();
    }

    fn holds(&self) -> Api<SnapshotHold> {
        let namespace = match self {
            Self::Real(_) => render::NAMESPACE,
            Self::Simulated(_) => show::NAMESPACE,
        };
        Api::namespaced(self.client(), namespace)
    }

    /// The driver's log of each pod.
    pub async fn driver_logs(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client(), NAMESPACE);
        let params = LogParams {
            container: Some(DRIVER.to_owned()),
            ..LogParams::default()
        };
        let mut logs = Vec::new();
        for pod in pods
            .list(&ListParams::default().labels(PODS))
            .await
            .unwrap()
        {
            logs.push(pods.logs(&pod.name_any(), &params).await.unwrap());
        }
        logs
    }
}
