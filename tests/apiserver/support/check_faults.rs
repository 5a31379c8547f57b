//! Faults that `locksmith check` has to find, one after the other, and each by its own check alone. Once a fault is undone,
//! every check has to pass again.

use std::cell::Cell;
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt, Resource, ResourceExt};
use locksmith::api::hold::{POLICY_NAME, SnapshotHold};
use locksmith::api::remediation::Remediation;
use locksmith::api::volsync::ReplicationSource;
use locksmith::cluster::leader::LEASE_NAME;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::command::{locksmith, said};
use super::daemon::Daemon;
use super::monitors::{Monitor, Places};
use crate::render::NAMESPACE;
use crate::shipped::text;
use crate::testbed::{Identity, Testbed};

/// Namespace of the provisioner.
const ROOK: &str = "rook-ceph";

/// Time limit for a check to change.
const PATIENCE: Duration = Duration::from_secs(300);

/// An unreachable address, so that no alert starts a run.
const WEBHOOK: &str = "http://127.0.0.1:9/webhook";

/// An unreachable target.
const NOBODY: &str = "127.0.0.1:9";

/// A cluster in order, in which a daemon leads.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// Its API server, as the administrator.
    pub admin: &'a Testbed,
    /// The daemon's account.
    pub daemon: &'a Identity,
    /// Its user name.
    pub account: &'a str,
    /// The provisioner's Deployment, in namespace `rook-ceph`.
    pub provisioner: &'a str,
}

/// The faults, and what `locksmith check` reads besides the cluster.
pub struct Faults<'a> {
    cluster: Cluster<'a>,
    daemon: &'a Daemon,
    places: Places,
    config: tempfile::NamedTempFile,
    alertmanager: Option<Monitor>,
    prometheus: Option<Monitor>,
    found: Cell<usize>,
}

impl<'a> Faults<'a> {
    /// Starts Prometheus and Alertmanager at `places`, which `config` names, with the shipped rules and routes.
    pub async fn start(
        cluster: Cluster<'a>,
        daemon: &'a Daemon,
        places: Places,
        config: &str,
    ) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let mut faults = Self {
            cluster,
            daemon,
            places,
            config: file,
            alertmanager: None,
            prometheus: None,
            found: Cell::new(0),
        };
        faults.alert_by_shipped_route().await;
        faults.scrape_with_rules().await;
        faults
    }

    /// Every fault, one after the other; returns their number. The cluster has no sources afterwards.
    pub async fn all(mut self) -> usize {
        self.green().await;
        let (url, user) = (self.daemon.url(""), self.cluster.account);
        for args in [&["--url", &url, "--as", user][..], &["--pre"]] {
            let kubeconfig = self.cluster.admin.kubeconfig();
            let what = format!("in order with {args:?}");
            self.until_as(kubeconfig, args, &what, &[]).await;
        }
        self.policy().await;
        self.driver().await;
        self.without_binding("log forbidden", "locksmith-logs", &[("log", "fail")])
            .await;
        let missing = [("rights-steps", "fail")];
        self.without_binding("right missing", "locksmith-restart", &missing)
            .await;
        self.sidecar().await;
        self.old_crd().await;
        self.leader().await;
        self.monitoring().await;
        self.expression().await;
        let holds = self.every::<SnapshotHold>();
        let holds = holds.list(&ListParams::default()).await.unwrap().items;
        assert!(holds.is_empty(), "{holds:#?}");
        // Last, as every source is deleted with it.
        self.volsync().await;
        self.found.get()
    }

    /// Runs the command with `kubeconfig`; returns its exit code, the checks that do not pass, and its output.
    async fn check(
        &self,
        kubeconfig: &Path,
        more: &[&str],
    ) -> (i32, Vec<(String, String)>, String) {
        let config = self.config.path().to_str().unwrap();
        let fixed = [
            "check",
            "--config",
            config,
            "--timeout",
            "20s",
            "-o",
            "json",
        ];
        let output = locksmith(kubeconfig, &[&fixed, more].concat()).await;
        let text = said(&output);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        let checks = report["checks"].as_array().unwrap();
        assert!(checks.len() > 10, "{text}");
        let faults = checks.iter().filter(|check| check["state"] != "pass");
        let of = |check: &Value, field: &str| check[field].as_str().unwrap().to_owned();
        let faults = faults.map(|check| (of(check, "id"), of(check, "state")));
        (output.status.code().unwrap(), faults.collect(), text)
    }

    /// Runs the command as the daemon's account until exactly these checks do not pass.
    async fn until(&self, what: &str, wanted: &[(&str, &str)]) {
        let url = self.daemon.url("");
        let kubeconfig = self.cluster.daemon.kubeconfig();
        self.until_as(kubeconfig, &["--url", &url], what, wanted)
            .await;
    }

    /// The same with this kubeconfig and these arguments.
    async fn until_as(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        what: &str,
        wanted: &[(&str, &str)],
    ) {
        let begun = Instant::now();
        loop {
            let (code, faults, text) = self.check(kubeconfig, args).await;
            let same = faults
                .iter()
                .map(|(id, state)| (&**id, &**state))
                .eq(wanted.iter().copied());
            if same {
                let worst = wanted
                    .iter()
                    .map(|(_, state)| if *state == "fail" { 2 } else { 1 });
                assert_eq!(code, worst.max().unwrap_or(0), "{what}: {text}");
                if !wanted.is_empty() {
                    self.found.set(self.found.get() + 1);
                }
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {faults:?}\n{text}");
        }
    }

    async fn green(&self) {
        self.until("in order", &[]).await;
    }

    async fn scrape_with_rules(&mut self) {
        // The port is free once the previous one has ended.
        drop(self.prometheus.take());
        let targets = [self.daemon.address()];
        self.prometheus = Some(Monitor::prometheus(&self.places, &targets).await);
    }

    async fn alert_by_shipped_route(&mut self) {
        drop(self.alertmanager.take());
        self.alertmanager = Some(Monitor::alertmanager(&self.places, WEBHOOK).await);
    }

    fn every<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.cluster.admin.client())
    }

    /// Deletes an object; it can be created again.
    async fn remove<K>(&self, api: &Api<K>, name: &str) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let mut object = api.get(name).await.unwrap();
        api.delete(name, &DeleteParams::default()).await.unwrap();
        object.meta_mut().resource_version = None;
        object.meta_mut().uid = None;
        object
    }

    async fn patch<K>(&self, api: &Api<K>, name: &str, patch: Value)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = PatchParams::default();
        api.patch(name, &params, &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Removes a right of the daemon's account in the provisioner's namespace, and restores it.
    async fn without_binding(&self, what: &str, role: &str, wanted: &[(&str, &str)]) {
        let bindings: Api<RoleBinding> = self.in_rook();
        let binding = self.remove(&bindings, role).await;
        self.until(what, wanted).await;
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
        self.green().await;
    }

    fn in_rook<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.admin.client(), ROOK)
    }

    async fn policy(&self) {
        let policies: Api<ValidatingAdmissionPolicy> = self.every();
        let policy = self.remove(&policies, POLICY_NAME).await;
        self.until("policy missing", &[("hold-policy", "fail")])
            .await;
        policies
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
        self.green().await;

        let rules = json!(
            policy
                .spec
                .unwrap()
                .match_constraints
                .unwrap()
                .resource_rules
        );
        let mut nothing = rules.clone();
        for rule in nothing.as_array_mut().unwrap() {
            rule["resources"] = json!(["nothing"]);
        }
        let matching =
            |rules: Value| json!({"spec": {"matchConstraints": {"resourceRules": rules}}});
        self.patch(&policies, POLICY_NAME, matching(nothing)).await;
        self.until("policy matches nothing", &[("hold-policy", "fail")])
            .await;
        self.patch(&policies, POLICY_NAME, matching(rules)).await;
        self.green().await;
    }

    async fn driver(&self) {
        let classes: Api<StorageClass> = self.every();
        let class = json!({"metadata": {"name": "ebs"}, "provisioner": "ebs.csi.aws.com"});
        let class = serde_json::from_value(class).unwrap();
        classes
            .create(&PostParams::default(), &class)
            .await
            .unwrap();
        self.until("driver unwatched", &[("drivers-watched", "warn")])
            .await;
        self.remove(&classes, "ebs").await;
        self.green().await;
    }

    async fn sidecar(&self) {
        let deployments: Api<Deployment> = self.in_rook();
        let deployment = deployments.get(self.cluster.provisioner).await.unwrap();
        let containers = json!(deployment.spec.unwrap().template.spec.unwrap().containers);
        let mut without = containers.as_array().unwrap().clone();
        without.retain(|container| container["name"] != "csi-snapshotter");
        let running =
            |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.patch(
            &deployments,
            self.cluster.provisioner,
            running(json!(without)),
        )
        .await;
        self.until("sidecar absent", &[("sidecars", "fail")]).await;
        self.patch(&deployments, self.cluster.provisioner, running(containers))
            .await;
        self.green().await;
    }

    async fn old_crd(&self) {
        let definitions: Api<CustomResourceDefinition> = self.every();
        let change = async |change: &dyn Fn(&mut CustomResourceDefinition)| {
            let mut crd = definitions.get(Remediation::crd_name()).await.unwrap();
            change(&mut crd);
            let params = PostParams::default();
            definitions
                .replace(&crd.name_any(), &params, &crd)
                .await
                .unwrap();
        };
        change(&|crd| {
            let schema = crd.spec.versions[0].schema.as_mut().unwrap();
            let schema = schema.open_api_v3_schema.as_mut().unwrap();
            let status = schema
                .properties
                .as_mut()
                .unwrap()
                .get_mut("status")
                .unwrap();
            assert!(status.properties.as_mut().unwrap().remove("held").is_some());
        })
        .await;
        self.until("CRD old", &[("locksmith-crds", "fail")]).await;
        change(&|crd| crd.spec = Remediation::crd().spec).await;
        self.green().await;
    }

    async fn leader(&self) {
        let leases: Api<Lease> = Api::namespaced(self.cluster.admin.client(), NAMESPACE);
        let died = json!({"spec": {"holderIdentity": "locksmith-9", "renewTime": "2026-01-01T00:00:00.000000Z"}});
        self.patch(&leases, LEASE_NAME, died).await;
        self.until("daemon does not lead", &[("leader", "fail")])
            .await;
        let released = json!({"spec": {"holderIdentity": ""}});
        self.patch(&leases, LEASE_NAME, released).await;
        self.green().await;
    }

    async fn monitoring(&mut self) {
        drop(self.alertmanager.take());
        let config = text("alerts/alertmanager.yaml");
        let elsewhere = config.replace("receiver: locksmith-home", "receiver: pager");
        assert_ne!(config, elsewhere);
        self.alertmanager = Some(Monitor::configured(&self.places, &elsewhere).await);
        self.until("route broken", &[("alert-route", "warn")]).await;
        drop(self.alertmanager.take());
        self.until("Alertmanager down", &[("alertmanager", "warn")])
            .await;
        self.alert_by_shipped_route().await;
        self.green().await;

        drop(self.prometheus.take());
        let target = [self.daemon.address()];
        self.prometheus = Some(Monitor::without_rules(&self.places, &target).await);
        self.until("rules not loaded", &[("rules", "fail")]).await;
        drop(self.prometheus.take());
        self.prometheus = Some(Monitor::prometheus(&self.places, &[NOBODY]).await);
        self.until("daemon not scraped", &[("target", "fail")])
            .await;
        self.scrape_with_rules().await;
        self.green().await;
    }

    async fn expression(&self) {
        let file = self.config.path();
        let before = std::fs::read_to_string(file).unwrap();
        let mut config: Value = serde_saphyr::from_str(&before).unwrap();
        // JSON is YAML.
        config["gates"]["promql"] = json!({ "ceph": "sum(up" });
        std::fs::write(file, config.to_string()).unwrap();
        self.until("expression refused", &[("promql", "fail")])
            .await;
        config["gates"]["promql"] = json!({ "ceph": "sum(up) < 0" });
        std::fs::write(file, config.to_string()).unwrap();
        self.green().await;
        std::fs::write(file, before).unwrap();
    }

    async fn volsync(&self) {
        let definitions: Api<CustomResourceDefinition> = self.every();
        let name = ReplicationSource::crd_name();
        self.remove(&definitions, name).await;
        self.until("VolSync's CRD missing", &[("volsync-crds", "fail")])
            .await;
    }
}
