//! Recognises a refused operation in a message or log line: text in, [`LockKey`](crate::api::LockKey) out. Pure.

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

use crate::api::LockKey;

/// Patterns of the messages of drivers when another operation holds the lock.
///
/// In this order: ceph-csi `internal/util/idlocker.go`, whose snapshot operations log "Snapshot ID" and return "Volume ID"
/// (azuredisk, csi-driver-nfs and GCE PD have the same messages, Filestore and Linode "volume key", aws-ebs similar ones);
/// ceph-csi's operation locks; aws-ebs; Mayastor; democratic-csi (bin/democratic-csi, a JSON list of which the first entry is
/// used); HPE. A quote may be escaped, even repeatedly, as the message may be in JSON.
///
/// A message belongs here only if the driver holds the lock in memory, so that a restart frees it. OpenEBS ZFS's `request
/// already pending` does not: it reports the state of a ZFSVolume, which survives a restart.
const COMMON: [&str; 6] = [
    r#"(?i)\ban? operation with the given (?:volume|snapshot|target path)(?: ?(?:id|key))?[ =:]+\\*"?(?P<key>[^\s"\\]+)\\*"? (?:is )?already (?:exists|in progress)"#,
    r"(?i)\ban? (?:expand|restore|delete|clone|create) operation with given id (?P<key>\S+) already exists",
    r"(?i)\b(?:create volume request for|deletesnapshot for snapshot) (?P<key>\S+) is already in progress",
    r"(?i)\bexisting csi operation is in progress for volume: (?P<key>\S+)",
    r#"(?i)\boperation locked due to in progress operation\(s\): \[\\*"(?:create_volume_name_|create_snapshot_name_|volume_id_|snapshot_id_)(?P<key>[^"\\]+)"#,
    r"(?i)\balready an operation pending for the specified id (?:\w+:)?(?P<key>[^\s:]+)",
];

/// Every message that [`COMMON`] matches contains one of these words, in any case. Searching for them first takes a
/// fraction of the time.
const COMMON_WORDS: [&str; 5] = [
    "lready ",
    "LREADY ",
    "n progress",
    "n Progress",
    "N PROGRESS",
];

/// Longest accepted key, in bytes: a CSI handle may have 128 (CSI specification, size limits); some drivers use more.
const MAX_KEY: usize = 512;

/// Class of an error message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ErrorClass {
    /// Another operation holds the lock of this key.
    Locked(LockKey),
    /// The driver did not answer in time.
    Timeout,
    /// The source of the snapshot does not exist: the claim, or the storage volume behind it.
    SourceMissing,
    /// The source claim has no volume yet.
    SourceUnbound,
    /// Anything else.
    Other,
}

/// The patterns of one driver, compiled.
#[derive(Debug)]
pub struct LockPatterns {
    words: AhoCorasick,
    common: Vec<Regex>,
    further: Vec<Regex>,
}

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Not a regular expression.
    #[error("{0:?} is not a valid regular expression: {1}")]
    Syntax(String, String),
    /// It has no group `key`.
    #[error("{0:?} has no group called key: put (?P<key>…) around the key of the lock")]
    NoKey(String),
}

impl LockPatterns {
    /// The common patterns and `further` ones.
    pub fn new(further: &[String]) -> Result<Self, PatternError> {
        let compile = |pattern: &str| {
            Regex::new(pattern)
                .map_err(|error| PatternError::Syntax(pattern.to_owned(), error.to_string()))
        };
        let words = AhoCorasick::builder()
            // Required for the vectorised search; it does not matter which word is found.
            .match_kind(MatchKind::LeftmostFirst)
            .build(COMMON_WORDS)
            .map_err(|error| PatternError::Syntax(COMMON_WORDS.join("|"), error.to_string()))?;
        let further: Vec<Regex> = further
            .iter()
            .map(|pattern| compile(pattern))
            .collect::<Result<_, _>>()?;
        if let Some(keyless) = further
            .iter()
            .find(|p| !p.capture_names().flatten().any(|name| name == "key"))
        {
            return Err(PatternError::NoKey(keyless.as_str().to_owned()));
        }
        let common = COMMON
            .iter()
            .map(|pattern| compile(pattern))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            words,
            common,
            further,
        })
    }

    /// The locked key in `text`. Configured patterns have priority, since the key of a common one may be useless where both
    /// match.
    pub fn find(&self, text: &str) -> Option<LockKey> {
        let common = if self.words.is_match(text) {
            self.common.as_slice()
        } else {
            &[]
        };
        self.further
            .iter()
            .chain(common)
            .find_map(|pattern| pattern.captures(text)?.name("key"))
            .map(|key| key.as_str())
            .filter(|key| key.len() <= MAX_KEY)
            .map(|key| LockKey(key.into()))
    }

    /// The class of an error message of a snapshot.
    pub fn classify(&self, message: &str) -> ErrorClass {
        if let Some(key) = self.find(message) {
            return ErrorClass::Locked(key);
        }
        if message.contains("DeadlineExceeded") || message.contains("context deadline exceeded") {
            return ErrorClass::Timeout;
        }
        if is_source_missing(message) {
            ErrorClass::SourceMissing
        } else if message.contains("is not yet bound to a PV") {
            ErrorClass::SourceUnbound
        } else {
            ErrorClass::Other
        }
    }
}

/// Whether the claim of a snapshot does not exist (snapshot-controller), or the driver does not find its storage volume
/// (ceph-csi: `source Volume ID … not found`). The sidecar prefixes the driver's message with the volume's handle, so only
/// the driver's part is searched.
fn is_source_missing(message: &str) -> bool {
    let claim = message.contains("not found")
        && (message.contains("persistentvolumeclaim") || message.contains("PersistentVolumeClaim"));
    let volume = message
        .split_once("code = NotFound desc = ")
        .is_some_and(|(_, words)| words.to_ascii_lowercase().contains("volume"));
    claim || volume
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "rpc error: code = Aborted desc = an operation with the given Volume ID pvc-4e1 already exists",
        Some("pvc-4e1")
    )]
    #[case(
        "E0623 08:10:51.326159       1 controllerserver.go:645] ID: 19 Req-ID: pvc-4e1 an operation with the given Snapshot ID snapshot-77 already exists",
        Some("snapshot-77")
    )]
    #[case(
        "an operation with the given target path /var/lib/kubelet/x already exists",
        Some("/var/lib/kubelet/x")
    )]
    #[case(
        "a Delete operation with given id 0001-0009 already exists",
        Some("0001-0009")
    )]
    #[case(
        "An operation with the given volume=\"vol-1\" is already in progress",
        Some("vol-1")
    )]
    #[case(
        "Create volume request for pvc-4e1 is already in progress",
        Some("pvc-4e1")
    )]
    #[case("Existing Csi operation is in progress for volume: abc", Some("abc"))]
    #[case(
        "An Operation With The Given Volume ID pvc-4e1 Already Exists",
        Some("pvc-4e1")
    )]
    #[case("EXISTING CSI OPERATION IS IN PROGRESS FOR VOLUME: abc", Some("abc"))]
    #[case("Existing CSI Operation Is In Progress For Volume: abc", Some("abc"))]
    // Case 6: GCE PD and Filestore.
    #[case(
        "An operation with the given Volume ID projects/acme/zones/us-central1-a/disks/pvc-4e1 already exists",
        Some("projects/acme/zones/us-central1-a/disks/pvc-4e1")
    )]
    #[case(
        "An operation with the given volume key modeInstance/us-east4/pvc-4e1/vol1 already exists",
        Some("modeInstance/us-east4/pvc-4e1/vol1")
    )]
    // Case 7: democratic-csi, as returned and as logged.
    #[case(
        r#"operation locked due to in progress operation(s): ["create_snapshot_name_snapshot-77","volume_id_pvc-4e1"]"#,
        Some("snapshot-77")
    )]
    #[case(
        r#"{"message":"operation locked due to in progress operation(s): [\"create_volume_name_pvc-4e1\"]"}"#,
        Some("pvc-4e1")
    )]
    // Case 8: HPE.
    #[case(
        "There is already an operation pending for the specified id CreateVolume:pvc-4e1:0001",
        Some("pvc-4e1")
    )]
    // Case 15: aws-ebs, in JSON and in structured klog.
    #[case(
        r#"{"level":"error","error":"rpc error: code = Aborted desc = An operation with the given volume=\"vol-1\" is already in progress"}"#,
        Some("vol-1")
    )]
    #[case("rpc error: code = Aborted desc = flatten in progress", None)]
    #[case("clone from snapshot is already in progress", None)]
    #[case("volume pvc-4e1 is not ready for workloads", None)]
    #[case("snapshot already exists", None)]
    fn messages_of_known_drivers_are_recognised(#[case] text: &str, #[case] key: Option<&str>) {
        let found = LockPatterns::new(&[]).unwrap().find(text);
        assert_eq!(found, key.map(|key| LockKey(key.into())));
    }

    /// Lines as the log of each preset's container has them, and what Mayastor returns, which it does not log.
    #[rstest]
    // rbd/controllerserver.go and util.go of ceph-csi 3.12 (ceph-csi #2712).
    #[case::ceph_csi_reports(
        "E1214 08:39:05.344977       1 controllerserver.go:288] ID: 25 Req-ID: pvc-55b22d71-055e-4f23-9e61-7386e4cde6c5 an operation with the given Volume ID pvc-55b22d71-055e-4f23-9e61-7386e4cde6c5 already exists",
        "pvc-55b22d71-055e-4f23-9e61-7386e4cde6c5"
    )]
    #[case::ceph_csi_returns(
        "E1214 08:39:05.345071       1 utils.go:185] ID: 25 Req-ID: pvc-55b22d71-055e-4f23-9e61-7386e4cde6c5 GRPC error: rpc error: code = Aborted desc = an operation with the given Volume ID pvc-55b22d71-055e-4f23-9e61-7386e4cde6c5 already exists",
        "pvc-55b22d71-055e-4f23-9e61-7386e4cde6c5"
    )]
    // CephFS names the volume whose snapshot is taken by its handle.
    #[case::cephfs_snapshot(
        "E0623 08:10:51.326159       1 controllerserver.go:832] ID: 19 Req-ID: snapshot-77 an operation with the given Volume ID 0001-0009-rook-ceph-0000000000000001-5d3c already exists",
        "0001-0009-rook-ceph-0000000000000001-5d3c"
    )]
    // bin/democratic-csi 1.9.4, whose own error is JSON in a JSON log.
    #[case::democratic_csi(
        r#"{"host":"csi-controller","level":"error","message":"handler error - driver: FreeNASApiDriver method: CreateSnapshot error: {\"name\":\"GrpcError\",\"code\":10,\"message\":\"operation locked due to in progress operation(s): [\\\"create_snapshot_name_snapshot-77\\\",\\\"volume_id_pvc-4e1\\\"]\"}","service":"democratic-csi"}"#,
        "snapshot-77"
    )]
    // pkg/driver of aws-ebs-csi-driver 1.64.0.
    #[case::ebs_volume(
        r#"E0819 10:11:12.131415       1 driver.go:135] "GRPC error" err="rpc error: code = Aborted desc = Create volume request for pvc-4e1 is already in progress""#,
        "pvc-4e1"
    )]
    #[case::ebs_snapshot(
        r#"E0819 10:11:12.131415       1 driver.go:135] "GRPC error" err="rpc error: code = Aborted desc = An operation with the given Volume snapshot-77 already exists""#,
        "snapshot-77"
    )]
    #[case::ebs_deletion(
        r#"E0819 10:11:12.131415       1 driver.go:135] "GRPC error" err="rpc error: code = Aborted desc = DeleteSnapshot for Snapshot snap-0a1b is already in progress""#,
        "snap-0a1b"
    )]
    // pkg/gce-pd-csi-driver/utils.go 1.26.4.
    #[case::gce_pd(
        "E0818 10:11:12.131415       1 utils.go:87] /csi.v1.Controller/CreateSnapshot returned with error: rpc error: code = Aborted desc = An operation with the given Volume ID projects/acme/zones/us-central1-a/disks/pvc-4e1 already exists",
        "projects/acme/zones/us-central1-a/disks/pvc-4e1"
    )]
    // pkg/csi-common/utils.go of azuredisk 1.34.5, pkg/nfs/utils.go of csi-driver-nfs 4.13.4.
    #[case::azure_disk(
        "E0822 10:11:12.131415       1 utils.go:110] GRPC error: rpc error: code = Aborted desc = An operation with the given Volume ID snapshot-77 already exists",
        "snapshot-77"
    )]
    #[case::nfs(
        "E0822 10:11:12.131415       1 utils.go:116] GRPC error: rpc error: code = Aborted desc = An operation with the given Volume ID pvc-4e1 already exists",
        "pvc-4e1"
    )]
    // control-plane/csi-driver/src/limiter.rs of Mayastor 2.7.1: the bare uid, which is also the handle.
    #[case::mayastor(
        "rpc error: code = Aborted desc = Existing Csi operation is in progress for volume: 15ca3371-4909-4727-9a3c-0d1f6c6a2b11",
        "15ca3371-4909-4727-9a3c-0d1f6c6a2b11"
    )]
    fn finds_the_key_in_the_messages_of_known_drivers(#[case] text: &str, #[case] key: &str) {
        let found = LockPatterns::new(&[]).unwrap().find(text);
        assert_eq!(found, Some(LockKey(key.into())));
    }

    /// Drivers also return `Aborted` for what a restart does not change.
    #[rstest]
    #[case::zfs_volume_not_ready("volume pvc-4e1 request already pending")]
    #[case::lvm_volume_failed(
        "failed to delete volume pvc-4e1: lvm: destroy wait failed, not able to get the volume pvc-4e1 timeout"
    )]
    #[case::ebs_cloud_error("Could not create volume \"pvc-4e1\": VolumeLimitExceeded")]
    #[case::gce_disk_not_ready(
        "CreateVolume existing disk Key{\"pvc-4e1\", zone: \"us-central1-a\"} is not ready"
    )]
    #[case::mayastor_queue("Too many create volumes in progress")]
    #[case::mayastor_creating("Existing volume 15ca3371 is in insufficient state: Creating")]
    #[case::longhorn_not_ready("volume pvc-4e1 is not ready for workloads: waiting for the engine")]
    #[case::longhorn_backup_target("backup target default is not available")]
    fn finds_no_key_in_refusals_without_a_lock(#[case] refusal: &str) {
        let text = format!("rpc error: code = Aborted desc = {refusal}");
        assert_eq!(LockPatterns::new(&[]).unwrap().find(&text), None);
    }

    #[rstest]
    #[case::no_claim(
        r#"Failed to create snapshot content with error snapshot controller failed to update s on API server: cannot get claim from snapshot: persistentvolumeclaim "prowlarr" not found"#,
        ErrorClass::SourceMissing
    )]
    #[case::no_storage_volume(
        r#"Failed to check and update snapshot content: failed to take snapshot of the volume 0001-0009-rook-ceph: "rpc error: code = NotFound desc = source Volume ID 0001-0009-rook-ceph not found""#,
        ErrorClass::SourceMissing
    )]
    #[case::no_pool(
        r#"failed to take snapshot of the volume 0001-0009-rook-ceph: "rpc error: code = NotFound desc = pool not found: pool (replicapool) not found in Ceph osdmap""#,
        ErrorClass::Other
    )]
    #[case::unbound(
        "Failed to create snapshot content with error the PVC esphome is not yet bound to a PV, will not attempt to take a snapshot",
        ErrorClass::SourceUnbound
    )]
    #[case::timeout(
        r#"failed to take snapshot of the volume 0001: "rpc error: code = DeadlineExceeded desc = context deadline exceeded""#,
        ErrorClass::Timeout
    )]
    fn snapshot_errors_are_classified(#[case] message: &str, #[case] class: ErrorClass) {
        assert_eq!(LockPatterns::new(&[]).unwrap().classify(message), class);
    }

    #[test]
    fn configured_pattern_is_matched() {
        let patterns = LockPatterns::new(&[r"busy: (?P<key>\w+)".to_owned()]).unwrap();
        assert_eq!(patterns.find("busy: vol7"), Some(LockKey("vol7".into())));
        assert!(
            LockPatterns::new(&["busy".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("(?P<key>")
        );
    }

    /// Case 6: a configured pattern for paths, of a driver whose messages match the common patterns, too.
    #[test]
    fn configured_pattern_has_priority() {
        let own = r"given Volume ID \S+/(?P<key>pvc-\S+) already exists".to_owned();
        let patterns = LockPatterns::new(&[own]).unwrap();
        let text =
            "An operation with the given Volume ID projects/acme/disks/pvc-4e1 already exists";
        assert_eq!(patterns.find(text), Some(LockKey("pvc-4e1".into())));
    }

    #[test]
    fn overlong_key_is_no_key() {
        let text = format!(
            "an operation with the given Volume ID {} already exists",
            "x".repeat(MAX_KEY + 1)
        );
        assert_eq!(LockPatterns::new(&[]).unwrap().find(&text), None);
    }
}
