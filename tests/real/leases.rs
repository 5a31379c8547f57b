//! Leases with the driver's names in namespaces without its sidecars: stale after a move, and forged by a tenant.

use jiff::{SignedDuration, Timestamp};
use locksmith::demo::world::lease_names;
use serde_json::{Value, json};

use crate::layout::DRIVER;

/// Namespace of an earlier install, whose leases were not deleted.
const EARLIER: &str = "default";
/// Namespace of a tenant.
const TENANT: &str = "tenant";
/// A pod of the tenant, with the container names of the sidecars.
const IMPOSTOR: &str = "csi-rbdplugin-provisioner-0";

/// A namespace, a pod and four leases, in the order of their creation.
pub fn stray() -> Vec<Value> {
    let (provisioner, snapshotter) = lease_names(DRIVER);
    let named = |name: &str| json!({"name": name, "image": "none"});
    let containers = ["csi-provisioner", "csi-snapshotter", "csi-rbdplugin"].map(named);
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}}),
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": IMPOSTOR, "namespace": TENANT},
            "spec": {"containers": containers},
        }),
    ];
    let now = Timestamp::now();
    let (month, day) = (
        SignedDuration::from_hours(30 * 24),
        SignedDuration::from_hours(24),
    );
    for name in [provisioner, snapshotter] {
        objects.push(lease(
            EARLIER,
            &name,
            "csi-rbdplugin-provisioner-5c7f-x2x4z",
            now - month,
        ));
        // Renewed tomorrow, so that it is live during the whole test.
        objects.push(lease(TENANT, &name, IMPOSTOR, now + day));
    }
    objects
}

fn lease(namespace: &str, name: &str, holder: &str, renewed: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 137,
            "acquireTime": format!("{renewed:.6}"),
            "renewTime": format!("{renewed:.6}"),
        },
    })
}
