//! A real API server takes everything that is installed, and has nothing to say of it.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::PostParams;
use kube::{Api, CustomResourceExt};
use locksmith::api::remediation::Remediation;
use serde_json::{Value, json};

use crate::render::{self, NAMESPACE};
use crate::testbed::{Options, Testbed};

/// Namespaces that are to be there, and whether they are locksmith's own.
async fn namespaces(testbed: &Testbed, objects: &[Value]) {
    let own = objects.iter().find(|it| it["kind"] == "Namespace").unwrap();
    let rook = json!({"metadata": {"name": "rook-ceph"}});
    let api: Api<Namespace> = Api::all(testbed.client());
    for namespace in [own, &rook] {
        let namespace = serde_json::from_value(namespace.clone()).unwrap();
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }
}

/// Everything that is in deploy/: each mode, the uninstall, monitoring, and the chart with every value set.
fn everything() -> Vec<Value> {
    let directories = [
        "deploy/overlays/observe",
        "deploy/overlays/plan",
        "deploy/overlays/act",
        "deploy/uninstall",
        "deploy/chart/monitoring",
    ];
    let kustomized = directories.into_iter().map(render::kustomize);
    let charted = render::helm(&[
        "mode=act",
        "auth.kubernetes=true",
        "auth.metrics=true",
        "tlsSecret=certificate",
        "imagePullSecrets[0].name=registry",
        "priorityClassName=system-cluster-critical",
        "nodeSelector.kubernetes\\.io/os=linux",
        "tolerations[0].operator=Exists",
    ]);
    let texts = kustomized.chain([charted]);
    texts.flat_map(|text| render::objects(&text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn every_object_is_valid_and_the_pods_are_restricted() {
    let options = Options {
        controllers: false,
        crds: vec![Remediation::crd()],
        ..Options::default()
    };
    let testbed = Testbed::start(options).await;
    let objects = everything();
    namespaces(&testbed, &objects).await;

    // The kinds of the Prometheus Operator are not served here: tests/deploy looks at those two.
    let (foreign, served): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| object["apiVersion"] == "monitoring.coreos.com/v1");
    let mut left_out: Vec<_> = foreign.iter().map(|it| it["kind"].to_string()).collect();
    left_out.sort();
    assert_eq!(left_out, ["\"PrometheusRule\"", "\"ServiceMonitor\""]);

    let flags = ["--dry-run=server", "--force-conflicts"];
    let said = render::apply_with(testbed.kubeconfig(), &served, &flags);
    assert_eq!(said.lines().count(), served.len(), "{said}");

    // Of a Deployment's or Job's pods the server only warns; a pod itself it refuses.
    let pods: Api<Pod> = Api::namespaced(testbed.client(), NAMESPACE);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut restricted = 0;
    for object in &served {
        let mut pod = object["spec"]["template"].clone();
        if !pod["spec"]["containers"].is_array() {
            continue;
        }
        pod["metadata"]["name"] = json!("locksmith");
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&dry, &pod).await.unwrap();
        restricted += 1;
    }
    assert_eq!(
        restricted, 6,
        "a Deployment for each mode, the chart's, and both Jobs"
    );
}
