//! `locksmith.dev/v1alpha1` SnapshotHold: sources whose snapshots and clones are refused until a deadline.
//!
//! The object is the parameter of a ValidatingAdmissionPolicy (`deploy/hold-policy.yaml`): while it exists, and until
//! `spec.until`, the API server refuses the snapshots and clones of the sources it names. Deleting it releases them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::Uid;

/// Name of the ValidatingAdmissionPolicy and of its binding.
pub const POLICY_NAME: &str = "locksmith-snapshot-hold";

/// Annotation on both with the version of `deploy/hold-policy.yaml` they came from.
pub const POLICY_VERSION_ANNOTATION: &str = "locksmith.dev/policy-version";

/// Annotation that `steps.resumeSources.nudge` writes on a released source: any change makes VolSync retry at once.
pub const NUDGE_ANNOTATION: &str = "locksmith.dev/released-at";

/// ReplicationSources whose snapshots and clones the API server refuses until a deadline.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "locksmith.dev",
    version = "v1alpha1",
    kind = "SnapshotHold",
    plural = "snapshotholds",
    category = "locksmith",
    namespaced,
    derive = "PartialEq",
    doc = "ReplicationSources whose snapshots and clones the API server refuses until a deadline. Delete it to release them.",
    printcolumn = r#"{"name":"Run","type":"string","jsonPath":".spec.remediation"}"#,
    printcolumn = r#"{"name":"Held by","type":"string","jsonPath":".spec.heldBy"}"#,
    printcolumn = r#"{"name":"Until","type":"string","jsonPath":".spec.until"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotHoldSpec {
    /// Name of the Remediation that holds the sources; absent for a planned hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<String>,
    /// Deadline of the hold, in RFC 3339; the API server ends it then.
    #[schemars(schema_with = "date_time")]
    pub until: Timestamp,
    /// Reason for a planned hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub reason: Option<String>,
    /// User name of the person who made a planned hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub held_by: Option<String>,
    /// Held ReplicationSources, keyed by uid; each value is `namespace/name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "names_by_uid")]
    pub sources: BTreeMap<Uid, String>,
    /// VolumeSnapshotClasses whose snapshots the API server refuses, whichever tool takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshot_classes: Vec<String>,
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}

fn names_by_uid(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    // Atomic: one field owner for the whole map, else each of 10,000 keys has an entry in managedFields.
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string" },
        "x-kubernetes-map-type": "atomic",
    })
}
