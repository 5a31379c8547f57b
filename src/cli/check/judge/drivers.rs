//! CSI drivers in use, and the provisioner of each. Pure.

use super::Outcome;
use crate::api::SharedStr;
use crate::cli::check::catalog::CheckId;
use crate::cli::check::facts::{DriverFacts, LeaseFacts, LogContainer, Observed, ProvisionerFacts};
use crate::model::{Kind, lease_names};
use crate::text::humanize::count;

pub(super) fn drivers(observed: &Observed) -> Vec<Outcome> {
    let trusted = |kind| observed.freshness.trusted(kind);
    // Which drivers are in use is not known; another check reports it.
    if !trusted(Kind::StorageClasses) || !trusted(Kind::VolumeSnapshotClasses) {
        return Vec::new();
    }
    let in_use: Vec<_> = observed
        .drivers
        .iter()
        .filter(|it| it.has_class())
        .collect();
    if in_use.is_empty() {
        let found = "no StorageClass and no VolumeSnapshotClass names a CSI driver";
        return vec![Outcome::fail(CheckId::DriversInUse, found)];
    }
    let names = joined(in_use.iter().map(|driver| &driver.name));
    let mut outcomes = vec![
        Outcome::pass(CheckId::DriversInUse, names),
        watched(observed),
        configured(observed),
    ];
    outcomes.extend(namespaces(observed));
    let provisions = |driver: &&&DriverFacts| driver.watched;
    for driver in in_use.iter().filter(provisions) {
        let of_driver = provisioner(driver, &observed.namespaces).into_iter();
        outcomes.extend(of_driver.map(|outcome| outcome.about(&driver.name)));
    }
    outcomes
}

fn joined<'s>(names: impl Iterator<Item = &'s SharedStr>) -> String {
    names.map(|name| &**name).collect::<Vec<_>>().join(", ")
}

fn watched(observed: &Observed) -> Outcome {
    let id = CheckId::DriversWatched;
    let excluded = observed.drivers.iter().filter(|driver| !driver.watched);
    let excluded: Vec<_> = excluded
        .map(|driver| format!("{} ({})", driver.name, count(driver.volumes, "volume")))
        .collect();
    if !excluded.is_empty() {
        return Outcome::warn(id, format!("not watched: {}", excluded.join(", ")));
    }
    let found = if observed.watches_all {
        "drivers is empty: every CSI driver is watched"
    } else {
        "drivers has every driver in use"
    };
    Outcome::pass(id, found)
}

fn configured(observed: &Observed) -> Outcome {
    let id = CheckId::DriversConfigured;
    if observed.unused_entries.is_empty() {
        let by_volumes = joined(observed.classless_entries.iter());
        return if by_volumes.is_empty() {
            Outcome::pass(id, "every entry of drivers is in use")
        } else {
            let found = format!(
                "every entry of drivers is in use, but only volumes and no class name {by_volumes}"
            );
            Outcome::pass(id, found)
        };
    }
    let names = joined(observed.unused_entries.iter());
    Outcome::warn(id, format!("no class and no volume names {names}"))
}

fn namespaces(observed: &Observed) -> Option<Outcome> {
    let id = CheckId::Namespaces;
    if !observed.freshness.trusted(Kind::Namespaces) {
        return None;
    }
    let missing = &observed.missing_namespaces;
    Some(if missing.is_empty() {
        Outcome::pass(id, joined(observed.namespaces.iter()))
    } else {
        Outcome::fail(id, format!("no such namespace: {}", joined(missing.iter())))
    })
}

/// The checks of one driver. The later ones are about the provisioner that the first one finds.
fn provisioner(driver: &DriverFacts, namespaces: &[SharedStr]) -> Vec<Outcome> {
    let found = match &driver.provisioner {
        Ok(found) => found,
        Err(why) => {
            let outcome = Outcome::fail(CheckId::Provisioner, why.clone());
            let elsewhere = driver.leased_in.iter();
            let elsewhere = joined(elsewhere.filter(|it| !namespaces.contains(it)));
            return vec![if elsewhere.is_empty() {
                outcome
            } else {
                outcome.hint(format!(
                    "Its leases are held in {elsewhere}: if the driver is installed there, list it in provisionerNamespaces."
                ))
            }];
        }
    };
    let mut outcomes = vec![
        Outcome::pass(CheckId::Provisioner, found.workload.clone()),
        sidecars(driver, found),
    ];
    if found.running > 0 {
        outcomes.push(leases(driver, found));
        outcomes.push(log(driver, found));
    }
    outcomes
}

fn sidecars(driver: &DriverFacts, found: &ProvisionerFacts) -> Outcome {
    let id = CheckId::Sidecars;
    if found.running == 0 {
        return Outcome::fail(id, format!("no pod of {} runs", found.workload))
            .hint("Start its pods; see kubectl describe for the reason.");
    }
    if !found.has_named_sidecars {
        return Outcome::warn(id, "no container of its pods has the name of a sidecar")
            .hint("Check that it runs external-provisioner and csi-snapshotter.");
    }
    let mut absent = Vec::new();
    if driver.provisions && !found.has_provisioner {
        absent.push("csi-provisioner");
    }
    if driver.snapshots && !found.has_snapshotter {
        absent.push("csi-snapshotter");
    }
    if absent.is_empty() {
        let pods = count(found.running, "running pod");
        return Outcome::pass(id, format!("in {pods}"));
    }
    let absent = absent.join(" and ");
    Outcome::fail(id, format!("pods of {} run no {absent}", found.workload))
}

fn leases(driver: &DriverFacts, found: &ProvisionerFacts) -> Outcome {
    let id = CheckId::Leases;
    let (of_provisioner, of_snapshotter) = lease_names(&driver.name);
    let needed = [
        (
            driver.provisions && found.has_provisioner,
            &found.provisioner_lease,
            of_provisioner,
        ),
        (
            driver.snapshots && found.has_snapshotter,
            &found.snapshotter_lease,
            of_snapshotter,
        ),
    ];
    let needed = needed.into_iter().filter(|(needed, ..)| *needed);
    let (existing, absent): (Vec<_>, Vec<_>) = needed.partition(|(_, lease, _)| lease.is_some());
    let leases: Vec<_> = existing
        .iter()
        .filter_map(|(_, lease, _)| lease.as_ref())
        .collect();
    let vacant: Vec<_> = leases.iter().filter(|lease| !lease.held).collect();
    if vacant.is_empty() {
        let names = joined(leases.iter().map(|lease| &lease.name));
        if let (Some((.., absent)), false) = (absent.first(), leases.is_empty()) {
            let found = format!("there is no Lease {absent}, though {names} is held");
            return Outcome::warn(id, found).hint(
                "Check the log of the sidecar: it never led, or has no --leader-election while the other one does.",
            );
        }
        return Outcome::pass(
            id,
            if leases.is_empty() {
                "none: its sidecars elect no leader".to_owned()
            } else {
                format!("held: {names}")
            },
        );
    }
    let vacant: Vec<_> = vacant.into_iter().map(|lease| vacancy(lease)).collect();
    Outcome::fail(id, vacant.join("; "))
}

/// Why a lease counts as not held.
pub(super) fn vacancy(lease: &LeaseFacts) -> String {
    let name = &lease.name;
    match (lease.holder.is_empty(), lease.renewed) {
        (true, _) => format!("nobody holds {name}"),
        (false, Some(renewed)) => {
            format!("{} has not renewed {name} since {renewed:.0}", lease.holder)
        }
        (false, None) => format!("{} never renewed {name}", lease.holder),
    }
}

fn log(driver: &DriverFacts, found: &ProvisionerFacts) -> Outcome {
    let id = CheckId::Log;
    let container = match &driver.container {
        LogContainer::Named(container) => container,
        LogContainer::TakesNoLocks => {
            return Outcome::pass(id, "not needed: this driver takes no operation locks");
        }
        LogContainer::Unknown => {
            return Outcome::warn(id, "the container whose log shows locks is not known")
                .hint("Set drivers[].container to the container of the driver.");
        }
    };
    if let Some((pod, why)) = found.unreadable.first() {
        let logs = count(found.unreadable.len(), "log");
        let found = format!("{logs} of {container} cannot be read: {pod}: {why}");
        return Outcome::fail(id, found);
    }
    if found.unopened > 0 || found.followed == 0 {
        return Outcome::warn(id, format!("the log of {container} was not opened in time"))
            .hint("Run again with a longer --timeout.");
    }
    let logs = count(found.followed, "log");
    Outcome::pass(id, format!("{logs} of {container}"))
}
