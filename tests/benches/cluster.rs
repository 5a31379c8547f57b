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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

/// Number of stuck objects of a [`Shape`] that does not depend on the size of the cluster.
const FIXED_STUCK: usize = 100;

/// Number of snapshots that wait for a lock.
const LOCKED: usize = 1_000;

/// Which objects of a cluster are stuck, and how.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Shape {
    /// One claim in a hundred is Pending, and its snapshot failed.
    OnePercent,
    /// As many claims are Pending and snapshots failed in a cluster of any size.
    FixedStuck,
    /// Every claim is Pending, and every snapshot failed.
    Stuck,
    /// Every claim, snapshot and content is being deleted, and blocked by a finalizer.
    Terminating,
    /// Like `OnePercent`, with every object in the same namespace.
    OneNamespace,
    /// The snapshots of one volume, all refused because of that volume: CephFS locks it for each snapshot.
    OneLock,
    /// As many snapshots as in `OneLock`, each refused because of itself, as RBD does.
    ManyLocks,
}

impl Shape {
    /// The shapes of a cluster in its worst state, each with a name for the reader.
    pub const HOSTILE: [(Self, &str); 5] = [
        (Self::Stuck, "everything stuck"),
        (Self::Terminating, "everything Terminating"),
        (Self::OneNamespace, "one namespace, 1% stuck"),
        (Self::OneLock, "1,000 locks on one key"),
        (Self::ManyLocks, "1,000 locks, a key each"),
    ];
}

/// Parameters of a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Patterns for the messages of snapshots.
    pub patterns: Arc<Patterns>,
    /// Number of claims.
    pub claims: usize,
    /// Which of its objects are stuck.
    pub shape: Shape,
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

/// A handle like ceph-csi's.
fn handle(kind: u32, at: usize) -> String {
    format!("0001-0009-rook-ceph-0000000000000002-{}", uid(kind, at))
}

impl Cluster {
    /// Creation time of all objects, so long ago that stuck ones are found.
    fn created(&self) -> Timestamp {
        self.now - SignedDuration::from_hours(1)
    }

    /// Whether the objects with this number are stuck.
    pub fn is_stuck(&self, at: usize) -> bool {
        let one_in = match self.shape {
            Shape::OnePercent | Shape::OneNamespace => 100,
            Shape::FixedStuck => self.claims / FIXED_STUCK,
            Shape::OneLock | Shape::ManyLocks => self.claims / LOCKED,
            Shape::Stuck => 1,
            Shape::Terminating => return false,
        };
        at.is_multiple_of(one_in.max(1))
    }

    /// Whether the claims of locked snapshots are Bound: only those that exist can be backed up.
    fn is_bound(&self, at: usize) -> bool {
        matches!(self.shape, Shape::OneLock | Shape::ManyLocks) || !self.is_stuck(at)
    }

    fn meta(&self, kind: u32, at: usize, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.namespace(at),
            "uid": uid(kind, at),
            "resourceVersion": at.to_string(),
            "creationTimestamp": self.created().to_string(),
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name},
            "annotations": {"volume.kubernetes.io/storage-provisioner": DRIVER},
        })
    }

    /// The metadata of an object that is being deleted in [`Shape::Terminating`], where `finalizer` blocks its deletion.
    fn deletable(&self, kind: u32, at: usize, name: &str, finalizer: &str) -> Value {
        let mut meta = self.meta(kind, at, name);
        if self.shape == Shape::Terminating {
            meta["deletionTimestamp"] = json!(self.created().to_string());
            meta["finalizers"] = json!([finalizer]);
        }
        meta
    }

    /// A claim, Bound or Pending.
    pub fn claim(&self, at: usize, bound: bool) -> Change {
        let volume = bound.then(|| format!("pvc-{}", uid(1, at)));
        let claim = object(json!({
            "metadata": self.deletable(
                1,
                at,
                &format!("application-{at}"),
                "kubernetes.io/pvc-protection",
            ),
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
                "csi": {"driver": DRIVER, "volumeHandle": handle(1, at)},
            },
        }));
        Change::Volume(Delta::Apply(volume_record(&volume).unwrap()))
    }

    /// Namespace of the objects with this number.
    pub fn namespace(&self, at: usize) -> String {
        match self.shape {
            Shape::OneNamespace => "team-000".to_owned(),
            _ => format!("team-{:03}", at % 200),
        }
    }

    /// Name of the snapshot with this number.
    pub fn snapshot_name(at: usize) -> String {
        format!("volsync-application-{at}-src")
    }

    /// A snapshot, ready or failed.
    pub fn snapshot(&self, at: usize, ready: bool) -> Change {
        let snapshot = object(json!({
            "metadata": self.deletable(
                3,
                at,
                &Self::snapshot_name(at),
                "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection",
            ),
            "spec": {
                "volumeSnapshotClassName": "csi-ceph-block",
                "source": {"persistentVolumeClaimName": format!("application-{at}")},
            },
            "status": {
                "readyToUse": ready,
                "restoreSize": "5Gi",
                "boundVolumeSnapshotContentName": format!("snapcontent-{}", uid(3, at)),
                "error": (!ready).then(|| self.error(at)),
            },
        }));
        Change::Snapshot(Delta::Apply(
            snapshot_record(&snapshot, &self.patterns).unwrap(),
        ))
    }

    /// Number of the volume of which a snapshot with this number is taken.
    fn volume_of(&self, at: usize) -> usize {
        match self.shape {
            Shape::OneLock if self.is_stuck(at) => 0,
            _ => at,
        }
    }

    /// The error of a failed snapshot, which its content has, too.
    fn error(&self, at: usize) -> Value {
        let refused = |key: &str| {
            format!(
                "code = Aborted desc = an operation with the given Volume ID {key} already exists"
            )
        };
        let volume = handle(1, self.volume_of(at));
        let answer = match self.shape {
            Shape::OneLock => refused(&volume),
            Shape::ManyLocks => refused(&format!("snapshot-{}", uid(3, at))),
            _ => "code = DeadlineExceeded desc = context deadline exceeded".to_owned(),
        };
        json!({
            "time": self.created().to_string(),
            "message": format!("failed to take snapshot of the volume {volume}: \"rpc error: {answer}\""),
        })
    }

    /// The content of a snapshot; only that of a ready one has a handle.
    fn content(&self, at: usize, ready: bool) -> Change {
        let mut meta = self.deletable(
            4,
            at,
            &format!("snapcontent-{}", uid(3, at)),
            "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection",
        );
        meta.as_object_mut().unwrap().remove("namespace");
        let content = object(json!({
            "metadata": meta,
            "spec": {
                "driver": DRIVER,
                "deletionPolicy": "Delete",
                "source": {"volumeHandle": handle(1, self.volume_of(at))},
                "volumeSnapshotRef": {
                    "uid": uid(3, at),
                    "namespace": self.namespace(at),
                    "name": Self::snapshot_name(at),
                },
            },
            "status": {
                "readyToUse": ready,
                "snapshotHandle": ready.then(|| handle(4, at)),
                "error": (!ready).then(|| self.error(at)),
            },
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
            let ready = !self.is_stuck(at);
            let source = at.is_multiple_of(10).then(|| self.source(at));
            [
                self.claim(at, self.is_bound(at)),
                self.volume(at),
                self.snapshot(at, ready),
                self.content(at, ready),
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
