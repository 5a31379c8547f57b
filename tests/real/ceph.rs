//! The storage cluster behind the CSI driver: sets fault rules, and reads the journal of the driver's processes.
//!
//! The files are described in tests/testbed/go/csi-driver/README.md.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::PATIENCE;

/// Interval of reading the journal, to which the driver's processes append.
const POLL: Duration = Duration::from_millis(50);

/// The state shared by all processes of the driver.
pub struct Ceph {
    state: tempfile::TempDir,
}

/// One line of the journal, with only the fields that are read.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    pub time: Timestamp,
    /// `begin`, `hang`, `delay` or `end`.
    pub event: String,
    /// Name of the request: `pvc-<uid>`, `snapshot-<uid>`, or the handle to be deleted.
    pub name: String,
    /// The rule of a `hang` or `delay`.
    #[serde(default)]
    pub rule: String,
    /// gRPC code of an `end`, by its Go name.
    #[serde(default)]
    pub outcome: String,
}

impl Ceph {
    pub fn new() -> Self {
        let state = tempfile::Builder::new().prefix("ceph-").tempdir();
        Self {
            state: state.unwrap(),
        }
    }

    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Replaces the fault rules.
    pub fn set_faults(&self, rules: &[Value]) {
        let file = self.file("faults.json");
        let next = self.file("faults.json.next");
        std::fs::write(&next, serde_json::to_vec(rules).unwrap()).unwrap();
        std::fs::rename(next, file).unwrap();
    }

    /// The calls of the driver's processes so far.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(self.file("calls.jsonl")).unwrap_or_default();
        // A last line without a line break is still being written.
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        };
        text[..complete].lines().map(parse).collect()
    }

    /// Waits until `wanted` accepts the journal.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Call]) -> bool) {
        let reached = async {
            while !wanted(&self.calls()) {
                tokio::time::sleep(POLL).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "waited in vain for {what}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }
}
