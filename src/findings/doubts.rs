//! Reasons why an empty list of findings may be wrong: a collection or driver that is not watched, not served or not found.
//! Pure.
//!
//! While there is a doubt, "nothing is stuck" is not reported. Failing watches are not doubts; [`crate::model::Freshness`]
//! shows which collections can be trusted.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::SharedStr;
use crate::config::{Drivers, Mode};
use crate::csi;
use crate::model::{Kind, Model, WatchState};

/// Something that locksmith cannot watch, so that a stuck object may be missed.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Doubt {
    /// Its kind.
    pub kind: DoubtKind,
    /// Collection, driver or configuration entry that it concerns.
    pub subject: SharedStr,
    /// Problem and fix.
    pub message: String,
}

reasons! {
    /// Kinds of doubt.
    DoubtKind {
        /// The cluster does not serve a collection in which something may be stuck.
        NotServed = "not_served",
        /// The configuration leaves out a CSI driver that a class of the cluster names.
        DriverExcluded = "driver_excluded",
        /// A configuration entry matches no driver that a class of the cluster names.
        DriverUnused = "driver_unused",
        /// No class of the cluster names a CSI driver.
        NoDriver = "no_driver",
        /// The provisioner of a watched driver is not found.
        ProvisionerNotFound = "provisioner_not_found",
        /// The log of a provisioner's pod cannot be read.
        LogUnread = "log_unread",
    }
}

/// Whether the collection must be served for nothing to be missed. CephClusters exist only with Rook.
fn is_needed(kind: Kind, mode: Mode) -> bool {
    match kind {
        Kind::CephClusters | Kind::Definitions | Kind::Clock => false,
        Kind::Remediations => mode != Mode::Observe,
        _ => true,
    }
}

/// CSI drivers that a StorageClass or VolumeSnapshotClass of the cluster names, watched or not. Sources choose a driver by
/// its class.
pub fn drivers_of_classes(model: &Model) -> BTreeSet<&SharedStr> {
    let provisioners = model.storage_classes.iter().map(|it| &it.provisioner);
    let snapshotters = model.snapshot_classes.iter().map(|it| &it.driver);
    provisioners
        .filter(|name| csi::is_csi(name))
        .chain(snapshotters)
        .collect()
}

/// Every doubt, by kind and subject.
pub fn doubts(model: &Model, drivers: &Drivers, mode: Mode) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for kind in Kind::ALL {
        if is_needed(kind, mode) && *model.freshness.of(kind) == WatchState::NotServed {
            doubts.push(Doubt {
                kind: DoubtKind::NotServed,
                subject: kind.as_str().into(),
                message: format!(
                    "the API server does not serve {0}, so nothing is found in them; check that the CRDs are installed",
                    kind.as_str()
                ),
            });
        }
    }
    let seen = |kind| *model.freshness.of(kind) == WatchState::Synced;
    // Until then, the drivers in use are unknown.
    if seen(Kind::StorageClasses) && model.freshness.trusted(Kind::VolumeSnapshotClasses) {
        of_drivers(model, drivers, &mut doubts);
    }
    doubts
}

fn of_drivers(model: &Model, drivers: &Drivers, doubts: &mut Vec<Doubt>) {
    let drivers_of_classes = drivers_of_classes(model);
    let excluded: BTreeSet<&SharedStr> = drivers_of_classes
        .iter()
        .copied()
        .filter(|driver| drivers.find(driver).is_none())
        .collect();
    // Computed only if needed, since it reads every claim.
    let claims = if excluded.is_empty() {
        BTreeMap::new()
    } else {
        claims_of(model, &excluded)
    };
    for driver in &excluded {
        let claims = claims.get(driver).copied().unwrap_or_default();
        doubts.push(Doubt {
            kind: DoubtKind::DriverExcluded,
            subject: (*driver).clone(),
            message: format!(
                "not watched, with {claims} PersistentVolumeClaims: add it to `drivers`, or leave `drivers` empty to watch every CSI driver in use"
            ),
        });
    }
    for entry in &drivers.0 {
        if !drivers_of_classes
            .iter()
            .any(|driver| entry.matches(driver))
        {
            doubts.push(Doubt {
                kind: DoubtKind::DriverUnused,
                subject: entry.name.clone(),
                message: "no StorageClass and no VolumeSnapshotClass names this driver: correct or remove this entry of `drivers`"
                    .to_owned(),
            });
        }
    }
    if drivers_of_classes.is_empty() {
        doubts.push(Doubt {
            kind: DoubtKind::NoDriver,
            subject: "drivers".into(),
            message: "no StorageClass and no VolumeSnapshotClass names a CSI driver: there is nothing to watch"
                .to_owned(),
        });
    }
}

fn claims_of<'m>(
    model: &'m Model,
    drivers: &BTreeSet<&'m SharedStr>,
) -> BTreeMap<&'m SharedStr, usize> {
    let mut claims = BTreeMap::new();
    for claim in model.claims.iter() {
        let class = claim.class.as_ref();
        let class = class.and_then(|class| model.storage_classes.get_cluster(class));
        if let Some(driver) = class.and_then(|class| drivers.get(&class.provisioner)) {
            *claims.entry(*driver).or_default() += 1;
        }
    }
    claims
}
