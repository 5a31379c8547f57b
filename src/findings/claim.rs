//! PersistentVolumeClaims that are Pending for too long, or wait for a found lock (for any time).

use std::collections::HashSet;

use jiff::Timestamp;

use super::{ClaimReason, DetectionSettings, Finding, FindingReason, Locks, snapshot_content};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::config::Drivers;
use crate::model::records::{Claim, ClaimPhase, DataSource};
use crate::model::{Kind, Model};

/// Prefix of the claim through which VolSync's populator fills another one; the uid of the latter follows.
const PRIME: &str = "vs-prime-";

/// When a Pending claim becomes a finding.
fn due(claim: &Claim, settings: &DetectionSettings) -> Timestamp {
    settings.detect.pending_after.after(claim.meta.created.at())
}

/// When each waiting claim becomes a finding.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let waiting = model.claims.needs_attention().filter(|claim| waits(claim));
    waiting.map(|claim| due(claim, settings))
}

fn waits(claim: &Claim) -> bool {
    claim.phase == ClaimPhase::Pending && claim.meta.deleting.is_none()
}

/// Number of Pending claims in `namespace`, or in all, that are no findings only because they are younger than
/// `detect.pendingAfter`.
pub fn young_claims(
    model: &Model,
    settings: &DetectionSettings,
    namespace: Option<&str>,
    now: Timestamp,
) -> usize {
    let filled = filled_by_volsync(model);
    let pending = model.claims.needs_attention().filter(|claim| waits(claim));
    pending
        .filter(|claim| namespace.is_none_or(|namespace| *claim.meta.namespace == *namespace))
        .filter(|claim| now <= due(claim, settings))
        .filter(|claim| !claim.names_volume && !is_prime(&filled, claim))
        .filter(|claim| watched_driver(model, &settings.drivers, claim).is_some())
        .count()
}

/// Findings about claims.
pub fn detect<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
    locks: &'a Locks<'a>,
    now: Timestamp,
) -> impl Iterator<Item = Finding> + use<'a> {
    let filled = filled_by_volsync(model);
    model
        .claims
        .needs_attention()
        .filter(move |claim| {
            let late = now > due(claim, settings);
            waits(claim) && (late || !locks.is_empty())
        })
        .filter(move |claim| !claim.names_volume && !is_prime(&filled, claim))
        .filter_map(move |claim| {
            let driver = watched_driver(model, &settings.drivers, claim)?;
            let (reason, chain, evidence) = reason(model, locks, claim);
            let late = now > due(claim, settings);
            if !late && !is_behind_lock(locks, reason, &chain) {
                return None;
            }
            Some(Finding {
                what: FindingReason::PendingClaim(reason),
                object: Some(claim.meta.key(ObjectKind::PersistentVolumeClaim)),
                since: claim.meta.created.at(),
                driver: Some(driver),
                class: claim.class.clone(),
                bytes: claim.requested,
                restores: restored_snapshot(model, claim),
                chain,
                evidence,
            })
        })
}

/// Pending claims that `driver` was requested to provision and is able to: what they are restored from exists and is no
/// longer being processed. Claims that opted out are not counted: they do not decide about a run.
pub fn awaited<'a>(
    model: &'a Model,
    drivers: &'a Drivers,
    driver: &'a SharedStr,
) -> impl Iterator<Item = &'a Claim> + use<'a> {
    let none = Locks::of(&[]);
    let filled = filled_by_volsync(model);
    let pending = model.claims.needs_attention().filter(|claim| waits(claim));
    pending
        .filter(move |claim| !claim.names_volume && !is_prime(&filled, claim))
        .filter(|claim| watched_driver(model, drivers, claim).as_ref() == Some(driver))
        .filter(|claim| !model.opted_out(&claim.meta))
        .filter(move |claim| match reason(model, &none, claim) {
            (ClaimReason::SnapshotMissing, ..) => false,
            (ClaimReason::AwaitingPopulator, chain, _) => !chain.is_empty(),
            (ClaimReason::SnapshotNotReady, chain, _) => !is_processed(model, &chain),
            _ => true,
        })
}

/// Whether the driver is still processing the snapshot in `chain`.
fn is_processed(model: &Model, chain: &[ObjectKey]) -> bool {
    chain.iter().any(|object| {
        object.kind == ObjectKind::VolumeSnapshot
            && model
                .snapshots
                .get(&object.namespace, &object.name)
                .and_then(|snapshot| snapshot_content(model, snapshot))
                .is_some_and(|content| content.handle.is_some())
    })
}

/// The watched driver that provisions the claim, or `None` while no driver is requested yet.
fn watched_driver(model: &Model, drivers: &Drivers, claim: &Claim) -> Option<SharedStr> {
    let class = model.storage_classes.get_cluster(claim.class.as_ref()?)?;
    if class.waits_for_consumer && !claim.node_selected {
        return None;
    }
    // The claim's annotation may name another existing driver, as after a CSI migration; any other name is ignored.
    let asked = claim
        .provisioner
        .as_ref()
        .filter(|asked| model.has_class_of(asked));
    let driver = asked.unwrap_or(&class.provisioner);
    drivers.find(driver).map(|_| driver.clone())
}

/// Namespace and uid of every claim that VolSync's populator fills and that is not Bound yet.
fn filled_by_volsync(model: &Model) -> HashSet<(&SharedStr, &Uid)> {
    let filled = model
        .claims
        .needs_attention()
        .filter(|claim| matches!(claim.data_source, Some(DataSource::Destination(_))));
    filled
        .map(|claim| (&claim.meta.namespace, &claim.meta.uid))
        .collect()
}

/// Whether the populator fills one of `filled` through this claim; the filled claim is reported instead.
fn is_prime(filled: &HashSet<(&SharedStr, &Uid)>, claim: &Claim) -> bool {
    let uid = claim.meta.name.strip_prefix(PRIME).map(Uid::from);
    uid.is_some_and(|uid| filled.contains(&(&claim.meta.namespace, &uid)))
}

/// Whether the claim waits for a found lock, its own or that of the snapshot it is restored from.
fn is_behind_lock(locks: &Locks<'_>, reason: ClaimReason, chain: &[ObjectKey]) -> bool {
    let locked = |object: &ObjectKey| {
        object.kind == ObjectKind::VolumeSnapshot && locks.on_making(&object.uid).is_some()
    };
    match reason {
        ClaimReason::OperationLock => true,
        ClaimReason::SnapshotNotReady => chain.iter().any(locked),
        ClaimReason::SnapshotMissing
        | ClaimReason::AwaitingPopulator
        | ClaimReason::ProvisioningError
        | ClaimReason::Unknown => false,
    }
}

type Reasoned = (ClaimReason, Vec<ObjectKey>, Vec<String>);

/// Reason why `claim` is Pending, and the objects between it and the cause.
fn reason(model: &Model, locks: &Locks<'_>, claim: &Claim) -> Reasoned {
    match &claim.data_source {
        Some(DataSource::Destination(destination))
            if locks.on_making(&claim.meta.uid).is_none() =>
        {
            populated(model, locks, claim, destination)
        }
        _ => own_reason(model, locks, claim),
    }
}

/// The same, from the claim itself, its snapshot and its Events. This follows no populator: VolSync fills its own claim
/// from a snapshot, and a chain of claims that name each other would have no end.
fn own_reason(model: &Model, locks: &Locks<'_>, claim: &Claim) -> Reasoned {
    if let Some(lock) = locks.on_making(&claim.meta.uid) {
        return (
            ClaimReason::OperationLock,
            Vec::new(),
            lock.evidence.clone(),
        );
    }
    let message = model
        .provisioning_errors
        .of(&claim.meta.key(ObjectKind::PersistentVolumeClaim))
        .map(|error| error.message.to_string());
    match &claim.data_source {
        Some(DataSource::Snapshot(name)) => {
            if let Some(reason) = unready_source(model, &claim.meta.namespace, name) {
                return reason;
            }
            let snapshot = model.snapshots.get(&claim.meta.namespace, name);
            let locked = snapshot.and_then(|snapshot| {
                let content = snapshot_content(model, snapshot)?;
                let lock = locks.on(content.handle.as_ref()?)?;
                Some((snapshot, content, lock))
            });
            if let Some((snapshot, content, lock)) = locked {
                let chain = vec![
                    snapshot.meta.key(ObjectKind::VolumeSnapshot),
                    content.meta.key(ObjectKind::VolumeSnapshotContent),
                ];
                return (ClaimReason::OperationLock, chain, lock.evidence.clone());
            }
        }
        // Whether that namespace grants the reference is unknown, so the snapshot is no cause; the claim only waits for it.
        Some(DataSource::ForeignSnapshot { namespace, name }) => {
            if let Some(reason) = unready_source(model, namespace, name) {
                return reason;
            }
        }
        // Pending by design until that populator is done: the driver receives no request before.
        Some(DataSource::Other) if message.is_none() => {
            let evidence = "a populator other than that of VolSync has to fill it".to_owned();
            return (ClaimReason::AwaitingPopulator, Vec::new(), vec![evidence]);
        }
        Some(DataSource::Claim(_) | DataSource::Destination(_) | DataSource::Other) | None => {}
    }
    match message {
        Some(message) => (ClaimReason::ProvisioningError, Vec::new(), vec![message]),
        None => (ClaimReason::Unknown, Vec::new(), Vec::new()),
    }
}

/// The snapshot that the claim is restored from; for one that VolSync's populator fills, that of `vs-prime-<uid>`.
fn restored_snapshot(model: &Model, claim: &Claim) -> Option<ObjectKey> {
    let namespace = &claim.meta.namespace;
    let source = match &claim.data_source {
        Some(DataSource::Destination(_)) => {
            let prime = SharedStr::from(format!("{PRIME}{}", claim.meta.uid));
            &model.claims.get(namespace, &prime)?.data_source
        }
        other => other,
    };
    let Some(DataSource::Snapshot(name)) = source else {
        return None;
    };
    let snapshot = model.snapshots.get(namespace, name)?;
    Some(snapshot.meta.key(ObjectKind::VolumeSnapshot))
}

/// The snapshot to restore from, if it is missing or not ready.
fn unready_source(model: &Model, namespace: &SharedStr, name: &SharedStr) -> Option<Reasoned> {
    let Some(snapshot) = model.snapshots.get(namespace, name) else {
        let evidence = format!("VolumeSnapshot {namespace}/{name} does not exist");
        let missing = (ClaimReason::SnapshotMissing, Vec::new(), vec![evidence]);
        // Before the first list of snapshots, none is missing.
        return model
            .freshness
            .trusted(Kind::VolumeSnapshots)
            .then_some(missing);
    };
    if snapshot.ready == Some(true) {
        return None;
    }
    let key = snapshot.meta.key(ObjectKind::VolumeSnapshot);
    let evidence = format!("{key} is not ready");
    Some((ClaimReason::SnapshotNotReady, vec![key], vec![evidence]))
}

/// A claim that VolSync's populator fills. Its reason is that of `vs-prime-<uid>`, once that exists.
fn populated(model: &Model, locks: &Locks<'_>, claim: &Claim, destination: &SharedStr) -> Reasoned {
    let prime = SharedStr::from(format!("{PRIME}{}", claim.meta.uid));
    if let Some(prime) = model.claims.get(&claim.meta.namespace, &prime) {
        let key = prime.meta.key(ObjectKind::PersistentVolumeClaim);
        if prime.phase == ClaimPhase::Bound {
            let evidence = format!("{key} is Bound, but not handed over yet");
            return (ClaimReason::AwaitingPopulator, vec![key], vec![evidence]);
        }
        let (reason, mut chain, evidence) = own_reason(model, locks, prime);
        chain.insert(0, key);
        let reason = if reason == ClaimReason::Unknown {
            ClaimReason::AwaitingPopulator
        } else {
            reason
        };
        return (reason, chain, evidence);
    }
    let evidence = match model.destinations.get(&claim.meta.namespace, destination) {
        None => format!(
            "ReplicationDestination {}/{destination} does not exist",
            claim.meta.namespace
        ),
        Some(found) if found.latest_image.is_none() => {
            format!(
                "ReplicationDestination {}/{destination} has no latestImage yet",
                claim.meta.namespace
            )
        }
        Some(_) => "the populator has not created its claim yet".to_owned(),
    };
    (ClaimReason::AwaitingPopulator, Vec::new(), vec![evidence])
}
