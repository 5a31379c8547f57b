//! The life cycle of the chart with the real Helm: install, upgrade, uninstall.

use std::process::Output;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use locksmith::api::remediation::Remediation;
use serde_json::json;
use tokio::process::Command;

use crate::render::{self, NAMESPACE};
use crate::support::stage::{PATIENCE, named};
use crate::testbed::{Options, Testbed};
use locksmith::demo::scenario;

const RELEASE: &str = "locksmith-release";

struct Helm<'a> {
    testbed: &'a Testbed,
    home: tempfile::TempDir,
}

impl Helm<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut helm = Command::new(render::tool("helm"));
        helm.args(args)
            .args(["--namespace", NAMESPACE, "--kubeconfig"])
            .arg(self.testbed.kubeconfig())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("HOME", self.home.path())
            .kill_on_drop(true);
        helm
    }

    async fn run(&self, args: &[&str]) {
        succeeded(&self.command(args).output().await.unwrap());
    }
}

fn succeeded(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// Names of the roles with write access, which only some modes have.
async fn writing_roles(client: &Client) -> Vec<String> {
    let all = ListParams::default().labels("app.kubernetes.io/name=locksmith");
    let cluster: Api<ClusterRole> = Api::all(client.clone());
    let roles: Api<Role> = Api::all(client.clone());
    let mut names: Vec<_> = cluster
        .list(&all)
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    names.extend(
        roles
            .list(&all)
            .await
            .unwrap()
            .iter()
            .map(ResourceExt::name_any),
    );
    names.retain(|name| !["locksmith-read", "locksmith-logs"].contains(&&**name));
    names.sort();
    names
}

/// Acts as the kubelet: the container of the Job's pod has succeeded.
async fn end_well(client: &Client, pod: &Pod) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn helm_installs_upgrades_and_uninstalls() {
    let testbed = Testbed::start(Options::default()).await;
    let client = testbed.client();
    let rook = named::<Namespace>(json!({"name": "rook-ceph"}), json!({}));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &rook)
        .await
        .unwrap();
    let helm = Helm {
        testbed: &testbed,
        home: tempfile::tempdir().unwrap(),
    };

    let chart = ["locksmith", "deploy/chart"];
    let install = [
        "install",
        chart[0],
        chart[1],
        "--create-namespace",
        "--set",
        "mode=act",
    ];
    helm.run(&install).await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    deployments.get("locksmith").await.unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.get(Remediation::crd_name()).await.unwrap();
    let of_act = [
        "locksmith-act",
        "locksmith-hold",
        "locksmith-record",
        "locksmith-record",
        "locksmith-restart",
    ];
    assert_eq!(writing_roles(&client).await, of_act);

    helm.run(&["upgrade", chart[0], chart[1], "--set", "mode=observe"])
        .await;
    assert_eq!(writing_roles(&client).await, Vec::<String>::new());

    let uninstalling = helm.command(&["uninstall", "locksmith"]).output();
    let released = async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let of_job = |pod: &Pod| {
            pod.labels()
                .get("app.kubernetes.io/name")
                .map(String::as_str)
                == Some(RELEASE)
        };
        let pods = scenario::until(pods, "the Job's pod", PATIENCE, |pods| {
            pods.iter().any(|pod| of_job(pod))
        });
        let pods = pods.await.unwrap();
        let pod = pods.iter().find(|pod| of_job(pod)).unwrap();
        // Nothing is left that could create a hold, and the Job may start.
        assert!(deployments.get_opt("locksmith").await.unwrap().is_none());
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.service_account_name.as_deref(), Some(RELEASE));
        let args = spec.containers[0].args.as_ref().unwrap();
        let ours = format!("--namespace={NAMESPACE}");
        assert_eq!(*args, ["release", "--all", "--after-daemon", &ours]);
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
        bindings.get(RELEASE).await.unwrap();
        end_well(&client, pod).await;
    };
    let (uninstalled, ()) = tokio::join!(uninstalling, released);
    succeeded(&uninstalled.unwrap());

    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    assert!(jobs.get_opt(RELEASE).await.unwrap().is_none());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    assert!(accounts.get_opt(RELEASE).await.unwrap().is_none());
    assert_eq!(writing_roles(&client).await, Vec::<String>::new());
    // Records outlive the program.
    crds.get(Remediation::crd_name()).await.unwrap();
}
