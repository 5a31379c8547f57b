//! A tenant, who may write anything in one namespace and nothing elsewhere.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use locksmith::demo::world::IMMEDIATE_CLASS;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::stage::named;
use crate::testbed::Testbed;

/// Sorts before every other namespace.
pub const TENANT: &str = "aaa-tenant";

/// A client with the rights of Kubernetes's role edit in one namespace, extended by VolSync's and the snapshots' kinds.
pub struct Tenant(pub Client);

impl Tenant {
    pub async fn of(testbed: &Testbed) -> Self {
        let admin = testbed.client();
        let created = PostParams::default();
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        let namespace = named(json!({"name": TENANT}), json!({}));
        namespaces.create(&created, &namespace).await.unwrap();
        let allowed = json!({"rules": [
            {"apiGroups": ["snapshot.storage.k8s.io"], "resources": ["volumesnapshots"], "verbs": ["*"]},
            {"apiGroups": ["volsync.backube"], "resources": ["replicationsources"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["*"]},
        ]});
        let roles: Api<Role> = Api::namespaced(admin.clone(), TENANT);
        let role = named(json!({"name": "tenant"}), allowed);
        roles.create(&created, &role).await.unwrap();
        let bindings: Api<RoleBinding> = Api::namespaced(admin, TENANT);
        for (kind, name) in [("Role", "tenant"), ("ClusterRole", "edit")] {
            let fields = json!({
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}],
            });
            let binding = named(json!({"name": name}), fields);
            bindings.create(&created, &binding).await.unwrap();
        }
        Self(testbed.user("tenant", None).await.client())
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.0.clone(), TENANT)
    }

    pub async fn create<K>(&self, metadata: Value, fields: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        let object: K = named(metadata, fields);
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// A claim that no provisioner can provision.
    pub async fn hopeless_claim(&self, name: &str) -> PersistentVolumeClaim {
        let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "none"});
        let spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": IMMEDIATE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
            "dataSource": source,
        });
        self.create(json!({"name": name}), json!({"spec": spec}))
            .await
    }
}

/// An Event that reports for ten minutes that the provisioner of `driver` was refused `key`, about the claim with this
/// namespace, name and uid.
pub fn refusal(driver: &str, key: &str, (namespace, name, uid): (&str, &str, &str)) -> Event {
    let now = Timestamp::now();
    let message = format!(
        "rpc error: code = Aborted desc = an operation with the given Volume ID {key} already exists"
    );
    named(
        json!({"generateName": "forged-"}),
        json!({
            "involvedObject": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": namespace, "name": name, "uid": uid,
            },
            "reason": "ProvisioningFailed",
            "message": message,
            "type": "Warning",
            "firstTimestamp": now - SignedDuration::from_mins(10),
            // Long after the present leader has taken over.
            "lastTimestamp": now + SignedDuration::from_mins(1),
            "count": 100,
            "reportingComponent": format!("{driver}_csi-rbdplugin-provisioner-0_1"),
            "source": {"component": format!("{driver}_csi-rbdplugin-provisioner-0_1")},
        }),
    )
}
