//! Gate `snapshotter`: if the driver has a VolumeSnapshotClass, a csi-snapshotter serves it. Without one every snapshot is
//! stuck, and neither a restart nor a deletion helps (ceph-csi-drivers chart: `snapshotPolicy: none`).

use super::{Gate, GateName, GateResult};
use crate::findings::has_snapshotter;
use crate::run_context::RunContext;

pub(super) struct SnapshotterGate;

impl Gate for SnapshotterGate {
    fn name(&self) -> GateName {
        GateName::Snapshotter
    }

    fn depends_on_plan(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let driver = &cx.run.spec.driver;
        let model = cx.model;
        let takes_snapshots = model
            .snapshot_classes
            .iter()
            .any(|class| class.driver == *driver);
        if !takes_snapshots {
            return GateResult::Open;
        }
        let (reason, opens) = match has_snapshotter(model, driver, cx.now) {
            Some(true) => return GateResult::Open,
            Some(false) => (
                format!("no csi-snapshotter serves {driver}: a restart would not help"),
                "when its provisioner has a csi-snapshotter container that holds its lease",
            ),
            None => (
                format!("csi-snapshotter of {driver} unknown: its provisioner is not found"),
                "when the provisioner is found, or named in drivers[].provisioner",
            ),
        };
        GateResult::Closed {
            reason,
            opens: opens.to_owned(),
        }
    }
}
