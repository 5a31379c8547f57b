//! `ceph.rook.io/v1`: the health of a Ceph cluster, as reported by Rook.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Ceph cluster run by Rook; its spec is not read.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "ceph.rook.io",
    version = "v1",
    kind = "CephCluster",
    plural = "cephclusters",
    namespaced,
    status = "CephClusterStatus"
)]
pub struct CephClusterSpec {}

/// Status written by Rook.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CephClusterStatus {
    /// Ceph's own status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceph: Option<CephStatus>,
}

/// Ceph's own status.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CephStatus {
    /// `HEALTH_OK`, `HEALTH_WARN` or `HEALTH_ERR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}
