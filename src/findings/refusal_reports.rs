//! Reports of refused operations: Events on claims, the driver's logs, and statuses that its sidecar writes.

use std::collections::HashMap;

use jiff::Timestamp;

use super::lock::{EXISTING_VOLUME, operation};
use super::waiters::{created, restored_from};
use crate::api::{LockKey, ObjectKey, SharedStr, Uid};
use crate::csi::ErrorClass;
use crate::model::records::{Content, StatusError};
use crate::model::{Model, Witness};

/// First and latest refusal.
pub(super) type Span = (Timestamp, Timestamp);

/// One witness's report of the refusals of a key.
pub(super) struct Report<'m> {
    pub(super) driver: &'m SharedStr,
    /// The key by which the object is found that waits.
    pub(super) key: LockKey,
    pub(super) span: Span,
    pub(super) message: String,
    /// Proof that the driver refused the object's own call; `None` for Events, which can be forged, and for other keys.
    pub(super) proof: Option<Proof>,
}

/// A proof that the driver refused an object's own call.
#[derive(Clone, Copy)]
pub(super) enum Proof {
    /// The leader's log.
    Log,
    /// The status of a content with this creation time; `None` if it is being deleted.
    Status(Option<Timestamp>),
}

/// Whether the key names the object whose call is refused. The key of an existing volume or snapshot may be held by another
/// call, such as that for an older snapshot of the same volume.
fn is_own(key: &LockKey) -> bool {
    operation(key) != EXISTING_VOLUME
}

/// Every ongoing refusal at `now`.
pub(super) fn reports(model: &Model, now: Timestamp) -> impl Iterator<Item = Report<'_>> {
    reported_refusals(model, now, Sources::All).chain(status_refusals(model, now))
}

/// The same, without Events: only the driver's log and its sidecar's statuses prove anything.
pub(super) fn driver_reports(model: &Model, now: Timestamp) -> impl Iterator<Item = Report<'_>> {
    reported_refusals(model, now, Sources::DriverOnly).chain(status_refusals(model, now))
}

/// Sources of refusals that count.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Sources {
    /// Events on claims, too, which anybody may write.
    All,
    /// The driver's logs and its sidecar's statuses.
    DriverOnly,
}

/// Whether an Event can come from the provisioner: it is on an existing claim, and about a driver that a class of the
/// cluster names. The API server refuses an Event on an object of another namespace, but checks neither the object's uid
/// nor the reporter.
fn is_credible(model: &Model, driver: &SharedStr, claim: &ObjectKey, key: &LockKey) -> bool {
    let Some(known) = model.claims.get(&claim.namespace, &claim.name) else {
        return false;
    };
    let of_claim = key
        .claim()
        .is_some_and(|uid| known.meta.uid.is_meant_by(uid))
        || restored_from(model, known).is_some_and(|handle| *handle == *key.0);
    known.meta.uid == claim.uid && of_claim && model.has_class_of(driver)
}

/// Ongoing refusals seen in Events and logs. A series that has ended is left out, since another witness must not join it to
/// a new one. A log counts only while its pod leads.
fn reported_refusals(
    model: &Model,
    now: Timestamp,
    sources: Sources,
) -> impl Iterator<Item = Report<'_>> {
    let mut leaders: HashMap<&SharedStr, Vec<&Uid>> = HashMap::new();
    for (driver, _, sightings) in model.refusals.iter() {
        // There may be thousands of drivers that only Events name.
        if !sightings.keys().any(|it| matches!(it, Witness::Log(_))) {
            continue;
        }
        leaders.entry(driver).or_insert_with(|| {
            model
                .provisioner(driver)
                .map_or_else(Vec::new, |provisioner| {
                    let leading = model.replicas(&provisioner).filter(|replica| replica.leads);
                    leading.map(|replica| &replica.pod.meta.uid).collect()
                })
        });
    }
    model
        .refusals
        .iter()
        .flat_map(move |(driver, key, sightings)| {
            let leading = leaders.get(driver).cloned().unwrap_or_default();
            sightings
                .iter()
                .filter(move |(_, seen)| seen.goes_on(now))
                .filter(move |(witness, _)| match witness {
                    Witness::Log(pod) => leading.contains(&pod),
                    Witness::Event(claim) => {
                        sources == Sources::All && is_credible(model, driver, claim, key)
                    }
                    Witness::Status => true,
                })
                .map(move |(witness, seen)| Report {
                    driver,
                    key: key.clone(),
                    span: (seen.first, seen.last),
                    message: seen.message.to_string(),
                    proof: match witness {
                        Witness::Log(_) if is_own(key) => Some(Proof::Log),
                        _ => None,
                    },
                })
        })
}

/// Refusals in a status. The sidecar writes an identical message only once, so a refusal in a status is ongoing until now.
fn status_refusals(model: &Model, now: Timestamp) -> impl Iterator<Item = Report<'_>> {
    locked_statuses(model).map(move |(content, error, returned)| {
        // The driver returns the key of the volume or of the snapshot, but the snapshot waits.
        let key = match content.snapshot.as_ref() {
            Some(uid) if returned.claim().is_none() && returned.snapshot().is_none() => {
                LockKey(format!("snapshot-{uid}").into())
            }
            _ => returned.clone(),
        };
        Report {
            driver: &content.driver,
            key,
            span: (error.since, now),
            message: error.message.to_string(),
            proof: proof_of(content, returned),
        }
    })
}

/// The proof in a content's status with this key.
pub(super) fn proof_of(content: &Content, returned: &LockKey) -> Option<Proof> {
    is_own(returned).then(|| Proof::Status(created(&content.meta)))
}

/// Contents whose status has a refusal, with the key that the driver returned. It is over once there is a handle: the driver has
/// accepted the snapshot since.
pub(super) fn locked_statuses(
    model: &Model,
) -> impl Iterator<Item = (&Content, &StatusError, &LockKey)> {
    let refused = model
        .contents
        .needs_attention()
        .filter(|it| it.handle.is_none());
    refused.filter_map(|content| {
        let error = content.error.as_deref()?;
        match &error.class {
            ErrorClass::Locked(key) => Some((content, error, key)),
            _ => None,
        }
    })
}
