//! The layouts of a driver, and how its processes are replaced in each.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt;
use locksmith::api::RESTART_ANNOTATION;
use locksmith::api::remediation::Phase;
use locksmith::demo::world::{Layout, Timings, WorldConfig, provisioner_deployment};
use serde_json::{Value, json};

use crate::support::stage::{Settings, Setup, Stage};
use crate::testbed::Event;

/// Parts that a restart may change, and parts that it may not.
struct Parts {
    provisioner: Deployment,
    provisioner_pods: BTreeSet<String>,
    nodes: Nodes,
}

/// The driver's part on every node: uids and templates of the DaemonSets, and uids of their pods.
#[derive(Debug, PartialEq)]
struct Nodes {
    sets: BTreeMap<String, (String, PodTemplateSpec)>,
    pods: BTreeSet<String>,
}

impl Parts {
    async fn of(stage: &Stage) -> Self {
        let name = provisioner_deployment(stage.world.config());
        let deployments = stage.api::<Deployment>("rook-ceph");
        let sets = stage.list::<DaemonSet>().await;
        let sets = sets.into_iter().map(|set| {
            let (name, uid) = (set.name_any(), set.uid().unwrap());
            (name, (uid, set.spec.unwrap().template))
        });
        let sets: BTreeMap<_, _> = sets.collect();
        let pods = stage.list::<Pod>().await;
        let of_app = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
            let labelled = pods.iter().filter(|pod| {
                let app = pod.labels().get("app");
                app.is_some_and(|app| wanted(app))
            });
            labelled.filter_map(ResourceExt::uid).collect()
        };
        Self {
            provisioner_pods: of_app(&|app| app == name),
            nodes: Nodes {
                pods: of_app(&|app| sets.contains_key(app)),
                sets,
            },
            provisioner: deployments.get(&name).await.unwrap(),
        }
    }

    fn template(&self) -> &PodTemplateSpec {
        &self.provisioner.spec.as_ref().unwrap().template
    }

    fn annotation(&self, key: &str) -> Option<&String> {
        let annotations = self.template().metadata.as_ref()?.annotations.as_ref()?;
        annotations.get(key)
    }
}

/// Heals a jam in a cluster with this layout; returns the parts before and after, and the writes.
async fn healed(layout: Layout) -> (Parts, Parts, Vec<Event>) {
    let world = WorldConfig {
        layout,
        ..WorldConfig::new(Timings::fast())
    };
    let stage = Stage::jammed_with(Setup {
        world,
        ..Setup::default()
    })
    .await;
    let before = Parts::of(&stage).await;
    assert_eq!(before.provisioner_pods.len(), 2);
    let nodes = stage.world.config().nodes.len();
    assert_eq!(
        (before.nodes.sets.len(), before.nodes.pods.len()),
        (1, nodes)
    );

    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    let after = Parts::of(&stage).await;
    assert_eq!(after.provisioner_pods.len(), 2);
    assert!(after.provisioner_pods.is_disjoint(&before.provisioner_pods));
    assert_eq!(after.provisioner.uid(), before.provisioner.uid());
    assert_eq!(after.nodes, before.nodes);

    let mut writes = stage.writes_elsewhere().await;
    let workload = |event: &Event| {
        matches!(
            &*event.resource,
            "deployments" | "daemonsets" | "replicasets" | "pods"
        )
    };
    writes.retain(workload);
    (before, after, writes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn classic_provisioner_is_restarted_by_rollout() {
    let (before, after, writes) = healed(Layout::Classic).await;
    assert_eq!(before.provisioner.name_any(), "csi-rbdplugin-provisioner");
    let [rollout] = &writes[..] else {
        panic!("not one write: {writes:#?}")
    };
    assert_eq!((&*rollout.verb, rollout.code), ("patch", 200));
    assert_eq!(
        (&*rollout.resource, &*rollout.name),
        ("deployments", "csi-rbdplugin-provisioner")
    );
    // The annotation that people know, and the one of this restart; guarded by the version that was read.
    for key in ["kubectl.kubernetes.io/restartedAt", RESTART_ANNOTATION] {
        assert_eq!(before.annotation(key), None);
        assert!(after.annotation(key).is_some(), "{key}");
    }
    let body = rollout.request_body.as_ref().unwrap();
    let version = body.pointer("/metadata/resourceVersion");
    assert!(version.is_some_and(Value::is_string), "{body}");
}

/// Heals a jam in which both leases are held under an identity that the new pods share with the old ones.
async fn healed_under_the_same_identity(layout: Layout, pods: usize) -> Vec<Event> {
    let world = WorldConfig {
        layout,
        ..WorldConfig::new(Timings::fast())
    };
    let setup = Setup {
        world,
        ..Setup::default()
    };
    let stage = Stage::jammed_with(setup).await;
    let uids = async || -> BTreeSet<String> {
        let pods = stage.list::<Pod>().await;
        let app = provisioner_deployment(stage.world.config());
        let of_it = |pod: &&Pod| pod.labels().get("app") == Some(&app);
        pods.iter()
            .filter(of_it)
            .filter_map(ResourceExt::uid)
            .collect()
    };
    let before = uids().await;
    assert_eq!(before.len(), pods);
    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    assert!(uids().await.is_disjoint(&before));
    stage.writes_elsewhere().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn host_network_provisioner_is_restarted_by_rollout() {
    let writes = healed_under_the_same_identity(Layout::HostNetwork, 1).await;
    let rollouts = writes
        .iter()
        .filter(|event| event.resource == "deployments");
    assert_eq!(rollouts.count(), 1, "{writes:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn stateful_set_provisioner_is_restarted_by_deletion() {
    let writes = healed_under_the_same_identity(Layout::StatefulSet, 2).await;
    let deleted = writes.iter().filter(|event| event.resource == "pods");
    assert_eq!(deleted.count(), 2, "{writes:#?}");
    assert!(!writes.iter().any(|event| event.resource == "statefulsets"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn operator_owned_provisioner_is_restarted_by_deletion() {
    let (before, after, writes) = healed(Layout::OperatorManaged).await;
    assert_eq!(
        before.provisioner.name_any(),
        "rook-ceph.rbd.csi.ceph.com-ctrlplugin"
    );
    assert_eq!(after.template(), before.template());
    let mut deleted = BTreeSet::new();
    for event in writes {
        assert_eq!(
            (&*event.verb, &*event.resource, event.code),
            ("delete", "pods", 200),
            "{event:#?}"
        );
        let preconditions = event.request_body.unwrap()["preconditions"].clone();
        assert_ne!(preconditions["resourceVersion"], json!(null));
        deleted.insert(preconditions["uid"].as_str().unwrap().to_owned());
    }
    assert_eq!(deleted, before.provisioner_pods);
}
