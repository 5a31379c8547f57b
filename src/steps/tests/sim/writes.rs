//! Writes as the shell makes them: read again, compare, write with preconditions.

use serde_json::{Value, json};

use super::react::Event;
use super::{Cluster, Live, Place, Verb, seconds};
use crate::api::remediation::{EvidenceRecord, Remediation};
use crate::config::DeleteScope;
use crate::holds::Hold;
use crate::model::records::{Claim, Snapshot, Source};
use crate::model::{Model, ObjectKey, ObjectKind};
use crate::plan::why_kept;
use crate::steps::{Facts, Intent, TailRefusal};

/// RFC 7386, as the API server applies it.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        return *target = patch.clone();
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// What any change to it changes.
fn version(snapshot: &Snapshot) -> String {
    format!("{snapshot:?}")
}

fn place_of(object: &ObjectKey) -> Place {
    (object.namespace.clone(), object.name.clone())
}

impl Verb {
    pub fn of(intent: &Intent) -> Self {
        match intent {
            Intent::Hold { .. } => Self::Hold,
            Intent::Delete(_) => Self::Delete,
            Intent::Rollout { .. } => Self::Rollout,
            Intent::Replace(_) => Self::Replace,
            Intent::Touch { .. } => Self::Touch,
            Intent::HandOver { .. } => Self::HandOver,
        }
    }
}

impl Cluster {
    /// Carries out one intent; what does not fit any more is left alone. Says whether anything was written.
    ///
    /// Where `raced`, somebody writes the object after it was read: the API server refuses the version that was read.
    pub fn perform(&mut self, intent: &Intent, model: &Model, raced: bool) -> bool {
        let place = place_of(intent.object());
        let uid = &intent.object().uid;
        if self.refuses == Some(Verb::of(intent)) {
            return false;
        }
        match intent {
            Intent::Hold { object, hold } => {
                let live = match object.kind {
                    ObjectKind::ReplicationSource => self
                        .sources
                        .get(&place)
                        .filter(|live| live.record.meta.uid == *uid)
                        .map(|live| &live.object),
                    _ => self
                        .claims
                        .get(&place)
                        .filter(|live| live.record.meta.uid == *uid)
                        .map(|live| &live.object),
                };
                let patch = live.and_then(|live| hold.clone().take(live).ok());
                if raced {
                    self.written(object.kind, &place);
                }
                patch.is_some_and(|patch| self.patch(object.kind, &place, &patch))
            }
            Intent::Delete(_) => {
                let found = self.snapshots.get(&place).filter(|s| s.meta.uid == *uid);
                let wanted = found.filter(|s| why_kept(model, s, DeleteScope::Volsync).is_none());
                let read = wanted.map(version);
                if raced {
                    self.finish_snapshot(&place);
                }
                let unchanged = read.is_some() && read == self.snapshots.get(&place).map(version);
                if unchanged {
                    let ready = self.snapshots[&place].ready;
                    assert_ne!(ready, Some(true), "deletes what is ready: {place:?}");
                    self.delete_snapshot(&place);
                }
                unchanged
            }
            Intent::Rollout { token, .. } => {
                if self.deployment.restarted_by.as_deref() == Some(token) {
                    return false;
                }
                self.deployment.restarted_by = Some(token.as_str().into());
                self.news.push_back(self.deployment.clone().into());
                if self.reverts {
                    self.after(seconds(3), Event::Revert);
                    return true;
                }
                let of_it = |(_, name): &&Place| name.starts_with(&*self.deployment.meta.name);
                let pods: Vec<_> = self.pods.keys().filter(of_it).cloned().collect();
                for place in pods {
                    self.delete_pod(&place);
                }
                true
            }
            Intent::HandOver {
                object,
                holder,
                renewed,
            } => {
                let lease = self.leases.iter_mut().find(|it| it.key() == *object);
                let Some(lease) =
                    lease.filter(|it| it.holder.as_ref() == Some(holder) && it.renewed == *renewed)
                else {
                    return false;
                };
                lease.holder = None;
                self.news.push_back(lease.clone().into());
                self.after(seconds(2), Event::Takeover);
                true
            }
            Intent::Replace(_) => {
                let found = self.pods.get(&place).filter(|pod| pod.meta.uid == *uid);
                let found = found.is_some_and(|pod| pod.meta.deleting.is_none());
                if found {
                    self.delete_pod(&place);
                }
                found
            }
            Intent::Touch { object, token } => self.touch(object, token),
        }
    }

    /// The driver finishes a snapshot although it is jammed.
    pub fn finish_snapshot(&mut self, place: &Place) {
        if let Some(snapshot) = self.snapshots.get_mut(place) {
            snapshot.ready = Some(true);
            self.news.push_back(snapshot.clone().into());
        }
    }

    pub fn delete_pod(&mut self, place: &Place) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(place) {
            pod.meta.deleting = Some(now.into());
            let uid = pod.meta.uid.clone();
            self.news.push_back(pod.clone().into());
            self.after(seconds(3), Event::PodGone(place.clone(), uid));
        }
    }

    /// Releases the hold the object carries.
    pub fn release(&mut self, object: &ObjectKey) {
        let place = place_of(object);
        let live = match object.kind {
            ObjectKind::ReplicationSource => self.sources.get(&place).map(|live| &live.object),
            _ => self.claims.get(&place).map(|live| &live.object),
        };
        if let Some(patch) = live.and_then(|live| Hold::release(object.kind, live)) {
            self.patch(object.kind, &place, &patch);
        }
    }

    fn patch(&mut self, kind: ObjectKind, place: &Place, patch: &Value) -> bool {
        let object = match kind {
            ObjectKind::ReplicationSource => {
                self.sources.get_mut(place).map(|live| &mut live.object)
            }
            _ => self.claims.get_mut(place).map(|live| &mut live.object),
        };
        let Some(object) = object else { return false };
        if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return false;
        }
        merge(object, patch);
        self.written(kind, place);
        true
    }

    /// Gives a changed object its version and shows it.
    pub fn written(&mut self, kind: ObjectKind, place: &Place) {
        self.version += 1;
        let version = json!(self.version.to_string());
        if kind == ObjectKind::ReplicationSource {
            if let Some(live) = self.sources.get_mut(place) {
                live.object["metadata"]["resourceVersion"] = version;
                Live::<Source>::read(live);
                self.news.push_back(live.record.clone().into());
            }
        } else if let Some(live) = self.claims.get_mut(place) {
            live.object["metadata"]["resourceVersion"] = version;
            let waited = live.record.copy_trigger;
            Live::<Claim>::read(live);
            let free = waited && !live.record.copy_trigger;
            self.news.push_back(live.record.clone().into());
            if free {
                self.after(seconds(4), Event::Sync(place.clone()));
            }
        }
    }

    /// Writes the Remediation.
    pub fn write_run(&mut self, run: Remediation) {
        self.news.push_back(run.clone().into());
        self.run = Some(run);
    }

    /// What is kept of an object, or `None` when it is gone.
    pub fn evidence(&self, object: &ObjectKey) -> Option<EvidenceRecord> {
        let lease = self.leases.iter().find(|lease| lease.key() == *object);
        let holder = lease.and_then(|lease| lease.holder.as_deref());
        let snapshot = self.snapshots.get(&place_of(object));
        let found = lease.is_some() || snapshot.is_some_and(|found| found.meta.uid == object.uid);
        found.then(|| EvidenceRecord {
            object: object.clone(),
            resource_version: "1".to_owned(),
            kept: json!({"object": {"spec": {"holderIdentity": holder}}}).to_string(),
        })
    }

    /// An uncached look.
    pub fn examine(&self, logs: bool) -> Facts {
        let refusals = self.log.iter().map(|(pod, key)| TailRefusal {
            pod: pod.clone(),
            key: key.clone(),
        });
        let fails = self.lists_fail_until.is_some_and(|end| self.now < end);
        let snapshots = if fails {
            Err("500".to_owned())
        } else {
            Ok(self.snapshots.values().cloned().collect())
        };
        Facts {
            at: self.now,
            snapshots,
            refusals: logs.then(|| Ok(refusals.collect())),
        }
    }
}
