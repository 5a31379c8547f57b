//! The storage cluster behind the CSI driver: fault rules in, what the driver's processes did out.
//!
//! The files are described in tests/testbed/go/csi-driver/README.md.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::PATIENCE;

/// Between two looks at the journal, which the driver's processes append to.
const POLL: Duration = Duration::from_millis(50);

/// The state that all processes of the driver share.
pub struct Ceph {
    state: tempfile::TempDir,
}

/// One line of the journal, as far as read here.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    pub time: Timestamp,
    /// `begin`, `hang`, `delay` or `end`.
    pub event: String,
    /// Name of the request: `pvc-<uid>`, `snapshot-<uid>`, or the handle of what is deleted.
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

    /// What the driver's processes did so far.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(self.file("calls.jsonl")).unwrap_or_default();
        // A last line without its end is still being written.
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        };
        text[..complete].lines().map(parse).collect()
    }

    /// Waits until the journal is as wanted.
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
