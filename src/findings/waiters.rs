//! Objects that wait for their driver, indexed by the lock keys that may name them.

use std::cell::OnceCell;
use std::collections::HashMap;

use jiff::Timestamp;

use super::snapshot_content;
use crate::api::{LockKey, ObjectKey, ObjectKind, SharedStr, Uid};
use crate::model::Model;
use crate::model::records::{Claim, ClaimPhase, Content, DataSource, Meta, Snapshot};

/// Objects by their uids, whole or abbreviated.
struct ByUid<'m, T> {
    whole: HashMap<&'m Uid, &'m T>,
    /// Sorted by the digits of the uid; built when the first abbreviation is looked up.
    abbreviated: OnceCell<Vec<(String, &'m T)>>,
}

impl<T> Default for ByUid<'_, T> {
    fn default() -> Self {
        Self {
            whole: HashMap::new(),
            abbreviated: OnceCell::new(),
        }
    }
}

impl<'m, T> ByUid<'m, T> {
    fn insert(&mut self, uid: &'m Uid, object: &'m T) {
        self.whole.insert(uid, object);
    }

    /// The object with the uid `text`, whole or abbreviated, if it is only one.
    fn find(&self, text: &str) -> Option<&'m T> {
        if let Some(object) = self.whole.get(&Uid::from(text)) {
            return Some(object);
        }
        if !Uid::may_abbreviate(text) {
            return None;
        }
        let digits = self.abbreviated.get_or_init(|| {
            let digits = self
                .whole
                .iter()
                .map(|(uid, object)| (uid.digits(), *object));
            let mut digits: Vec<_> = digits.collect();
            digits.sort_by(|(one, _), (other, _)| one.cmp(other));
            digits
        });
        let first = digits.partition_point(|(digits, _)| &**digits < text);
        let mut meant = digits[first..]
            .iter()
            .take_while(|(digits, _)| digits.starts_with(text));
        let (_, object) = meant.next()?;
        meant.next().is_none().then_some(*object)
    }
}

/// Every object that waits for its driver, indexed by the keys that may name it.
pub(crate) struct Waiters<'m> {
    claims: ByUid<'m, Claim>,
    snapshots: ByUid<'m, Snapshot>,
    handles: HashMap<&'m str, ObjectKey>,
}

impl<'m> Waiters<'m> {
    /// Reads each table once, so that many keys can be looked up.
    pub(crate) fn of(model: &'m Model) -> Self {
        let mut waiters = Self {
            claims: ByUid::default(),
            snapshots: ByUid::default(),
            handles: HashMap::new(),
        };
        for content in model.contents.needs_attention() {
            if content.meta.deleting.is_some() {
                let object = content.meta.key(ObjectKind::VolumeSnapshotContent);
                waiters.add_handles(content, &object);
            }
        }
        for snapshot in model.snapshots.needs_attention() {
            waiters.snapshots.insert(&snapshot.meta.uid, snapshot);
            if let Some(content) = snapshot_content(model, snapshot)
                && (snapshot.ready != Some(true) || content.meta.deleting.is_some())
            {
                let object = snapshot.meta.key(ObjectKind::VolumeSnapshot);
                waiters.add_handles(content, &object);
            }
        }
        for claim in model.claims.needs_attention() {
            if claim.phase != ClaimPhase::Pending && claim.meta.deleting.is_none() {
                continue;
            }
            waiters.claims.insert(&claim.meta.uid, claim);
            if claim.phase == ClaimPhase::Pending
                && let Some(handle) = restored_from(model, claim)
            {
                // Of several restores, the first by name counts. A snapshot that waits itself has been inserted before.
                let object = || claim.meta.key(ObjectKind::PersistentVolumeClaim);
                waiters.handles.entry(handle).or_insert_with(object);
            }
        }
        waiters
    }

    /// Whether any object waits for the operation that holds `key`.
    pub(crate) fn wait_for(&self, key: &LockKey) -> bool {
        if let Some(claim) = key.claim().and_then(|uid| self.claims.find(uid)) {
            return claim.phase == ClaimPhase::Pending;
        }
        let snapshot = key.snapshot().and_then(|uid| self.snapshots.find(uid));
        snapshot.is_some() || self.handles.contains_key(&*key.0)
    }

    fn add_handles(&mut self, content: &'m Content, object: &ObjectKey) {
        let handles = [&content.handle, &content.volume_handle];
        for handle in handles.into_iter().flatten() {
            self.handles.insert(handle, object.clone());
        }
    }
}

/// Handle of the snapshot that a claim is restored from: a restore takes that snapshot's lock too (ceph-csi before #6354).
pub(super) fn restored_from<'m>(model: &'m Model, claim: &Claim) -> Option<&'m str> {
    let Some(DataSource::Snapshot(name)) = &claim.data_source else {
        return None;
    };
    let snapshot = model.snapshots.get(&claim.meta.namespace, name)?;
    snapshot_content(model, snapshot)?.handle.as_deref()
}

/// An object that waits for a key.
pub(super) struct Waiting {
    pub(super) object: ObjectKey,
    pub(super) class: Option<SharedStr>,
    pub(super) bytes: u64,
    /// Creation time of the object, unless it is being deleted: the call for that began later.
    pub(super) created: Option<Timestamp>,
}

/// The object that waits for `key`, if there is one; a lock that blocks nothing is no finding. A key that names no waiting
/// object may still be the handle of one, as drivers may derive handles from the names they receive.
pub(super) fn waiting(model: &Model, key: &LockKey, waiters: &Waiters<'_>) -> Option<Waiting> {
    let claim = key.claim().and_then(|uid| waiters.claims.find(uid));
    if let Some(claim) = claim {
        return Some(of_claim(claim));
    }
    let snapshot = key.snapshot().and_then(|uid| waiters.snapshots.find(uid));
    let object = match snapshot {
        Some(snapshot) => snapshot.meta.key(ObjectKind::VolumeSnapshot),
        None => waiters.handles.get(&*key.0)?.clone(),
    };
    if object.kind == ObjectKind::PersistentVolumeClaim {
        let claim = model.claims.get(&object.namespace, &object.name)?;
        return Some(of_claim(claim));
    }
    let snapshot = model.snapshots.get(&object.namespace, &object.name);
    let claim = snapshot.and_then(|snapshot| {
        model
            .claims
            .get(&snapshot.meta.namespace, snapshot.source_claim.as_ref()?)
    });
    Some(Waiting {
        class: claim.and_then(|claim| claim.class.clone()),
        bytes: snapshot.map_or(0, |snapshot| snapshot.bytes(claim)),
        created: snapshot.and_then(|snapshot| created(&snapshot.meta)),
        object,
    })
}

fn of_claim(claim: &Claim) -> Waiting {
    Waiting {
        object: claim.meta.key(ObjectKind::PersistentVolumeClaim),
        class: claim.class.clone(),
        bytes: claim.requested,
        created: created(&claim.meta),
    }
}

/// Creation time of an object that is not being deleted.
pub(super) fn created(meta: &Meta) -> Option<Timestamp> {
    meta.deleting.is_none().then(|| meta.created.at())
}
