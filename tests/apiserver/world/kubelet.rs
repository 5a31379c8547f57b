//! The world's scheduler and kubelet: Pods wait for their volumes, run, write logs and are removed.

use std::sync::Arc;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use locksmith::demo::scenario::{App, until};
use locksmith::demo::world::{PodRef, WAITING_CLASS};

use crate::world::ground::{Ground, PATIENCE};

impl Ground {
    fn pods(&self, app: &App) -> Api<Pod> {
        Api::namespaced(self.testbed.client(), &app.namespace)
    }

    /// The app's Pod, once it is ready.
    async fn ready_pod(&self, app: &App) -> Pod {
        let ready = |pod: &Pod| {
            let status = pod.status.as_ref();
            let containers = status.and_then(|status| status.container_statuses.as_ref());
            containers.is_some_and(|containers| containers.iter().all(|container| container.ready))
        };
        let find = |pods: &[Arc<Pod>]| pods.iter().find(|pod| ready(pod)).cloned();
        let pods = until(self.pods(app), "the app to run", PATIENCE, |pods| {
            find(pods).is_some()
        })
        .await;
        let pod = find(&pods.expect("the app runs")).expect("still there");
        Pod::clone(&pod)
    }
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn waiting_claim_is_provisioned_for_the_pods_node() {
    let ground = Ground::shared().await;
    let app = App::new(&ground.testbed.namespace("waiting").await, "plex").class(WAITING_CLASS);
    app.deploy(&ground.person(), &app.claim()).await.unwrap();
    let pod = ground.ready_pod(&app).await;
    let claim = ground.claims(&app).get("plex").await.unwrap();
    let node = pod.spec.unwrap().node_name;
    assert!(node.is_some());
    assert_eq!(
        claim
            .annotations()
            .get("volume.kubernetes.io/selected-node"),
        node.as_ref()
    );
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn pod_with_a_missing_claim_is_not_scheduled() {
    let ground = Ground::shared().await;
    let app = App::new(&ground.testbed.namespace("missing").await, "radarr");
    ground
        .person()
        .create(&ground.person().within(&app.namespace), &app.deployment())
        .await
        .unwrap();
    let message = "0/3 nodes are available: persistentvolumeclaim \"radarr\" not found.";
    let told = |pod: &Pod| {
        let conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter()
                .any(|condition| condition.message.as_deref() == Some(message))
        })
    };
    until(ground.pods(&app), message, PATIENCE, |pods| {
        pods.iter().any(|pod| told(pod))
    })
    .await
    .unwrap();
    // The creation of the claim lets the Pod start.
    ground
        .person()
        .create(&ground.claims(&app), &app.claim())
        .await
        .unwrap();
    ground.ready_pod(&app).await;
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn log_is_followed_until_the_pod_ends() {
    let ground = Ground::shared().await;
    let app = App::new(&ground.testbed.namespace("logs").await, "sonarr");
    app.deploy(&ground.person(), &app.claim()).await.unwrap();
    let pod = ground.ready_pod(&app).await;
    let write = |text: &str| ground.world.logs().append(&PodRef::of(&pod), "app", text);
    for line in ["one", "two", "three"] {
        write(line);
    }
    let options = LogParams {
        container: Some("app".to_owned()),
        follow: true,
        tail_lines: Some(2),
        timestamps: true,
        ..LogParams::default()
    };
    let mut lines = ground
        .pods(&app)
        .log_stream(&pod.name_any(), &options)
        .await
        .unwrap()
        .lines();
    let mut next = async || {
        lines
            .try_next()
            .await
            .unwrap()
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
    };
    assert_eq!(next().await.as_deref(), Some("two"));
    assert_eq!(next().await.as_deref(), Some("three"));
    write("four");
    assert_eq!(next().await.as_deref(), Some("four"));

    let stop = serde_json::json!({"spec": {"replicas": 0}});
    let deployments = ground
        .person()
        .within::<k8s_openapi::api::apps::v1::Deployment>(&app.namespace);
    ground
        .person()
        .merge(&deployments, "sonarr", &stop)
        .await
        .unwrap();
    assert_eq!(next().await, None);
    until(
        ground.pods(&app),
        "the pod to go",
        PATIENCE,
        <[_]>::is_empty,
    )
    .await
    .unwrap();
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn node_plugin_runs_on_every_node() {
    let ground = Ground::shared().await;
    let config = ground.world.config();
    let pods: Api<Pod> = Api::namespaced(ground.testbed.client(), &config.namespace);
    let plugins = ListParams::default().labels("app=csi-rbdplugin");
    until(pods.clone(), "a plugin on every node", PATIENCE, |pods| {
        let plugins = pods.iter().filter(|pod| {
            pod.labels()
                .get("app")
                .is_some_and(|app| app == "csi-rbdplugin")
        });
        plugins
            .filter(|pod| {
                pod.spec
                    .as_ref()
                    .is_some_and(|spec| spec.node_name.is_some())
            })
            .count()
            == config.nodes.len()
    })
    .await
    .unwrap();
    let pods = pods.list(&plugins).await.unwrap();
    let nodes: std::collections::BTreeSet<_> = pods
        .into_iter()
        .filter_map(|pod| pod.spec?.node_name)
        .collect();
    assert_eq!(nodes, config.nodes.iter().cloned().collect());
}
