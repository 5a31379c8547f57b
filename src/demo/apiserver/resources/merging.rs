//! Merge rules of lists and structs of the built-in kinds, and their required fields, from the published OpenAPI document
//! (`x-kubernetes-list-type`, `-map-keys`, `-map-type`) and the validation code. Limited to the definitions reachable from
//! the kinds served here.

use serde_json::Value;

use crate::schema::{Merge, Overlay};

/// Facts that are missing in the decoders' definitions.
pub const OVERLAY: Overlay = Overlay { merge, required };

/// Definition, field, keys; a set of scalars has no keys.
const LISTS: &[(&str, &str, &[&str])] = &[
    ("DaemonSetStatus", "conditions", &["type"]),
    ("DeploymentStatus", "conditions", &["type"]),
    ("ReplicaSetStatus", "conditions", &["type"]),
    ("StatefulSetStatus", "conditions", &["type"]),
    ("JobStatus", "conditions", &["type"]),
    ("Container", "env", &["name"]),
    ("Container", "ports", &["containerPort", "protocol"]),
    ("Container", "volumeDevices", &["devicePath"]),
    ("Container", "volumeMounts", &["mountPath"]),
    ("ContainerStatus", "volumeMounts", &["mountPath"]),
    ("NamespaceStatus", "conditions", &["type"]),
    ("NodeSpec", "podCIDRs", &[]),
    ("NodeStatus", "addresses", &["type"]),
    ("NodeStatus", "conditions", &["type"]),
    ("PersistentVolumeClaimStatus", "conditions", &["type"]),
    ("PodSpec", "containers", &["name"]),
    ("PodSpec", "ephemeralContainers", &["name"]),
    ("PodSpec", "hostAliases", &["ip"]),
    ("PodSpec", "imagePullSecrets", &["name"]),
    ("PodSpec", "initContainers", &["name"]),
    ("PodSpec", "resourceClaims", &["name"]),
    ("PodSpec", "schedulingGates", &["name"]),
    (
        "PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
    ),
    ("PodSpec", "volumes", &["name"]),
    ("PodStatus", "conditions", &["type"]),
    ("PodStatus", "podIPs", &["ip"]),
    ("ResourceRequirements", "claims", &["name"]),
    ("ServiceAccount", "secrets", &["name"]),
    ("ServiceSpec", "ports", &["port", "protocol"]),
    ("ServiceStatus", "conditions", &["type"]),
    ("CSIDriverSpec", "volumeLifecycleModes", &[]),
    ("CustomResourceDefinitionStatus", "conditions", &["type"]),
    ("ObjectMeta", "finalizers", &[]),
    ("ObjectMeta", "ownerReferences", &["uid"]),
];

/// Structs and maps that merge as one value; an empty field means the definition itself.
const ATOMS: &[(&str, &str)] = &[
    ("ConfigMapKeySelector", ""),
    ("LocalObjectReference", ""),
    ("NodeSelector", ""),
    ("NodeSelectorTerm", ""),
    ("ObjectFieldSelector", ""),
    ("ObjectReference", ""),
    ("PodSpec", "nodeSelector"),
    ("ResourceFieldSelector", ""),
    ("SecretKeySelector", ""),
    ("SecretReference", ""),
    ("ServiceSpec", "selector"),
    ("TopologySelectorTerm", ""),
    ("TypedLocalObjectReference", ""),
    ("LabelSelector", ""),
    ("OwnerReference", ""),
];

/// Fields required by validation; for decoders, an absent field has its zero value.
const REQUIRED: &[(&str, &str)] = &[
    ("Container", "name"),
    ("CSIDriver", "spec"),
    ("CustomResourceDefinitionSpec", "group"),
    ("CustomResourceDefinitionSpec", "names"),
    ("CustomResourceDefinitionSpec", "scope"),
    ("CustomResourceDefinitionSpec", "versions"),
    ("DaemonSetSpec", "selector"),
    ("DaemonSetSpec", "template"),
    ("DeploymentSpec", "selector"),
    ("DeploymentSpec", "template"),
    ("Event", "involvedObject"),
    ("ObjectReference", "name"),
    ("OwnerReference", "apiVersion"),
    ("OwnerReference", "kind"),
    ("OwnerReference", "name"),
    ("OwnerReference", "uid"),
    ("PersistentVolumeClaimSpec", "accessModes"),
    ("PersistentVolumeSpec", "accessModes"),
    ("PersistentVolumeSpec", "capacity"),
    ("PodSpec", "containers"),
    ("ReplicaSetSpec", "selector"),
    ("StatefulSetSpec", "selector"),
    ("StorageClass", "provisioner"),
    ("Volume", "name"),
];

/// `io.k8s.api.core.v1.PodSpec` becomes `PodSpec`, which is unique among the definitions served here.
fn short(definition: &str) -> &str {
    definition.rsplit('.').next().unwrap_or(definition)
}

fn merge(definition: &str, field: &str) -> Option<Merge> {
    // Containers of both kinds have the same lists.
    let definition = match short(definition) {
        "EphemeralContainer" => "Container",
        other => other,
    };
    if ATOMS.contains(&(definition, field)) {
        return Some(Merge::Atomic);
    }
    let (_, _, keys) = LISTS
        .iter()
        .find(|(d, f, _)| (*d, *f) == (definition, field))?;
    let default = |key: &str| (key == "protocol").then(|| Value::from("TCP"));
    Some(match *keys {
        [] => Merge::Set,
        keys => Merge::Keyed(keys.iter().map(|k| ((*k).to_owned(), default(k))).collect()),
    })
}

fn required(definition: &str, field: &str) -> bool {
    REQUIRED.contains(&(short(definition), field))
}
