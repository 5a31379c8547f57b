//! Names and identities.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A shared string for names that repeat, such as namespaces and drivers.
pub type SharedStr = Arc<str>;

/// The uid of an object: the one identity that survives deletion and re-creation under the same name.
///
/// UUIDs, as the API server generates them, are stored as 16 bytes; any other text is stored unchanged.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(from = "String", into = "String")]
pub struct Uid(Written);

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Written {
    Uuid(Uuid),
    Otherwise(SharedStr),
}

impl Uid {
    /// Whether the uid is empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Minimum number of hexadecimal digits of an abbreviated uid: fewer are ambiguous within a cluster.
const MIN_DIGITS: usize = 8;

impl Uid {
    /// Its hexadecimal digits without dashes, as in abbreviations.
    pub fn digits(&self) -> String {
        self.to_string().replace('-', "")
    }

    /// Whether `text` may be an abbreviation of a uid: the first of its digits, without dashes (external-provisioner
    /// `--volume-name-uuid-length`, external-snapshotter `--snapshot-name-uuid-length`).
    pub fn may_abbreviate(text: &str) -> bool {
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        (MIN_DIGITS..=32).contains(&text.len()) && text.bytes().all(is_digit)
    }

    /// Whether `text` is this uid, whole or abbreviated.
    pub fn is_meant_by(&self, text: &str) -> bool {
        *self == *text || (Self::may_abbreviate(text) && self.digits().starts_with(text))
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::from("")
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        // Only if it is formatted back to the same text.
        let same =
            |uuid: &Uuid| *uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text;
        Self(match Uuid::try_parse(text).ok().filter(same) {
            Some(uuid) => Written::Uuid(uuid),
            None => Written::Otherwise(text.into()),
        })
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Self::from(&*text)
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.to_string()
    }
}

impl PartialEq<str> for Uid {
    fn eq(&self, text: &str) -> bool {
        self.0 == Self::from(text).0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Written::Uuid(uuid) => uuid.hyphenated().fmt(f),
            Written::Otherwise(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for Uid {
    fn schema_name() -> Cow<'static, str> {
        "Uid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The uid of an object: the one identity that survives deletion and re-creation under the same name.",
        })
    }
}

/// Kinds of objects that findings, plans and records name.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum ObjectKind {
    /// `v1` PersistentVolumeClaim.
    PersistentVolumeClaim,
    /// `v1` PersistentVolume.
    PersistentVolume,
    /// `snapshot.storage.k8s.io/v1` VolumeSnapshot.
    VolumeSnapshot,
    /// `snapshot.storage.k8s.io/v1` VolumeSnapshotContent.
    VolumeSnapshotContent,
    /// `volsync.backube/v1alpha1` ReplicationSource.
    ReplicationSource,
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `coordination.k8s.io/v1` Lease.
    Lease,
    /// `v1` Pod.
    Pod,
    /// `snapshot.storage.k8s.io/v1` VolumeSnapshotClass.
    VolumeSnapshotClass,
    /// `locksmith.dev/v1alpha1` Remediation.
    Remediation,
    /// `locksmith.dev/v1alpha1` SnapshotHold.
    SnapshotHold,
}

impl ObjectKind {
    /// The kind as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::PersistentVolume => "PersistentVolume",
            Self::VolumeSnapshot => "VolumeSnapshot",
            Self::VolumeSnapshotContent => "VolumeSnapshotContent",
            Self::ReplicationSource => "ReplicationSource",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Lease => "Lease",
            Self::Pod => "Pod",
            Self::VolumeSnapshotClass => "VolumeSnapshotClass",
            Self::Remediation => "Remediation",
            Self::SnapshotHold => "SnapshotHold",
        }
    }
}

/// Identity of one object: kind, namespace, name and uid.
#[derive(
    Clone, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct ObjectKey {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Namespace of the object; empty for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: SharedStr,
    /// Name of the object.
    pub name: SharedStr,
    /// Uid of the object.
    pub uid: Uid,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.as_str(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
        }
    }
}

/// Key of an operation lock, as the driver logs it.
///
/// external-provisioner and external-snapshotter derive request names from uids, so most keys contain the uid of an
/// object; the others are CSI handles.
#[derive(
    Clone, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct LockKey(pub SharedStr);

impl LockKey {
    /// The uid, whole or abbreviated, of the claim whose volume is being created, from `pvc-<uid>`; also if that is part of a
    /// path (GCE PD: `projects/…/disks/pvc-<uid>`).
    pub fn claim(&self) -> Option<&str> {
        self.part("pvc-")
    }

    /// The uid, whole or abbreviated, of the VolumeSnapshot being taken, from `snapshot-<uid>`.
    pub fn snapshot(&self) -> Option<&str> {
        self.part("snapshot-")
    }

    fn part(&self, prefix: &str) -> Option<&str> {
        self.0
            .rsplit('/')
            .find_map(|part| part.strip_prefix(prefix))
    }

    /// Whether it is a path, which may also be a CSI handle.
    pub fn is_path(&self) -> bool {
        self.0.contains('/')
    }
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 19.
    #[test]
    fn uid_matches_itself_and_its_first_digits() {
        let uid = Uid::from("15ca3371-4909-4727-9a3c-0d1f6c6a2b11");
        for text in [
            "15ca3371-4909-4727-9a3c-0d1f6c6a2b11",
            "15ca337149094727",
            "15ca3371",
        ] {
            assert!(uid.is_meant_by(text), "{text}");
        }
        for text in [
            "",
            "15ca337",
            "15ca3372",
            "15ca3371-4909",
            "15CA3371",
            "15ca3371x",
        ] {
            assert!(!uid.is_meant_by(text), "{text}");
        }
    }

    #[test]
    fn uid_round_trips() {
        let texts = [
            "4b0c4d5e-9f6a-4c1b-8d2e-7f1e8a2b3c4d",
            "4B0C4D5E-9F6A-4C1B-8D2E-7F1E8A2B3C4D",
            "4b0c4d5e9f6a4c1b8d2e7f1e8a2b3c4d",
            "{4b0c4d5e-9f6a-4c1b-8d2e-7f1e8a2b3c4d}",
            "uid-claim-media-prowlarr",
            "",
        ];
        for text in texts {
            let uid = Uid::from(text);
            assert_eq!(uid.to_string(), text);
            assert_eq!(serde_json::to_value(&uid).unwrap(), text);
            assert!(uid == *text && uid.is_empty() == text.is_empty());
            let others = texts.iter().filter(|other| **other != text);
            assert!(
                others
                    .map(|other| Uid::from(*other))
                    .all(|other| other != uid)
            );
        }
    }
}
