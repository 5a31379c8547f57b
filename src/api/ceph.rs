//! `ceph.rook.io/v1`: the health Rook reports of a Ceph cluster, and nothing else.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Ceph cluster run by Rook; its spec is of no interest here.
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

/// What Rook reports.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CephClusterStatus {
    /// What Ceph says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceph: Option<CephStatus>,
}

/// What Ceph says of itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CephStatus {
    /// `HEALTH_OK`, `HEALTH_WARN` or `HEALTH_ERR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}
