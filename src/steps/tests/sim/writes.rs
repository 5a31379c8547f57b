//! Writes as the shell makes them: read again, compare, write with preconditions.

use super::react::Event;
use super::{Cluster, Place, Verb, seconds};
use crate::api::hold::POLICY_NAME;
use crate::api::remediation::{EvidenceRecord, Remediation};
use crate::api::{ObjectKey, SharedStr};
use crate::config::DeleteScope;
use crate::holds::parse_place;
use crate::holds::policy::{DryRunResult, Probe, Proof};
use crate::model::records::{Snapshot, SnapshotHold};
use crate::model::{Change, Delta, Model, fixture};
use crate::plan::snapshot_skip_reason;
use crate::run_context::{LiveState, TailRefusal};
use crate::steps::Intent;

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
            Intent::PatchHold { change, .. } if change.add.is_empty() => Self::Release,
            Intent::CreateHold { .. } | Intent::PatchHold { .. } => Self::Hold,
            Intent::DeleteHold(_) => Self::Release,
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
    #[expect(clippy::too_many_lines, reason = "one arm an intent")]
    pub fn perform(&mut self, intent: &Intent, model: &Model, raced: bool) -> bool {
        let place = place_of(intent.object());
        let uid = &intent.object().uid;
        if self.refuses == Some(Verb::of(intent)) {
            return false;
        }
        match intent {
            Intent::CreateHold { hold, run, spec } => {
                if self.holds.contains_key(&hold.name) {
                    return false;
                }
                let uid = self.new_uid("hold");
                let mut made = fixture::hold(&run.name, spec.until, &[]);
                made.meta.created = self.now.into();
                made.meta.uid = uid;
                let sources = spec.sources.iter();
                made.sources = sources
                    .map(|(uid, place)| (uid.clone(), parse_place(place).unwrap()))
                    .collect();
                self.put_hold(made);
                true
            }
            Intent::PatchHold { change, .. } => {
                let found = self
                    .holds
                    .get(&place.1)
                    .filter(|hold| hold.meta.uid == *uid);
                let Some(mut hold) = found.filter(|_| !raced).cloned() else {
                    return false;
                };
                hold.sources.retain(|uid, _| !change.remove.contains(uid));
                if change.release_classes {
                    hold.snapshot_classes = Box::default();
                }
                for (uid, place) in &change.add {
                    hold.sources
                        .insert(uid.clone(), parse_place(place).unwrap());
                }
                self.put_hold(hold);
                true
            }
            Intent::DeleteHold(_) => {
                let found = self
                    .holds
                    .get(&place.1)
                    .filter(|hold| hold.meta.uid == *uid);
                found.is_some() && {
                    self.delete_hold(&place.1);
                    true
                }
            }
            Intent::Delete(_) => {
                let found = self.snapshots.get(&place).filter(|s| s.meta.uid == *uid);
                let wanted = found
                    .filter(|s| snapshot_skip_reason(model, s, DeleteScope::Volsync).is_none());
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

    pub fn put_hold(&mut self, hold: SnapshotHold) {
        self.news.push_back(hold.clone().into());
        self.holds.insert(hold.meta.name.clone(), hold);
    }

    pub fn delete_hold(&mut self, name: &SharedStr) {
        self.holds.remove(name);
        let (namespace, name) = ("locksmith".into(), name.clone());
        self.news
            .push_back(Change::SnapshotHold(Delta::Delete { namespace, name }));
    }

    /// Dry-run creates, as the API server answers them.
    pub fn prove(&self, probe: &Probe) -> Proof {
        let source = probe.source.iter();
        let held = source.map(|source| {
            if self.refuses_snapshots_of(source) {
                DryRunResult::Refused(format!(
                    "ValidatingAdmissionPolicy '{POLICY_NAME}' with binding '{POLICY_NAME}' denied request: held"
                ))
            } else {
                DryRunResult::Accepted
            }
        });
        Proof {
            held: held.collect(),
            free: DryRunResult::Accepted,
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
        let pod = self.pods.values().any(|pod| pod.meta.uid == object.uid);
        let found =
            pod || lease.is_some() || snapshot.is_some_and(|found| found.meta.uid == object.uid);
        found.then(|| EvidenceRecord {
            object: object.clone(),
            resource_version: "1".to_owned(),
            content: serde_json::json!({"object": {"spec": {"holderIdentity": holder}}})
                .to_string(),
        })
    }

    /// An uncached look.
    pub fn read_live_state(&self, logs: bool) -> LiveState {
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
        LiveState {
            at: self.now,
            snapshots,
            refusals: logs.then(|| Ok(refusals.collect())),
            proof: None,
        }
    }
}
