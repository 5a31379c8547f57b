//! The default admission plugins for new objects: the namespace must exist, and some kinds get defaults.
//!
//! Upstream: `NamespaceLifecycle`, `DefaultStorageClass`, `StorageObjectInUseProtection`.

use serde_json::{Value, json};

use super::Target;
use crate::cluster::Cluster;
use crate::controllers::{CLAIM_PROTECTION, VOLUME_PROTECTION};
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};

const NAMESPACES: &str = "/namespaces";
const CLASSES: &str = "storage.k8s.io/storageclasses";
const DEFAULT_CLASS: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Admits a new object, or refuses it.
pub fn admit(cluster: &Cluster, target: &Target, object: &mut Value) -> Result<()> {
    if target.resource.namespaced {
        let namespace = cluster.store.get(NAMESPACES, "", &target.namespace);
        let Some(namespace) = namespace else {
            return Err(no_namespace(cluster, &target.namespace));
        };
        if namespace.deleting() {
            let (name, namespace) = (object.name(), &target.namespace);
            return Err(Failure::namespace_terminating(
                &target.resource,
                name,
                namespace,
            ));
        }
    }
    let kind = target.resource.kind.as_str();
    let classless = object.pointer("/spec/storageClassName").is_none();
    if kind == "PersistentVolumeClaim"
        && classless
        && let Some(class) = default_class(cluster)
    {
        object.put("/spec/storageClassName", class);
    }
    let protection = match kind {
        "PersistentVolumeClaim" => CLAIM_PROTECTION,
        "PersistentVolume" => VOLUME_PROTECTION,
        _ => return Ok(()),
    };
    if cluster.controlled && !object.finalizers().any(|f| f == protection) {
        let mut finalizers = object.items("/metadata/finalizers").to_vec();
        finalizers.push(json!(protection));
        object.put("/metadata/finalizers", finalizers);
    }
    Ok(())
}

fn no_namespace(cluster: &Cluster, name: &str) -> Failure {
    match cluster.catalog.of_bucket(NAMESPACES) {
        Some(namespaces) => Failure::not_found(&namespaces, name),
        None => Failure::no_resource(),
    }
}

/// The newest class marked as default.
fn default_class(cluster: &Cluster) -> Option<String> {
    cluster
        .store
        .list(CLASSES, None)
        .filter(|c| c.text(DEFAULT_CLASS) == "true")
        .max_by_key(|c| c.text("/metadata/creationTimestamp").to_owned())
        .map(|c| c.name().to_owned())
}

/// Refuses the deletion of system namespaces.
pub fn admit_deletion(target: &Target) -> Result<()> {
    let namespace = target.resource.bucket == NAMESPACES;
    if namespace && IMMORTAL.contains(&target.name.as_str()) {
        let why = "this namespace may not be deleted";
        return Err(Failure::forbidden(&target.resource, &target.name, why));
    }
    Ok(())
}
