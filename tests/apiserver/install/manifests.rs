//! A real API server accepts everything that is installed, without warnings.

use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, CustomResourceExt};
use locksmith::api::remediation::Remediation;
use serde_json::{Value, json};

use crate::render::{self, NAMESPACE};
use crate::testbed::{Options, Testbed};

/// Sources of the foreign CRDs: a module that tests/testbed/kinds pins, its directory, and the files there.
const PUBLISHED: [(&str, &str, &[&str]); 4] = [
    (
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd",
        &[
            "monitoring.coreos.com_servicemonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "monitoring.coreos.com_alertmanagerconfigs.yaml",
        ],
    ),
    (
        "github.com/fluxcd/source-controller",
        "config/crd/bases",
        &["source.toolkit.fluxcd.io_gitrepositories.yaml"],
    ),
    (
        "github.com/fluxcd/helm-controller",
        "config/crd/bases",
        &["helm.toolkit.fluxcd.io_helmreleases.yaml"],
    ),
    (
        "github.com/argoproj/argo-cd/v3",
        "manifests/crds",
        &["application-crd.yaml"],
    ),
];

/// Directory of a pinned module, fetched if it is missing.
fn module(name: &str) -> PathBuf {
    let pins = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/kinds");
    let output = Command::new("go")
        .args(["-C", pins, "mod", "download", "-json", name])
        .output()
        .expect("go is installed: tests/testbed/build does it");
    assert!(output.status.success(), "{output:?}");
    let module: Value = serde_json::from_slice(&output.stdout).unwrap();
    module["Dir"].as_str().unwrap().into()
}

/// The foreign CRDs that are installed here.
fn kinds() -> Vec<CustomResourceDefinition> {
    let files = PUBLISHED.into_iter().flat_map(|(name, directory, files)| {
        let directory = module(name).join(directory);
        files.iter().map(move |file| directory.join(file))
    });
    files
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap();
            serde_saphyr::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .collect()
}

/// A shipped example.
fn example(name: &str) -> String {
    let file = format!("{}/deploy/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&file).unwrap()
}

/// The required namespaces, and whether they are locksmith's own.
async fn namespaces(testbed: &Testbed, objects: &[Value]) {
    let own = objects.iter().find(|it| it["kind"] == "Namespace").unwrap();
    let [rook, monitoring, argocd] =
        ["rook-ceph", "monitoring", "argocd"].map(|name| json!({"metadata": {"name": name}}));
    let api: Api<Namespace> = Api::all(testbed.client());
    for namespace in [own, &rook, &monitoring, &argocd] {
        let namespace = serde_json::from_value(namespace.clone()).unwrap();
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }
}

/// All objects in deploy/: each mode, the uninstall, monitoring, the chart with every value set, and the examples.
fn everything() -> Vec<Value> {
    let directories = [
        "deploy/overlays/observe",
        "deploy/overlays/plan",
        "deploy/overlays/act",
        "deploy/overlays/kube-prometheus-stack/act",
        "deploy/uninstall",
        "deploy/chart/monitoring",
    ];
    let kustomized = directories.into_iter().map(render::kustomize);
    let charted = render::helm(&[
        "mode=act",
        "auth.kubernetes=true",
        "auth.metrics=true",
        "monitoring.enabled=true",
        "monitoring.labels.release=stack",
        "tlsSecret=certificate",
        "imagePullSecrets[0].name=registry",
        "priorityClassName=system-cluster-critical",
        "nodeSelector.kubernetes\\.io/os=linux",
        "tolerations[0].operator=Exists",
    ]);
    let examples = [
        "alertmanagerconfig",
        "alertmanager-account",
        "flux",
        "argocd",
    ]
    .map(example);
    let texts = kustomized.chain([charted]).chain(examples);
    texts.flat_map(|text| render::objects(&text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn manifests_are_valid_and_pods_restricted() {
    let options = Options {
        controllers: false,
        crds: [vec![Remediation::crd()], kinds()].concat(),
        ..Options::default()
    };
    let testbed = Testbed::start(options).await;
    let objects = everything();
    namespaces(&testbed, &objects).await;

    let of_others = [
        "ServiceMonitor",
        "PrometheusRule",
        "AlertmanagerConfig",
        "GitRepository",
        "HelmRelease",
        "Application",
    ];
    for kind in of_others {
        let there = objects.iter().any(|object| object["kind"] == kind);
        assert!(there, "{kind}");
    }
    let flags = ["--dry-run=server", "--force-conflicts"];
    let said = render::apply_with(testbed.kubeconfig(), &objects, &flags);
    assert_eq!(said.lines().count(), objects.len(), "{said}");

    // For the pods of a Deployment or Job the server only warns; a pod itself it refuses.
    let pods: Api<Pod> = Api::namespaced(testbed.client(), NAMESPACE);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut restricted = 0;
    for object in &objects {
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
        restricted, 8,
        "a Deployment for each mode, that beside a stack, the chart's, and three Jobs"
    );
}
