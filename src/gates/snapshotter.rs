//! Gate `snapshotter`: something takes snapshots for the driver. Without it all snapshots are stuck, and
//! neither a restart nor a deletion helps (ceph-csi-drivers chart: `snapshotPolicy: none`).

use super::{Gate, Situation, Verdict};
use crate::findings::{SnapshotReason, What};

pub(super) struct Snapshotter;

impl Gate for Snapshotter {
    fn name(&self) -> &'static str {
        "snapshotter"
    }

    fn of_plan(&self) -> bool {
        true
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let driver = &situation.run.spec.driver;
        let unserved = situation.findings.iter().any(|finding| {
            finding.what == What::FailedSnapshot(SnapshotReason::SnapshotterAbsent)
                && finding.driver.as_ref() == Some(driver)
        });
        if !unserved {
            return Verdict::Open;
        }
        Verdict::Closed {
            reason: format!("no csi-snapshotter serves {driver}: a restart would not help"),
            opens: "when its provisioner has a csi-snapshotter container that holds its lease"
                .to_owned(),
        }
    }
}
