//! A cluster of any size as listed by the API server: claims, each with its volume, a snapshot and its content, and a
//! ReplicationSource for every tenth.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use locksmith::model::{Change, Delta};
use locksmith::watch::Patterns;
use locksmith::watch::{
    claim_record, content_record, snapshot_record, source_record, volume_record,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

/// Parameters of a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Patterns for the messages of snapshots.
    pub patterns: Arc<Patterns>,
    /// Number of claims.
    pub claims: usize,
    /// One claim and snapshot in this number is stuck.
    pub one_in: usize,
    /// Current time.
    pub now: Timestamp,
}

fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

/// A uid like the API server's, derived from a kind and number.
fn uid(kind: u32, at: usize) -> String {
    format!("{kind:08x}-4b0c-4d5e-9f6a-{at:012x}")
}

impl Cluster {
    /// Creation time of all objects, so long ago that stuck ones are found.
    fn created(&self) -> Timestamp {
        self.now - SignedDuration::from_hours(1)
    }

    fn meta(&self, kind: u32, at: usize, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": Self::namespace(at),
            "uid": uid(kind, at),
            "resourceVersion": at.to_string(),
            "creationTimestamp": self.created().to_string(),
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name},
            "annotations": {"volume.kubernetes.io/storage-provisioner": DRIVER},
        })
    }

    /// A claim, Bound or Pending.
    pub fn claim(&self, at: usize, bound: bool) -> Change {
        let volume = bound.then(|| format!("pvc-{}", uid(1, at)));
        let claim = object(json!({
            "metadata": self.meta(1, at, &format!("application-{at}")),
            "spec": {
                "storageClassName": "ceph-block",
                "volumeName": volume,
                "resources": {"requests": {"storage": "5Gi"}},
            },
            "status": {"phase": if bound { "Bound" } else { "Pending" }},
        }));
        Change::Claim(Delta::Apply(claim_record(&claim).unwrap()))
    }

    fn volume(&self, at: usize) -> Change {
        let name = format!("pvc-{}", uid(1, at));
        let volume = object(json!({
            "metadata": self.meta(2, at, &name),
            "spec": {
                "claimRef": {"uid": uid(1, at)},
                "csi": {"driver": DRIVER, "volumeHandle": format!("0001-0009-rook-ceph-0000000000000002-{}", uid(1, at))},
            },
        }));
        Change::Volume(Delta::Apply(volume_record(&volume).unwrap()))
    }

    /// Namespace of the objects with this number.
    pub fn namespace(at: usize) -> String {
        format!("team-{:03}", at % 200)
    }

    /// Name of the snapshot with this number.
    pub fn snapshot_name(at: usize) -> String {
        format!("volsync-application-{at}-src")
    }

    /// A snapshot, ready or failed.
    pub fn snapshot(&self, at: usize, ready: bool) -> Change {
        let snapshot = object(json!({
            "metadata": self.meta(3, at, &Self::snapshot_name(at)),
            "spec": {
                "volumeSnapshotClassName": "csi-ceph-block",
                "source": {"persistentVolumeClaimName": format!("application-{at}")},
            },
            "status": {
                "readyToUse": ready,
                "restoreSize": "5Gi",
                "boundVolumeSnapshotContentName": format!("snapcontent-{}", uid(3, at)),
                "error": (!ready).then(|| json!({
                    "time": self.created().to_string(),
                    "message": "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
                })),
            },
        }));
        Change::Snapshot(Delta::Apply(
            snapshot_record(&snapshot, &self.patterns).unwrap(),
        ))
    }

    fn content(&self, at: usize) -> Change {
        let mut meta = self.meta(4, at, &format!("snapcontent-{}", uid(3, at)));
        meta.as_object_mut().unwrap().remove("namespace");
        let content = object(json!({
            "metadata": meta,
            "spec": {
                "driver": DRIVER,
                "deletionPolicy": "Delete",
                "source": {"volumeHandle": format!("0001-0009-rook-ceph-0000000000000002-{}", uid(1, at))},
                "volumeSnapshotRef": {
                    "uid": uid(3, at),
                    "namespace": Self::namespace(at),
                    "name": format!("volsync-application-{at}-src"),
                },
            },
            "status": {"readyToUse": true, "snapshotHandle": format!("0001-0009-rook-ceph-0000000000000002-{}", uid(4, at))},
        }));
        Change::Content(Delta::Apply(
            content_record(&content, &self.patterns).unwrap(),
        ))
    }

    fn source(&self, at: usize) -> Change {
        let source = object(json!({
            "metadata": self.meta(5, at, &format!("application-{at}")),
            "spec": {
                "sourcePVC": format!("application-{at}"),
                "trigger": {"schedule": "0 * * * *"},
                "restic": {"copyMethod": "Snapshot", "volumeSnapshotClassName": "csi-ceph-block"},
            },
        }));
        Change::Source(Delta::Apply(source_record(&source).unwrap()))
    }

    /// Every object, in the order of an initial list.
    pub fn objects(&self) -> impl Iterator<Item = Change> + use<'_> {
        (0..self.claims).flat_map(move |at| {
            let fine = at % self.one_in != 0;
            let source = at.is_multiple_of(10).then(|| self.source(at));
            [
                self.claim(at, fine),
                self.volume(at),
                self.snapshot(at, fine),
                self.content(at),
            ]
            .into_iter()
            .chain(source)
        })
    }

    /// Objects that exist once in a cluster of any size.
    pub fn classes() -> [Change; 2] {
        use locksmith::model::records::{SnapshotClass, StorageClass};
        [
            Change::StorageClass(Delta::Apply(StorageClass {
                name: "ceph-block".into(),
                provisioner: DRIVER.into(),
                waits_for_consumer: false,
            })),
            Change::SnapshotClass(Delta::Apply(SnapshotClass {
                name: "csi-ceph-block".into(),
                driver: DRIVER.into(),
            })),
        ]
    }
}
